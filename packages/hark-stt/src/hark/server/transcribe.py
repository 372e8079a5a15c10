"""Transcription of one uploaded file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hark.audio import read_audio
from hark.errors import HarkError
from hark.formats import MEDIA_TYPES, Format, render, wants_words
from hark.server import refusal
from hark.server.refusal import Refused
from hark.server.service import Service
from hark.server.upload import TranscribeOptions, receive_upload
from hark.transcription import Transcription, transcribe

logger = logging.getLogger("hark.server")

CLIENT_CLOSED_REQUEST = 499
"""What the access log shows when the client did not wait for its answer; the number is nginx's."""

_T = TypeVar("_T")


async def serve_transcription(service: Service, request: Request) -> Response:
    """Answer `POST /v1/transcribe`: the file is the multipart field `file`, or the whole body.

    Raises:
        Refused: there is no room, or something is wrong with the request.
    """
    with service.admit_file():
        try:
            async with receive_upload(request, service.settings) as (file, options):
                return await _answer_while_connected(request, service, file, options)
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
    raise refusal.draining()  # it was cancelled


async def _answer_while_connected(
    request: Request, service: Service, file: BinaryIO, options: TranscribeOptions
) -> Response:
    """Transcribe, unless the client goes away."""
    response = Response(status_code=CLIENT_CLOSED_REQUEST)
    async with anyio.create_task_group() as tasks:

        async def stop_when_gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(stop_when_gone)
        response = await _answer(service, file, options)
        tasks.cancel_scope.cancel()
    return response


async def _answer(service: Service, file: BinaryIO, options: TranscribeOptions) -> Response:
    try:
        # Before anything else, so that nobody waits for an answer that is known.
        able = service.models.select(options.model, options.language).capabilities
        words = wants_words(options.response_format, options.words, able)
        async with service.transcription_place():
            return await _transcribe(service, file, options, words=words)
    except (HarkError, Refused) as error:
        refused = error if isinstance(error, Refused) else refusal.from_error(error)
        logger.info("transcription refused", extra={"reason": refused.error.code})
        return refused.response()


async def _transcribe(
    service: Service, file: BinaryIO, options: TranscribeOptions, *, words: bool
) -> Response:
    started = time.monotonic()
    samples = await _in_thread(
        service,
        lambda: read_audio(
            file,
            max_s=service.settings.max_file_s,
            # A thread cannot be ended from outside, and who cancels waits for it.
            check_cancelled=anyio.from_thread.check_cancelled,
        ),
    )
    transcription = await transcribe(
        service.models,
        samples,
        model=options.model,
        language=options.language,
        words=words,
        keyterms=options.keyterms,
    )
    logger.info(
        "transcription done",
        extra={
            "model": transcription.model,
            "audio_s": round(transcription.duration_s, 3),
            "duration_s": round(time.monotonic() - started, 3),
        },
    )
    return await _in_thread(service, lambda: _respond(transcription, options.response_format))


def _respond(transcription: Transcription, format: Format) -> Response:
    return Response(render(transcription, format), media_type=MEDIA_TYPES[format])


async def _in_thread(service: Service, function: Callable[[], _T]) -> _T:
    return await anyio.to_thread.run_sync(function, limiter=service.file_threads)
