"""One client's stream: protocol messages in, protocol messages out. No sockets, no engines.

Audio goes to the ear; what it decides becomes decode requests, and what comes back becomes
messages, utterance after utterance: an utterance whose predecessor still waits for its final is
held back.

Inside, positions are samples at 16 kHz; in messages, samples at the session's rate.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import msgspec

from hark.agreement import StablePrefix
from hark.audio import EMPTY, SAMPLE_RATE, PcmArray, pcm_from_bytes, scale_position
from hark.cadence import next_interim
from hark.ear import Ear, EndOfTurnModel
from hark.endpointing import (
    EndpointEvent,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
)
from hark.errors import (
    AudioError,
    ClosedError,
    HarkError,
    LanguageNotSupportedError,
    ModelNotFoundError,
    OptionNotSupportedError,
    RecognitionError,
    SettingsError,
    WorkerError,
)
from hark.listening import listen
from hark.outbox import Outbox
from hark.recognizer import Context, Hypothesis, RecognitionOptions
from hark.scheduler import Decoded, DecodeStream, Priority, Scheduler
from hark.vad import SpeechDetector, silero_model
from hark_protocol import (
    MAX_POSITION,
    Audio,
    Capabilities,
    ClientMessage,
    Close,
    Closed,
    Config,
    Draining,
    Endpointing,
    Error,
    ErrorCode,
    Final,
    Flush,
    Flushed,
    Interim,
    Limits,
    Preflight,
    Progress,
    Ready,
    ServerMessage,
    Word,
)
from hark_protocol import SpeechEnded as SpeechEndedMessage
from hark_protocol import SpeechStarted as SpeechStartedMessage

logger = logging.getLogger("hark.session")

MAX_OPEN_UTTERANCES = 8
"""Utterances waiting for their finals before the session stops taking audio: a client that sends
faster than real time is slowed down to the speed of decoding."""

PROGRESS_INTERVAL_S = 1.0
"""Longest audio without a progress message, in seconds: what the protocol promises. A client pays
for each one that it gets."""

CONTEXT_GAP = 19_200
"""Samples (1.2 s) between two utterances up to which the later is read on from the earlier: a pause
in what is being said, not the other's turn. Utterances of LibriSpeech test-clean, test-other and
two other sets, cut by 300 ms of silence, had 312 errors without context, 288 with 12 s of it and
273 with 16 s; uncut about 254."""

CONTEXT_LENGTH = 256_000
"""Samples (16 s) that a decode with its context may take. An utterance that goes beyond stands for
itself, and the next may go on from it."""

_PIECE_S = 1.0  # longest audio looked at in one go: a big message must not hold up other sessions
_STALL_S = 1.0  # seconds of keeping the client waiting after which it is told that we still live

_T = TypeVar("_T")


class Models(Protocol):
    """Where a session finds its model."""

    def select(self, model: str | None, language: str | None) -> Scheduler:
        """Find a model by name, or without a name one that knows the language.

        Raises:
            ModelNotFoundError: there is none of this name.
            LanguageNotSupportedError: it does not know the language.
        """
        ...

    def end_of_turn(self) -> EndOfTurnModel:
        """Give the end-of-turn model. Blocks while it is loaded, which is at the first call.

        Raises:
            OptionNotSupportedError: it is not on this machine; the message says how to get it.
        """
        ...


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session will put up with. The transport enforces the first and the last.

    Attributes:
        max_message_bytes: largest message.
        max_session_s: longest audio in seconds; 0 for no limit.
        idle_timeout_s: longest time without any message, in seconds.
    """

    max_message_bytes: int = 1 << 20
    max_session_s: int = 0
    idle_timeout_s: float = 60.0


