"""A live stream: audio in, speech events out, whatever happens to the connection in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from livekit.agents import APIConnectionError, APIError
from livekit.agents.stt import STT, RecognizeStream, SpeechEvent
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import aio
from numpy.typing import NDArray

from hark_protocol import Ready
from livekit import rtc

from . import errors
from .arrival import ArrivalClock
from .audio import mono_samples, to_pcm
from .backoff import Backoff
from .conversation import Conversation, Outcome
from .intake import Intake
from .link import Backend, Link
from .liveness import Liveness
from .log import logger
from .options import ConnectionOptions, OptionChanges, RecognitionOptions
from .outbox import Outbox
from .resampler import Resampler
from .transcript import StreamTimes, Transcript

if TYPE_CHECKING:
    from typing_extensions import Unpack

HEALTHY_AFTER_S = 5.0
"""A connection that held this long, and got somewhere, ends an outage: what follows is a new one. A
server that accepts and dies at once, or always dies of the same audio, must not be tried for
ever."""

CONNECTING_HEADROOM_S = 15.0
"""Seconds of audio kept beyond `replay_s` while a connection is opened (LiveKit's default for that
is 10 s) and catches up."""

_DEFAULT_RETRIES = DEFAULT_API_CONNECT_OPTIONS.max_retry


class SpeechStream(RecognizeStream):
    """One stream of speech.

    Audio is kept until it is finalised. When a connection is lost, the next one is sent what the
    last one was not done with, so that no word is lost or told twice, and times stay those of the
    audio.
    """

    def __init__(
        self,
        *,
        stt: STT[Any],
        backend: Backend,
        options: RecognitionOptions,
        connection: ConnectionOptions,
        conn_options: APIConnectOptions,
        session_keyterms: Sequence[str],
        on_ready: Callable[[Ready], None],
    ) -> None:
        """Use `STT.stream`."""
        self._offset_s = 0.0
        super().__init__(stt=stt, conn_options=conn_options)
        # Nothing can have been pushed yet, and the task that reads it has not begun.
        self._input_ch = Intake(self._take)
        self._news = asyncio.Event()
        self._backend = backend
        self._options = options
        self._connection = connection
        self._session_keyterms = tuple(session_keyterms)
        self._biased_options = options.biased_to(self._session_keyterms)
        self._on_ready = on_ready
        self._arrivals: ArrivalClock | None = None
        self._outbox = Outbox(
            capacity=int(connection.replay_s * connection.sample_rate),
            headroom=int(CONNECTING_HEADROOM_S * connection.sample_rate),
        )
        self._transcript = Transcript(
            StreamTimes(
                connection.sample_rate,
                offset_s=lambda: self._offset_s,
                began_at=self._began_at,
                ended_at=self._ended_at,
            )
        )
        self._rate_converter: Resampler | None = None
        self._is_giving_up_audio = False
        # Here, because LiveKit may run `_run` again at any moment.
        self._backoff = Backoff(budget_s=connection.reconnect_budget_s)

    # The base class adds the wall-clock time of every attempt to its own offset. Our times are
    # positions in the audio, which no attempt and no outage changes, so only what was set from
    # outside counts.
    @property
    def start_time_offset(self) -> float:
        """Seconds to add to times of this stream's audio; set by the caller."""
        return self._offset_s

    @start_time_offset.setter
    def start_time_offset(self, value: float) -> None:
        if value < 0:
            raise ValueError("start_time_offset must be non-negative")
        self._offset_s = value

    def update_options(self, **changes: Unpack[OptionChanges]) -> None:
        """Change options of this stream on its live connection, without a reconnect.

        Only another model takes a new connection, between two utterances.

        Raises:
            TypeError: a name is not that of an option.
            ValueError: a value is out of range.
        """
        self._options = self._options.updated(changes)
        self._biased_options = self._options.biased_to(self._session_keyterms)
        self._outbox.forget_context()
        self._news.set()

    def update_session_keyterms(self, keyterms: Sequence[str]) -> None:
        """Set the terms that LiveKit's session wants leaned towards, besides the options' own."""
        self._session_keyterms = tuple(keyterms)
        self._biased_options = self._options.biased_to(self._session_keyterms)
        self._outbox.forget_context()
        self._news.set()

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Push audio of any rate and number of channels; the rate must stay the same."""
        super().push_frame(frame)
        if self._arrivals is None:
            self._arrivals = ArrivalClock(frame.sample_rate)
        self._arrivals.note(frame.samples_per_channel, time.time())

    def _began_at(self, position: int) -> float | None:
        if self._arrivals is None:
            return None
        return self._arrivals.time_after(position / self._connection.sample_rate)

    def _ended_at(self, position: int) -> float | None:
        if self._arrivals is None:
            return None
        return self._arrivals.time_before(position / self._connection.sample_rate)

    async def _run(self) -> None:
        tasks = (
            asyncio.create_task(self._read_input(), name="hark_input"),
            asyncio.create_task(self._stay_connected(), name="hark_connection"),
        )
        try:
            await asyncio.gather(*tasks)
        except errors.JobEndedError:
            logger.info("LiveKit's job has ended, and its stream with it")
            self._tell(self._transcript.finish())
        finally:
            await aio.cancel_and_wait(*tasks)
            self._tell(self._transcript.usage())

    async def _read_input(self) -> None:
        async for item in self._input_ch:
            if isinstance(item, rtc.AudioFrame):
                self._take(item)
            else:
                self._flush_rate_converter()
                # The flush that belongs to end_input is left out: `close` finalises as well.
                if not (self._input_ch.closed and self._input_ch.empty()):
                    flush_id = self._outbox.push_flush()
                    self._transcript.flush_requested(flush_id, self._outbox.end_position)
                self._news.set()
        self._outbox.end()
        self._news.set()

    def _take(self, frame: rtc.AudioFrame) -> None:
        samples = mono_samples(frame)
        if frame.sample_rate != self._connection.sample_rate:
            if self._rate_converter is None:
                self._rate_converter = Resampler(frame.sample_rate, self._connection.sample_rate)
            samples = self._rate_converter.push(samples)
        self._keep(samples)
        self._news.set()

    def _flush_rate_converter(self) -> None:
        if self._rate_converter is not None:
            self._keep(self._rate_converter.flush())

    def _keep(self, samples: NDArray[np.int16]) -> None:
        given_up = self._outbox.push_audio(to_pcm(samples))
        if given_up and not self._is_giving_up_audio:
            logger.warning(
                "more audio waits to be finalised than replay_s allows; the oldest is given up",
                extra={"replay_s": self._connection.replay_s},
            )
        self._is_giving_up_audio = given_up > 0

    async def _stay_connected(self) -> None:
        while not self._outbox.is_done:
            await asyncio.sleep(self._backoff.wait_s(_now()))
            try:
                outcome = await self._converse()
            except APIError as error:
                # Whoever chose another number of retries than LiveKit's default wants LiveKit to do
                # them.
                if not error.retryable or self._conn_options.max_retry != _DEFAULT_RETRIES:
                    raise
                delay = self._delay(error)
                self._emit_error(error, recoverable=True)
                logger.warning(
                    "Hark's connection failed, trying again",
                    extra={"reason": str(error), "delay_s": round(delay, 3)},
                )
            else:
                if outcome is Outcome.FINISHED:
                    break
                delay = self._delay(APIConnectionError("every server asks to move on"))
                logger.info("moving to another Hark connection")
            await asyncio.sleep(delay)
        self._tell(self._transcript.finish())

    def _delay(self, failure: APIError) -> float:
        delay = self._backoff.failed(_now(), retry_after_s=errors.retry_after_s(failure))
        if delay is None:
            raise APIConnectionError(
                f"no connection to Hark held within {self._connection.reconnect_budget_s:g} s"
                " (reconnect_budget_s)",
                retryable=False,
            ) from failure
        return delay

    async def _converse(self) -> Outcome:
        """Open a connection and use it until it ends."""
        try:
            return await self._converse_from(*self._outbox.connect())
        finally:
            self._outbox.disconnect()

    async def _converse_from(self, start_sample: int, context_sample: int) -> Outcome:
        options = self._options
        link = await self._open(options, start_sample, context_sample)
        liveness = Liveness(
            sample_rate=self._connection.sample_rate,
            start_sample=context_sample,
            timeout_s=self._connection.liveness_timeout_s,
            now=_now(),
        )
        self._transcript.connected(link.ready, start_sample)
        self._on_ready(link.ready)
        conversation = Conversation(
            link,
            outbox=self._outbox,
            transcript=self._transcript,
            liveness=liveness,
            sample_rate=self._connection.sample_rate,
            sent_options=options,
            wanted_options=self._wanted_options,
            news=self._news,
            tell=self._tell,
            warn=self._warn,
        )
        try:
            return await conversation.run()
        finally:
            self._tell(self._transcript.disconnected())
            got_on = self._transcript.finalized > start_sample or not liveness.has_unheard_audio
            if got_on and _now() - liveness.opened_at >= HEALTHY_AFTER_S:
                self._backoff.recovered()
            await link.aclose()

    async def _open(
        self, options: RecognitionOptions, start_sample: int, context_sample: int
    ) -> Link:
        config = options.first_config(
            sample_rate=self._connection.sample_rate,
            start_sample=start_sample,
            context_sample=context_sample,
        )
        began = _now()
        try:
            link = await self._backend.open(config, timeout_s=self._conn_options.timeout)
        finally:
            self._backoff.connected(_now())
        self._report_connection_acquired(_now() - began, False)
        return link

    def _wanted_options(self, ready: Ready) -> RecognitionOptions:
        """The options, with the session's keyterms where the model takes any."""
        return self._biased_options if ready.capabilities.keyterms else self._options

    def _warn(self, error: APIError) -> None:
        self._emit_error(error, recoverable=True)
        logger.warning("audio was not recognised", extra={"reason": str(error)})

    def _tell(self, events: Sequence[SpeechEvent]) -> None:
        for event in events:
            self._event_ch.send_nowait(event)


def _now() -> float:
    return asyncio.get_running_loop().time()
