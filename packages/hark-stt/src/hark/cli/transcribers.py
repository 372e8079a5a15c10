"""The ways in which `hark transcribe` gets from a file to a transcript."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec import UNSET

from hark.audio import PcmArray, read_audio
from hark.cli.blocking import in_thread
from hark.cli.realtime import Listener, StreamingSession, transcribe_in_real_time
from hark.cli.remote import HarkServer
from hark.cores import usable_cores
from hark.embedded import Embedded
from hark.formats import SUBTITLE_FORMATS, Format, render, wants_words
from hark.transcription import transcribe
from hark_protocol import PROTOCOL_VERSION, Config

if TYPE_CHECKING:
    from hark.engines.pool import ModelPool

MAX_WORKERS = 4
"""Workers for whole files: few of a file's utterances are in work at a time, and each worker takes
the memory of a model."""


@dataclass(frozen=True, slots=True)
class TranscriptOptions:
    """What is wanted of every file. None leaves it to the recogniser."""

    model: str | None
    language: str | None
    words: bool
    keyterms: tuple[str, ...]
    format: Format


@dataclass(frozen=True, slots=True)
class Source:
    """An audio file, or what came through standard input."""

    content: Path | bytes

    def open(self) -> BinaryIO:
        """Open it for reading.

        Raises:
            OSError: it cannot be read.
        """
        return BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    @property
    def size_bytes(self) -> int:
        """Its size. Raises OSError where there is no such file."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def read_samples(self) -> PcmArray:
        """Decode it. Blocks; raises what `read_audio` raises."""
        with self.open() as file:
            return read_audio(file)


class Transcriber(Protocol):
    """One way to transcribe files."""

    async def transcribe(self, source: Source, listener: Listener) -> str:
        """Give the transcript in the format that was asked for. Safe to cancel.

        Raises:
            HarkError: the file is no audio, or the recogniser failed.
            OSError: the file cannot be read.
        """
        ...


class LocalTranscriber:
    """Decodes here, as fast as it goes."""

    def __init__(self, models: ModelPool, options: TranscriptOptions) -> None:
        """Args: models: loaded."""
        self._models = models
        self._options = options

    async def transcribe(self, source: Source, listener: Listener) -> str:
        """See `Transcriber.transcribe`."""
        transcription = await transcribe(
            self._models,
            await in_thread(source.read_samples),
            language=self._options.language,
            words=self._options.words,
            keyterms=self._options.keyterms,
            on_progress=listener.on_progress,
        )
        return render(transcription, self._options.format)


class UploadTranscriber:
    """Has a server decode, as fast as it goes."""

    def __init__(self, server: HarkServer, options: TranscriptOptions) -> None:
        self._server = server
        self._fields = _form_fields(options)

    async def transcribe(self, source: Source, listener: Listener) -> str:
        """See `Transcriber.transcribe`."""

        def upload() -> str:
            with source.open() as file:
                return self._server.transcribe(
                    file, source.size_bytes, self._fields, listener.on_progress
                )

        return await in_thread(upload)


class RealtimeTranscriber:
    """Streams to a session, here or on a server, at the pace of speech."""

    def __init__(self, open_session: SessionOpener, options: TranscriptOptions) -> None:
        """Args: open_session: opens a stream for each file."""
        self._open_session = open_session
        self._options = options

    async def transcribe(self, source: Source, listener: Listener) -> str:
        """See `Transcriber.transcribe`."""
        samples = await in_thread(source.read_samples)
        session = await self._open_session()
        try:
            transcription = await transcribe_in_real_time(
                session,
                _first_config(self._options),
                samples,
                listener,
                prefer_words=self._options.format in SUBTITLE_FORMATS,
            )
        finally:
            await session.aclose()
        return render(transcription, self._options.format)


class SessionOpener(Protocol):
    """Opens a stream."""

    async def __call__(self) -> StreamingSession:
        """Raises HarkError where it does not open."""
        ...


@asynccontextmanager
async def open_transcriber(
    options: TranscriptOptions, server: HarkServer | None, *, in_real_time: bool
) -> AsyncIterator[Transcriber]:
    """Make ready what transcribes, and free it afterwards.

    Args:
        options: for every file.
        server: None recognises in this process.
        in_real_time: see `RealtimeTranscriber`.

    Raises:
        HarkError: the model does not load, or does not know the language.
    """
    async with AsyncExitStack() as stack:
        if server is not None and in_real_time:
            yield RealtimeTranscriber(server.open_session, options)
        elif server is not None:
            yield UploadTranscriber(server, options)
        else:
            workers = 1 if in_real_time else min(MAX_WORKERS, usable_cores())
            embedded = Embedded.acquire(options.model, workers=workers)
            stack.callback(embedded.release)
            models = await embedded.pool()
            able = models.select(None, options.language).capabilities
            if in_real_time:
                yield RealtimeTranscriber(embedded.open_session, options)
            else:
                words = wants_words(options.format, options.words, able)
                yield LocalTranscriber(models, replace(options, words=words))


def _first_config(options: TranscriptOptions) -> Config:
    return Config(
        version=PROTOCOL_VERSION,
        model=UNSET if options.model is None else options.model,
        language=UNSET if options.language is None else options.language,
        words=options.words,
        keyterms=options.keyterms,
    )


def _form_fields(options: TranscriptOptions) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = [("response_format", options.format)]
    if options.words:
        fields.append(("words", "true"))
    if options.model is not None:
        fields.append(("model", options.model))
    if options.language is not None:
        fields.append(("language", options.language))
    return [*fields, *(("keyterms", term) for term in options.keyterms)]