@dataclass(slots=True, eq=False)
class _Utterance:
    """An utterance from its start to its final."""

    id: int
    start: int
    stream: DecodeStream
    resume_from: int  # a stream resumed here finds this utterance again
    pushed: int  # position up to which the stream has audio
    asked: int  # position up to which there was audio when the last interim was asked for
    anchor: int  # position of the last anchor that was asked for
    told: int  # position up to which the last hypothesis that came had heard
    before: tuple[_Utterance, ...] = ()  # what it goes on from, while it is in line
    lead_in: PcmArray = field(
        default_factory=lambda: EMPTY
    )  # the audio from the first of these up to here
    prefix: StablePrefix = field(default_factory=StablePrefix)
    interim: Future[Decoded] | None = None
    pause: _Pause | None = None
    ended: SpeechEnded | None = None
    final: Future[Decoded] | None = None  # the decode that decides, once the utterance has ended
    held: list[ServerMessage] = field(default_factory=list)
    hypothesis: Hypothesis | None = None  # the final's, once it is done

    @property
    def is_done(self) -> bool:
        return self.hypothesis is not None

    def release(self) -> None:
        """No more will be asked of its audio."""
        self.stream.close()
        # Their callbacks hold the utterance, which would keep its audio until a garbage collection.
        self.final = self.pause = None

    @property
    def hear_from(self) -> int:
        """Where a stream must be resumed to find this utterance with the same final."""
        return self.before[0].resume_from if self.before else self.resume_from


@dataclass(slots=True, eq=False)
class _Pause:
    """The text of an utterance if it ends with this pause."""

    end: int
    future: Future[Decoded] | None = None


@dataclass(frozen=True, slots=True)
class _Marker:
    """Stands in the line of utterances for an answer that must wait for all finals before it."""

    message: Flushed | Closed


