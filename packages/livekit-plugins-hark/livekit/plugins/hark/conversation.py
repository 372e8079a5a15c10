"""What happens on one connection, from `ready` to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NoReturn

from livekit.agents import APIConnectionError, APIError, APITimeoutError
from livekit.agents.stt import SpeechEvent
from livekit.agents.utils import aio

from hark_protocol import (
    PCM16_BYTES_PER_SAMPLE,
    Audio,
    ClientMessage,
    Closed,
    Draining,
    Final,
    Flushed,
    Ready,
)

from . import errors
from .link import Link
from .liveness import Liveness
from .options import RecognitionOptions
from .outbox import Outbox
from .transcript import Transcript

LONGEST_AUDIO_MESSAGE_S = 1.0
"""Only replayed audio comes in such pieces; what is live comes frame by frame."""

SECOND_LOOK_S = 0.2
"""An event loop that was blocked sees its timers and its messages late and in any order. So before
a connection is given up, what has come meanwhile gets this long to be read."""

LAST_WORDS_TIMEOUT_S = 0.5
"""When sending fails, the reason may be on its way to us; this is how long it is waited for."""


class Outcome(Enum):
    """How a conversation ended, where nothing went wrong."""

    FINISHED = "all finals are there"
    MOVING = "the rest belongs on another connection"


class Conversation:
    """Sends what the outbox holds, tells what comes back, and watches that something does.

    Three tasks: one sends, one receives, one watches. They share the outbox and the transcript,
    which outlive them.
    """

    def __init__(
        self,
        link: Link,
        *,
        outbox: Outbox,
        transcript: Transcript,
        liveness: Liveness,
        sample_rate: int,
        sent_options: RecognitionOptions,
        wanted_options: Callable[[Ready], RecognitionOptions],
        news: asyncio.Event,
        tell: Callable[[Sequence[SpeechEvent]], None],
        warn: Callable[[APIError], None],
    ) -> None:
        """Take over a connection.

        Args:
            link: open.
            outbox: rewound for this connection.
            transcript: told of this connection.
            liveness: fresh.
            sample_rate: Hz.
            sent_options: those of the first config.
            wanted_options: gives the present ones, for what the recogniser can do.
            news: set whenever the outbox or the options have changed.
            tell: takes the events, in order.
            warn: takes what goes wrong and ends nothing.
        """
        self._link = link
        self._outbox = outbox
        self._transcript = transcript
        self._liveness = liveness
        self._most_samples = min(
            int(LONGEST_AUDIO_MESSAGE_S * sample_rate),
            link.ready.limits.max_message_bytes // PCM16_BYTES_PER_SAMPLE,
        )
        self._sent_options = sent_options
        self._wanted_options = wanted_options
        self._news = news
        self._tell = tell
        self._warn = warn
        self._is_draining = False
        self._is_keepalive_due = False

    async def run(self) -> Outcome:
        """Go on until everything is finalised, or the connection is to be left. Safe to cancel.

        Raises:
            APIError: the connection is lost, or was ended by the recogniser.
        """
        receiving = asyncio.create_task(self._receive(), name="hark_receive")
        sending = asyncio.create_task(self._send(), name="hark_send")
        watching = asyncio.create_task(self._watch(), name="hark_watch")
        tasks: tuple[asyncio.Task[Any], ...] = (receiving, sending, watching)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await asyncio.wait({receiving}, timeout=LAST_WORDS_TIMEOUT_S)
            if receiving.done():
                return receiving.result()
            # These two end with an error only.
            return sending.result() if sending.done() else watching.result()
        finally:
            await aio.cancel_and_wait(*tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # seen: one error is enough

    async def _receive(self) -> Outcome:
        while True:
            message = await self._link.receive()
            self._liveness.heard(message, _now())
            self._tell(self._transcript.receive(message))
            self._outbox.forget(self._transcript.finalized, self._transcript.context)
            if isinstance(message, Flushed):
                self._outbox.flushed(message.id)
            elif isinstance(message, Draining):
                self._is_draining = True
            elif isinstance(message, Final) and message.failed:
                self._warn(errors.not_recognised())
            elif isinstance(message, Closed):
                return Outcome.FINISHED
            if self._is_time_to_move():
                return Outcome.MOVING

    def _is_time_to_move(self) -> bool:
        """Whether this connection is to be left, and nobody is in the middle of an utterance."""
        wants_to = self._is_draining or self._has_other_model(self._wanted())
        wants_to = wants_to and not self._outbox.is_closing
        return wants_to and self._transcript.is_between_utterances

    async def _send(self) -> NoReturn:
        while True:
            self._news.clear()
            message = self._next_message()
            if message is not None:
                self._liveness.sending(message, _now())
                await self._link.send(message)
                self._liveness.sent(_now())
            # After a frame there mostly is nothing more: not to look spares every stream time.
            if message is None or not self._outbox.has_more:
                await self._news.wait()

    def _next_message(self) -> ClientMessage | None:
        if self._outbox.is_cut_off:
            raise APIConnectionError("Hark took audio more slowly than it came; some was given up")
        if self._outbox.is_closing:
            return None
        wanted, sent = self._wanted(), self._sent_options
        # That it is another object is quickly told, for every frame of every stream.
        if wanted is not sent and self._may_tell(wanted):
            self._sent_options = wanted
            if wanted != sent:
                return wanted.config_after(sent)
        message = self._outbox.next_message(self._most_samples)
        if message is None and self._is_keepalive_due:
            message = Audio(b"")
        self._is_keepalive_due = False
        return message

    def _may_tell(self, options: RecognitionOptions) -> bool:
        # What was heard before is to be heard in the same way again, and options for another model
        # wait for that model's connection.
        return not self._outbox.is_saying_context and not self._has_other_model(options)

    def _has_other_model(self, wanted: RecognitionOptions) -> bool:
        # The model of a session is fixed (docs/protocol.md#config).
        return wanted.model != self._sent_options.model

    def _wanted(self) -> RecognitionOptions:
        return self._wanted_options(self._link.ready)

    async def _watch(self) -> NoReturn:
        idle_timeout_s = self._link.ready.limits.idle_timeout_s
        while True:
            now = _now()
            await asyncio.sleep(min(self._liveness.dies_at(now) - now, idle_timeout_s / 6))
            if self._liveness.is_dead(_now()):
                await asyncio.sleep(SECOND_LOOK_S)
                if self._liveness.is_dead(_now()):
                    raise APITimeoutError("Hark has stopped answering; the connection is given up")
            # A third of the limit leaves room for one that gets lost in a slow moment.
            if _now() - self._liveness.last_sent_at > idle_timeout_s / 3:
                self._is_keepalive_due = True
                self._news.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
