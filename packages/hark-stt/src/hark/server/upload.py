"""One uploaded file: from the socket into a temporary file, bounded in bytes and in time."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, BinaryIO, Literal

import anyio
import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.types import Message

from hark.server import refusal
from hark.server.settings import ServerSettings
from hark_protocol import MAX_KEYTERMS
from hark_protocol.messages import Keyterm, Language, Name

UPLOAD_TIMEOUT_S = 600.0
"""Longest time that a whole upload may take, in seconds: one that trickles in must not hold a place
for ever."""

SPOOL_BYTES = 1024 * 1024
"""What an upload may take of memory; a larger one goes to a temporary file."""

MAX_FIELD_BYTES = 4096
"""Longest form field other than the file."""


class TranscribeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client may say besides the file, in form fields or in the query.

    Attributes:
        model: a model of the server; None for the default.
        language: BCP 47 tag; None lets the model decide.
        words: whether word times are wanted.
        keyterms: terms to lean towards; the field may come several times.
        response_format: one of `hark.formats.FORMATS`.
    """

    model: Name | None = None
    language: Language | None = None
    words: bool = False
    keyterms: Annotated[tuple[Keyterm, ...], msgspec.Meta(max_length=MAX_KEYTERMS)] = ()
    response_format: Literal["json", "text", "srt", "vtt"] = "json"


@asynccontextmanager
async def receive_upload(
    request: Request, settings: ServerSettings
) -> AsyncIterator[tuple[BinaryIO, TranscribeOptions]]:
    """Receive the file and what is said about it; the file is deleted when the context ends.

    Raises:
        Refused: too large, too slow, no file, or an option that is not one.
        ClientDisconnect: the client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_file_bytes:
        raise refusal.too_large(settings.max_file_bytes)
    bounded = Request(request.scope, _BoundedBody(request, settings).receive)
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    receive = _receive_form(bounded) if is_form else _receive_raw(bounded)
    try:
        with anyio.fail_after(UPLOAD_TIMEOUT_S):
            file, options = await receive
    except TimeoutError:
        raise refusal.too_slow() from None
    try:
        yield file.file, options
    finally:
        await file.close()


class _BoundedBody:
    """A request's body, as long as it is neither too large nor too slow."""

    def __init__(self, request: Request, settings: ServerSettings) -> None:
        self._request = request
        self._settings = settings
        self._received_bytes = 0

    async def receive(self) -> Message:
        """The next piece, as ASGI has it."""
        with anyio.fail_after(self._settings.idle_timeout_s):
            message = await self._request.receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self._settings.max_file_bytes:
            raise refusal.too_large(self._settings.max_file_bytes)
        return message


async def _receive_form(request: Request) -> tuple[UploadFile, TranscribeOptions]:
    form = await request.form(
        max_files=1, max_fields=2 * MAX_KEYTERMS, max_part_size=MAX_FIELD_BYTES
    )
    try:
        options = _options([*request.query_params.multi_items(), *_text_fields(form)])
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise refusal.invalid("send the audio as the multipart field `file`, with a file name")
    except BaseException:
        await form.close()
        raise
    return file, options


async def _receive_raw(request: Request) -> tuple[UploadFile, TranscribeOptions]:
    options = _options(request.query_params.multi_items())
    spooled = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the caller's
    file = UploadFile(spooled, size=0)  # type: ignore[arg-type]  # as Starlette itself does
    try:
        async for chunk in request.stream():
            await file.write(chunk)
        if not file.size:
            raise refusal.invalid("send the audio as the body, or as the multipart field `file`")
        await file.seek(0)
    except BaseException:
        await file.close()
        raise
    return file, options


def _text_fields(form: FormData) -> list[tuple[str, str]]:
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


def _options(fields: list[tuple[str, str]]) -> TranscribeOptions:
    # An empty field is how HTML forms leave one out.
    given = {name: value for name, value in fields if value and name != "keyterms"}
    keyterms = [value for name, value in fields if value and name == "keyterms"]
    try:
        return msgspec.convert({**given, "keyterms": keyterms}, TranscribeOptions, strict=False)
    except msgspec.ValidationError as error:
        raise refusal.invalid(f"invalid option: {error}") from None