class Session:
    """One client's stream.

    Belongs to one event loop: one task calls `receive`, one iterates over the messages.
    """

    def __init__(
        self,
        models: Models,
        limits: SessionLimits = SessionLimits(),
        *,
        is_live: bool = True,
        detector: Callable[[], SpeechDetector] = silero_model,
    ) -> None:
        """Wait for the first config.

        Args:
            models: where the config's model is looked up.
            limits: announced to the client in `ready`.
            is_live: whether somebody waits for each final, as in a conversation; recordings yield
                to such sessions.
            detector: gives the voice activity detector, which may be shared.
        """
        self.id = uuid.uuid4().hex
        self._models = models
        self._limits = limits
        self._is_live = is_live
        self._detector = detector
        self._outbox = Outbox()
        self._moved = asyncio.Event()  # set whenever there may be room again
        self._loop = asyncio.get_running_loop()
        self._scheduler: Scheduler | None = None
        self._end_of_turn: EndOfTurnModel | None = None
        self._sample_rate = SAMPLE_RATE
        self._wants_interims = True
        self._options = RecognitionOptions()
        self._line: deque[_Utterance | _Marker] = deque()
        self._open: _Utterance | None = None
        # Utterances that follow each other closely, the last of them closed last of all: what the
        # next one goes on from.
        self._recent: tuple[_Utterance, ...] = ()
        self._next_id = 1
        self._received = 0
        self._finalized = 0
        self._reported = 0
        self._is_closing = False
        self._is_draining = False

    # --- the transport's side

    @property
    def audio_s(self) -> float:
        """Seconds of audio received."""
        if self._scheduler is None:
            return 0.0
        return max(0, self._received - self._start_sample) / self._sample_rate

    @property
    def model(self) -> str | None:
        """Name of the model; None before the first config."""
        return self._scheduler.model if self._scheduler else None

    async def receive(self, message: ClientMessage) -> None:
        """Take a message; return when the next one is welcome.

        What is wrong with it becomes an `error` message.
        Cancelling loses the message: then only `aclose` is of use.
        """
        if self._outbox.is_finished:
            return
        try:
            await self._dispatch(message)
        except HarkError as error:
            self.fail(_to_message(error))
        except Exception as error:  # a bug must not look like anything but an end of the session
            self._break(error)

    async def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """The messages for the client; ends after `closed` or `error`."""
        while (message := await self._outbox.get()) is not None:
            self._moved.set()
            yield message

    def fail(self, error: Error) -> None:
        """End the session with this message: no finals come after it."""
        self._outbox.put(error)
        self._shut()

    def _break(self, error: Exception) -> None:
        # Without the exception's text, which may hold speech.
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error(
            "session failed",
            extra={"session": self.id, "error": type(error).__name__, "trace": trace},
        )
        self.fail(_to_message(error))

    def drain(self) -> None:
        """Ask the client to move elsewhere at its next utterance boundary. Idempotent."""
        if not self._is_draining and self._scheduler is not None:
            self._outbox.put(Draining())
        self._is_draining = True

    async def aclose(self) -> None:
        """Give up whatever is going on. Idempotent, and does not wait for decodes."""
        self._shut()

    def _shut(self) -> None:
        self._outbox.finish()
        self._moved.set()
        for item in self._line:
            if isinstance(item, _Utterance):
                item.release()
        self._line.clear()
        self._open = None

    # --- messages in

    async def _dispatch(self, message: ClientMessage) -> None:
        if self._scheduler is None and not isinstance(message, Config):
            self.fail(Error.from_code("unexpected_message", "the first message must be config"))
        elif self._is_closing:
            self.fail(Error.from_code("unexpected_message", "nothing may follow close"))
        elif isinstance(message, Config):
            await self._load_end_of_turn(message)
            if self._outbox.is_finished:
                return  # closed meanwhile
            self._configure(message) if self._scheduler else self._begin(message)
        elif isinstance(message, Audio):
            await self._hear(pcm_from_bytes(message.pcm))
        elif isinstance(message, Flush):
            await self._finish_audio(Flushed(message.id))
        elif isinstance(message, Close):
            self._is_closing = True
            await self._finish_audio(Closed())

    async def _load_end_of_turn(self, config: Config) -> None:
        """Get the end-of-turn model once the options want it."""
        endpointing = _or(config.endpointing, Endpointing())
        if _or(endpointing.max_silence_ms, 0) and self._end_of_turn is None:
            self._end_of_turn = await asyncio.to_thread(self._models.end_of_turn)

    def _begin(self, config: Config) -> None:
        self._sample_rate = _or(config.sample_rate, SAMPLE_RATE)
        self._start_sample = _or(config.start_sample, 0)
        self._first_sample = _or(config.context_sample, self._start_sample)
        self._received = self._reported = self._first_sample
        start = self._to_core(self._first_sample)
        self._scheduler = self._models.select(_or(config.model, None), _or(config.language, None))
        self._settled = start
        self._finalized = self._new_from = self._to_core(self._start_sample)
        self._ear = Ear(self._sample_rate, self._detector(), start=start)
        self._configure(config)
        self._outbox.put(self._ready(self._scheduler))
        if self._is_draining:
            self._outbox.put(Draining())
        logger.info("session started", extra={"session": self.id, "model": self._scheduler.model})

    def _ready(self, scheduler: Scheduler) -> Ready:
        able = scheduler.capabilities
        return Ready(
            session=self.id,
            model=scheduler.model,
            language=self._options.language,
            capabilities=Capabilities(
                languages=able.languages,
                words=able.words,
                confidence=able.confidence,
                keyterms=able.keyterms,
                streaming=able.streaming,
                language_detection=able.language_detection,
            ),
            limits=Limits(
                max_message_bytes=self._limits.max_message_bytes,
                max_session_s=self._limits.max_session_s,
                idle_timeout_s=self._limits.idle_timeout_s,
            ),
        )

    def _configure(self, config: Config) -> None:
        """Apply the options that are given.

        Endpointing at once, the others from the next utterance on.
        """
        assert self._scheduler is not None
        able = self._scheduler.capabilities
        if _or(config.model, self._scheduler.model) != self._scheduler.model:
            raise OptionNotSupportedError("the model of a session is fixed; open a new one")
        language = self._options.language
        if config.language is None:
            language = None
        elif config.language is not msgspec.UNSET:
            language = able.match_language(config.language)
            if language is None:
                raise LanguageNotSupportedError(
                    config.language, self._scheduler.model, able.languages
                )
        options = RecognitionOptions(
            language=language,
            words=_or(config.words, self._options.words),
            keyterms=_or(config.keyterms, self._options.keyterms),
        )
        if options.words and not able.words:
            raise OptionNotSupportedError(f"model {self._scheduler.model!r} has no word times")
        if options.keyterms and not able.keyterms:
            raise OptionNotSupportedError(f"model {self._scheduler.model!r} takes no keyterms")
        if config.endpointing is not msgspec.UNSET:
            changes = {
                name: value
                for name, value in msgspec.structs.asdict(config.endpointing).items()
                if value is not msgspec.UNSET
            }
            endpointer = self._ear.endpointer
            endpointer.options = replace(endpointer.options, **changes)
            self._ear.end_of_turn = self._end_of_turn
        self._options = options
        # A stream resumed before this would be heard with the new options from there on.
        self._recent = ()
        if self._open is not None:
            self._open.before = ()
        self._wants_interims = _or(config.interim_results, self._wants_interims)

    async def _hear(self, samples: PcmArray) -> None:
        piece = int(_PIECE_S * self._sample_rate)
        for i in range(0, len(samples), piece):
            await self._hear_piece(samples[i : i + piece])
            await self._wait_for_room()
            if self._outbox.is_finished:
                return

    async def _hear_piece(self, samples: PcmArray) -> None:
        if self._received + len(samples) > MAX_POSITION:
            self.fail(Error.from_code("invalid_audio", "the stream is past the last position"))
            return
        limit = self._limits.max_session_s * self._sample_rate
        if limit and self._received + len(samples) - self._start_sample > limit:
            longest = f"a session may last {self._limits.max_session_s} s; go on in a new one"
            self.fail(Error.from_code("session_too_long", longest))
            return
        self._report_before(len(samples))
        events = await listen(self._ear.hearing(samples))
        if self._outbox.is_finished:
            return  # closed meanwhile
        self._received += len(samples)
        self._follow(events)
        self._report_before(len(samples))

    async def _finish_audio(self, answer: Flushed | Closed) -> None:
        events = await listen(self._ear.closing())
        if self._outbox.is_finished:
            return  # closed meanwhile
        self._follow(events)
        # A stream resumed before this would not be flushed here.
        self._recent = ()
        marker = _Marker(answer)
        self._line.append(marker)
        self._report()
        self._loop.call_later(_STALL_S, self._tell_of_wait, marker)
        self._advance_line()
        await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        while (
            len(self._line) > MAX_OPEN_UTTERANCES or not self._outbox.has_room
        ) and not self._outbox.is_finished:
            self._moved.clear()
            # Not `wait_for`, which before Python 3.12 may swallow that it is cancelled.
            stalled = self._loop.call_later(_STALL_S, self._tell_of_stall)
            try:
                await self._moved.wait()
            finally:
                stalled.cancel()

    def _tell_of_stall(self) -> None:
        self._report()
        self._moved.set()

    def _tell_of_wait(self, marker: _Marker) -> None:
        """Tell a client that waits for an answer, every now and then, that it is worked on."""
        if marker in self._line:
            self._report()
            self._loop.call_later(_STALL_S, self._tell_of_wait, marker)

    # --- from audio to decode requests

    def _follow(self, events: Sequence[EndpointEvent]) -> None:
        """Do what the ear has decided."""
        for event in events:
            self._apply(event)
        if self._open is not None:
            self._feed(self._open, self._ear.audio.end)
            self._ask(self._open)
        elif self._ear.endpointer.next_start > self._end_of_recent + CONTEXT_GAP:
            self._recent = ()
        # Kept, because the ear's own runs ahead of the events while it listens in its thread.
        self._settled = self._ear.endpointer.settled
        needed = self._recent[0].start if self._recent else self._settled
        self._ear.audio.drop_before(min(needed, self._settled))

    @property
    def _end_of_recent(self) -> int:
        if not self._recent:
            return 0
        last = self._recent[-1].ended
        assert last is not None
        return last.end

    def _apply(self, event: EndpointEvent) -> None:
        if isinstance(event, SpeechStarted):
            self._open = self._open_utterance(event)
            return
        utterance = self._open
        assert utterance is not None, "the endpointer opens an utterance before anything else"
        if isinstance(event, SpeechPaused):
            utterance.pause = _Pause(event.end)
            if utterance.interim is not None:
                utterance.interim.cancel()
        elif isinstance(event, SpeechResumed):
            self._resume(utterance)
        else:
            self._end(utterance, event)

    def _open_utterance(self, event: SpeechStarted) -> _Utterance:
        assert self._scheduler is not None
        utterance = _Utterance(
            id=self._next_id,
            start=event.start,
            stream=self._scheduler.open_stream(self._options, caller=self.id),
            resume_from=event.resume_from,
            pushed=event.start,
            asked=event.start,
            anchor=event.start,
            told=event.start,
        )
        if event.start > self._end_of_recent + CONTEXT_GAP:
            self._recent = ()
        if self._recent:
            utterance.before = self._recent
            utterance.lead_in = self._ear.audio.read(self._recent[0].start, event.start)
        self._next_id += 1
        self._line.append(utterance)
        self._tell(utterance, SpeechStartedMessage(utterance.id, self._to_client(event.start)))
        return utterance

    def _feed(self, utterance: _Utterance, end: int) -> None:
        if end > utterance.pushed:
            utterance.stream.push(self._ear.audio.read(utterance.pushed, end))
            utterance.pushed = end

    def _ask(self, utterance: _Utterance) -> None:
        """Ask for what the utterance is due: the text of its pause, or an interim."""
        assert self._scheduler is not None
        if self._was_told(utterance):
            return
        pause = utterance.pause
        if pause is not None:
            if pause.future is None and self._is_live:
                pause.future = self._decode_whole(utterance, Priority.PREFLIGHT, pause.end)
            return
        if not self._wants_interims or utterance.interim is not None:
            return
        is_due = utterance.pushed - utterance.start >= self._next_interim(utterance)
        if is_due and self._has_new_speech(utterance):
            utterance.asked = utterance.pushed
            end = self._next_anchor(utterance)
            utterance.interim = self._decode(utterance, Priority.INTERIM, end)

    def _has_new_speech(self, utterance: _Utterance) -> bool:
        """Whether there is something to show that the text of a pause will not show soon."""
        endpointer = self._ear.endpointer
        return endpointer.speech_until > utterance.asked and not endpointer.awaits_pause

    def _next_interim(self, utterance: _Utterance) -> int:
        assert self._scheduler is not None
        return next_interim(
            utterance.asked - utterance.start,
            interval=int(self._scheduler.interim_interval_s * SAMPLE_RATE),
            anchor=self._scheduler.capabilities.anchor,
        )

    def _next_anchor(self, utterance: _Utterance) -> int | None:
        """The last anchor that there is audio for, if none was asked for there."""
        assert self._scheduler is not None
        anchor = self._scheduler.capabilities.anchor
        if not anchor:
            return None
        position = utterance.pushed - (utterance.pushed - utterance.start) % anchor
        if position == utterance.anchor:
            return None
        utterance.anchor = position
        return position

    def _resume(self, utterance: _Utterance) -> None:
        pause, utterance.pause = utterance.pause, None
        if pause is not None and pause.future is not None:
            pause.future.cancel()  # if it is running already, it comes out as an interim

    def _end(self, utterance: _Utterance, event: SpeechEnded) -> None:
        utterance.ended = event
        self._open = None
        self._feed(utterance, event.end)
        if utterance.interim is not None:
            utterance.interim.cancel()
        self._remember(utterance, event.end)
        pause = utterance.pause
        if pause is None or pause.future is None or pause.end != event.end:
            utterance.final = self._decode_whole(utterance, Priority.FINAL, event.end)
            return
        utterance.final = pause.future
        if pause.future.done():
            self._conclude(utterance, pause.future)
        elif self._is_live:
            utterance.stream.hasten(pause.future, Priority.FINAL)

    def _remember(self, utterance: _Utterance, end: int) -> None:
        assert self._scheduler is not None
        if self._scheduler.capabilities.context:
            fits = _fits(utterance.before, end)
            self._recent = (*utterance.before, utterance) if fits else (utterance,)

    # --- from hypotheses to messages

    def _decode_whole(
        self, utterance: _Utterance, priority: Priority, end: int
    ) -> Future[Decoded] | None:
        """Ask for the text up to `end`; None while one that it goes on from has no final yet."""
        if not all(earlier.is_done for earlier in utterance.before):
            return None
        return self._decode(utterance, priority, end, _context(utterance, end))

    def _decode(
        self,
        utterance: _Utterance,
        priority: Priority,
        end: int | None,
        context: Context | None = None,
    ) -> Future[Decoded]:
        future = utterance.stream.decode(
            priority if self._is_live else Priority.RECORDING,
            final=priority is not Priority.INTERIM,
            length=None if end is None else end - utterance.start,
            context=context,
        )

        def hand_over(done: Future[Decoded]) -> None:
            try:
                self._loop.call_soon_threadsafe(self._take, utterance, done)
            except RuntimeError:
                pass  # the event loop is closed, and the session with it

        future.add_done_callback(hand_over)
        return future

    def _take(self, utterance: _Utterance, future: Future[Decoded]) -> None:
        if future is utterance.interim:
            utterance.interim = None
        if future.cancelled() or self._outbox.is_finished or utterance.is_done:
            return
        try:
            if utterance.ended is None:
                self._tell_hypothesis(utterance, future)
            elif future is utterance.final:
                self._conclude(utterance, future)
        except Exception as error:  # called by the event loop, which would only log it
            self._break(error)

    def _tell_hypothesis(self, utterance: _Utterance, future: Future[Decoded]) -> None:
        if future.exception() is not None:
            return  # what matters is the final, which fails for itself if it does
        hypothesis, end = future.result().hypothesis, utterance.start + future.result().length
        if utterance.pause is not None:
            # An interim that comes only now would take the preflight back.
            if utterance.pause.future is future:
                self._tell_preflight(utterance, end, hypothesis)
        elif end > utterance.told:  # or else it was overtaken on another worker
            self._tell_interim(utterance, end, hypothesis)

    def _conclude(self, utterance: _Utterance, future: Future[Decoded]) -> None:
        error = future.exception()
        if error is None:
            self._finish(utterance, future.result().hypothesis)
        elif isinstance(error, RecognitionError) and self._is_live:
            # The same audio would fail again wherever the client went with it.
            logger.error("utterance not recognised", extra={"session": self.id})
            self._finish(utterance, Hypothesis(""), failed=True)
        else:
            self.fail(_to_message(error))

    def _tell_interim(self, utterance: _Utterance, end: int, hypothesis: Hypothesis) -> None:
        utterance.told = end
        stable = utterance.prefix.push(hypothesis.text)
        if not self._wants_interims or not hypothesis.text:
            return
        self._tell(
            utterance,
            Interim(
                utterance.id,
                self._to_client(utterance.start),
                self._to_client(end),
                hypothesis.text,
                stable,
                hypothesis.confidence,
                hypothesis.language,
                self._words(utterance, hypothesis),
            ),
        )

    def _tell_preflight(self, utterance: _Utterance, end: int, hypothesis: Hypothesis) -> None:
        utterance.told = end
        utterance.prefix.push(hypothesis.text)
        if self._wants_interims and hypothesis.text:
            self._tell(utterance, self._transcript(Preflight, utterance, end, hypothesis))

    def _finish(
        self, utterance: _Utterance, hypothesis: Hypothesis, *, failed: bool = False
    ) -> None:
        assert utterance.ended is not None
        end = utterance.ended.end
        final = self._transcript(Final, utterance, end, hypothesis)
        self._tell(utterance, msgspec.structs.replace(final, failed=True) if failed else final)
        self._tell(
            utterance,
            SpeechEndedMessage(utterance.id, self._to_client(utterance.ended.speech_end)),
        )
        utterance.hypothesis = hypothesis
        utterance.release()
        self._advance_line()
        for item in self._line:
            if isinstance(item, _Utterance):
                self._ask_again(item)

    def _ask_again(self, utterance: _Utterance) -> None:
        """Ask for what had to wait for the final of the utterance before."""
        if utterance.ended is None:
            self._ask(utterance)
        elif utterance.final is None and not utterance.is_done:
            end = utterance.ended.end
            utterance.final = self._decode_whole(utterance, Priority.FINAL, end)

    def _transcript(
        self, kind: Callable[..., _T], utterance: _Utterance, end: int, hypothesis: Hypothesis
    ) -> _T:
        return kind(
            utterance.id,
            self._to_client(utterance.start),
            self._to_client(end),
            hypothesis.text,
            hypothesis.confidence,
            hypothesis.language,
            self._words(utterance, hypothesis),
        )

    def _words(self, utterance: _Utterance, hypothesis: Hypothesis) -> tuple[Word, ...] | None:
        if hypothesis.words is None:
            return None
        return tuple(
            Word(
                word.text,
                self._to_client(utterance.start + word.start),
                self._to_client(utterance.start + word.end),
                word.confidence,
            )
            for word in hypothesis.words
        )

    # --- messages out

    def _tell(self, utterance: _Utterance, message: ServerMessage) -> None:
        """Send a message of an utterance, or hold it until all utterances before are done."""
        # While it is held, only its latest hypothesis is of interest.
        utterance.held = [m for m in utterance.held if not isinstance(m, (Interim, Preflight))]
        utterance.held.append(message)
        if self._line and self._line[0] is utterance:
            self._let_out(utterance)

    def _let_out(self, utterance: _Utterance) -> None:
        if self._was_told(utterance):
            return
        held, utterance.held = utterance.held, []
        for message in held:
            self._outbox.put(message)

    def _was_told(self, utterance: _Utterance) -> bool:
        """Whether it is context: the client had its final on an earlier connection.

        One that does not end where the client has its last final is new, as far as it is known.
        """
        ended = utterance.ended
        return utterance.start < self._new_from and (ended is None or ended.end <= self._new_from)

    def _advance_line(self) -> None:
        """Let out all that no longer waits for an earlier final."""
        while self._line:
            head = self._line[0]
            if isinstance(head, _Marker):
                self._outbox.put(head.message)
                if isinstance(head.message, Closed):
                    self._shut()
                    return
            else:
                self._let_out(head)
                if not head.is_done:
                    break
            self._line.popleft()
            self._moved.set()
            if isinstance(head, _Utterance):
                assert head.ended is not None
                # Not before: as long as it is in line, a resumed stream must hear these, too. And
                # not later, or each would hold on to all that ever were before it.
                head.before, head.lead_in = (), EMPTY
                # The final says so already (docs/protocol.md#resuming).
                self._finalized = max(self._finalized, head.ended.end)
                self._report()

    def _report_before(self, samples: int) -> None:
        """Tell how far we are, if after so much more audio it would be too late."""
        unreported = self._received - self._reported
        if unreported and unreported + samples > PROGRESS_INTERVAL_S * self._sample_rate:
            self._report()

    def _report(self) -> None:
        """Tell how far we are."""
        first = next((item for item in self._line if isinstance(item, _Utterance)), None)
        self._finalized = max(self._finalized, first.resume_from if first else self._settled)
        context = self._settled  # behind what is finalized while context is heard again
        if first is not None:
            context = first.hear_from
        elif self._recent:
            context = self._recent[0].resume_from
        self._reported = self._received
        finalized = self._to_client(self._finalized)
        context = min(self._to_client_audio(context), finalized)
        self._outbox.put(
            Progress(self._received, finalized, context if context < finalized else msgspec.UNSET)
        )

    # --- positions

    def _to_core(self, position: int) -> int:
        return scale_position(position, self._sample_rate, SAMPLE_RATE)

    def _to_client(self, position: int) -> int:
        # Rounding must not reach outside the client's audio, nor context outside what is new.
        return max(self._to_client_audio(position), self._start_sample)

    def _to_client_audio(self, position: int) -> int:
        scaled = scale_position(position, SAMPLE_RATE, self._sample_rate)
        return min(max(scaled, self._first_sample), self._received)


