"""A recording through a streaming session, at the pace it would be spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from hark.audio import SAMPLE_RATE, PcmArray
from hark.cli.pacing import paced
from hark.errors import RecognitionError
from hark.transcription import Transcription, utterance_of
from hark_protocol import (
    Audio,
    ClientMessage,
    Close,
    Config,
    Error,
    Final,
    Interim,
    Preflight,
    Ready,
    ServerMessage,
)

PATIENCE_S = 60.0
"""Seconds that the last final may come after the last audio."""


class StreamingSession(Protocol):
    """What `hark.session.Session` and `hark.cli.remote.RemoteSession` have in common."""

    async def receive(self, message: ClientMessage) -> None:
        """Take a message; return when the next one is welcome."""
        ...

    def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """The messages of the recogniser; ends after `closed` or `error`."""
        ...

    async def aclose(self) -> None:
        """Give up whatever is going on. Idempotent."""
        ...


class Listener(Protocol):
    """Who is told while a recording is being recognised."""

    def on_progress(self, part: float) -> None:
        """So much of the recording has been heard, 0 to 1."""
        ...

    def on_interim(self, text: str) -> None:
        """The present hypothesis of the open utterance."""
        ...

    def on_final(self, text: str) -> None:
        """The text of an utterance."""
        ...


async def transcribe_in_real_time(
    session: StreamingSession,
    config: Config,
    samples: PcmArray,
    listener: Listener,
    *,
    prefer_words: bool = False,
) -> Transcription:
    """Recognise a recording as if it were spoken now. Safe to cancel. The session stays open.

    Args:
        session: just opened.
        config: the first message; its sample rate is `SAMPLE_RATE`.
        samples: shape (n,), at `SAMPLE_RATE`.
        listener: told what comes when it comes.
        prefer_words: whether to ask for word times if the model turns out to have them.

    Raises:
        RecognitionError: the session ended with an error.
        HarkError: the connection is lost.
    """
    deadline_s = len(samples) / SAMPLE_RATE + PATIENCE_S
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    collecting = asyncio.create_task(_collect(session, ready, len(samples), listener))
    feeding = asyncio.create_task(
        _feed(session, config, ready, samples, listener.on_progress, prefer_words=prefer_words)
    )
    try:
        done, pending = await asyncio.wait(
            (collecting, feeding), timeout=deadline_s, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in done:
            task.result()  # whichever breaks first is the reason
        if pending:
            raise RecognitionError(f"no answer for {PATIENCE_S:g} s after the last audio")
        return collecting.result()
    finally:
        collecting.cancel()
        feeding.cancel()
        await asyncio.gather(collecting, feeding, return_exceptions=True)


async def _feed(
    session: StreamingSession,
    config: Config,
    ready: asyncio.Future[Ready],
    samples: PcmArray,
    on_progress: Callable[[float], None],
    *,
    prefer_words: bool,
) -> None:
    await session.receive(config)
    # Asking for what the model does not have would end the session, and only now it says what it
    # has. Before the first audio, so that it holds from the first utterance on.
    if (await ready).capabilities.words and prefer_words:
        await session.receive(Config(words=True))
    heard = 0
    async for frame in paced(samples):
        await session.receive(Audio(frame.tobytes()))
        heard += len(frame)
        on_progress(heard / len(samples))
    await session.receive(Close())


async def _collect(
    session: StreamingSession, ready: asyncio.Future[Ready], length: int, listener: Listener
) -> Transcription:
    utterances = []
    async for message in session:
        if isinstance(message, Error):
            raise RecognitionError(message.message)
        if isinstance(message, Ready):
            ready.set_result(message)
        elif isinstance(message, (Interim, Preflight)):
            listener.on_interim(message.text)
        elif isinstance(message, Final) and message.text:
            listener.on_final(message.text)
            utterances.append(utterance_of(message))
    if not ready.done():
        raise RecognitionError("the session ended before it began")
    options = ready.result()
    return Transcription(
        text=" ".join(utterance.text for utterance in utterances),
        language=options.language or next((u.language for u in utterances if u.language), None),
        duration_s=length / SAMPLE_RATE,
        model=options.model,
        utterances=tuple(utterances),
    )