def _fits(before: Sequence[_Utterance], end: int) -> bool:
    """Whether an utterance that ends there may be decoded together with those before it."""
    return not before or end - before[0].start <= CONTEXT_LENGTH


def _context(utterance: _Utterance, end: int) -> Context | None:
    """What was said before, as far back as there is text for it without a gap."""
    before = utterance.before if _fits(utterance.before, end) else ()
    said: list[_Utterance] = []
    tokens: tuple[int, ...] = ()
    for earlier in reversed(before):
        if earlier.hypothesis is None or not earlier.hypothesis.text:
            break
        said.append(earlier)
        tokens = earlier.hypothesis.tokens + tokens
    if not said:
        return None
    return Context(utterance.lead_in[said[-1].start - before[0].start :], tokens)


def _or(value: _T | msgspec.UnsetType, default: _T) -> _T:
    return default if isinstance(value, msgspec.UnsetType) else value


_CODES: Sequence[tuple[type[BaseException], ErrorCode]] = (
    (ModelNotFoundError, "model_not_found"),
    (LanguageNotSupportedError, "language_not_supported"),
    (OptionNotSupportedError, "option_not_supported"),
    (SettingsError, "invalid_message"),
    (AudioError, "invalid_audio"),
    (ClosedError, "draining"),
    (WorkerError, "loading"),  # again, that is
)


def _to_message(error: BaseException) -> Error:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Error.from_code(code, str(error))
    return Error.from_code("internal", "the recogniser failed on this audio; try again")
