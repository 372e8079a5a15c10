"""From the recogniser's messages to LiveKit's speech events, across all connections of a stream.

Pure: no clock, no I/O. What it remembers outlives a connection, so that an utterance whose start
was told goes on after a reconnect, is told to start once only, and always comes to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from livekit.agents.language import LanguageCode
from livekit.agents.stt import RecognitionUsage, SpeechData, SpeechEvent, SpeechEventType
from livekit.agents.types import NOT_GIVEN, TimedString
from msgspec import UNSET

from hark_protocol import (
    Closed,
    Final,
    Flushed,
    Interim,
    Preflight,
    Progress,
    Ready,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
)

USAGE_INTERVAL_S = 5.0
"""Usage is reported in steps of at least this much audio, and what is left at the end."""

REDETECTION_MARGIN_S = 1.0
"""A recogniser that starts in the middle of a stream may find the same speech a little later than
one that has heard all of it: only when this much more is done with, the speech is taken not to have
been found again."""


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """How positions in the stream translate.

    Attributes:
        sample_rate: Hz.
        offset_s: gives what is to be added to seconds of the stream to get LiveKit's seconds.
        began_at: gives the wall time of what begins at a position, None where unknown.
        ended_at: gives the wall time of what ends at a position, None where unknown.
    """

    sample_rate: int
    offset_s: Callable[[], float]
    began_at: Callable[[int], float | None]
    ended_at: Callable[[int], float | None]

    def seconds(self, position: int) -> float:
        """LiveKit's time of a sample position."""
        return self.offset_s() + position / self.sample_rate


@dataclass(frozen=True, slots=True)
class _Utterance:
    """An utterance whose start was told, and whose end was not.

    Attributes:
        id: the recogniser's number for it; None since the connection that knew it was lost.
        start: its first sample.
        reach: the furthest sample that it is known to cover.
        has_final: whether its final was told.
    """

    id: int | None
    start: int
    reach: int
    has_final: bool = False


class Transcript:
    """The speech events of one stream.

    Attributes:
        finalized: all audio before this position is done with: its finals were told.
        context: from here on, audio helps to recognise what is not finalised.
    """

    def __init__(self, times: StreamTimes) -> None:
        """Args: times: translates sample positions."""
        self.finalized = self.context = 0
        self._times = times
        self._request_id = ""
        self._language = ""
        self._utterance: _Utterance | None = None
        self._finals = 0
        self._flushes: dict[int, tuple[int, int]] = {}
        self._used = 0
        self._reported = 0

    @property
    def is_between_utterances(self) -> bool:
        """Whether no utterance is open."""
        return self._utterance is None

    def connected(self, ready: Ready, start_sample: int) -> None:
        """A recogniser will go on from `start_sample`."""
        self._request_id = ready.session
        self._language = ready.language or ""
        # Audio that was given up is not used; audio that is sent again is not used twice.
        skipped = max(0, start_sample - self._used)
        self._used += skipped
        self._reported += skipped

    def disconnected(self) -> list[SpeechEvent]:
        """The connection is gone: an utterance with a final ends, one without goes on later."""
        utterance = self._utterance
        if utterance is None:
            return []
        if utterance.has_final:
            return [self._end(utterance.reach)]
        self._utterance = replace(utterance, id=None)
        return []

    def flush_requested(self, flush_id: int, position: int) -> None:
        """A flush of all audio before `position` was asked for."""
        self._flushes.setdefault(flush_id, (position, self._finals))

    def receive(self, message: ServerMessage) -> list[SpeechEvent]:
        """The events that a message means, in the order in which to tell them."""
        match message:
            case SpeechStarted():
                return self._speech_started(message)
            case Interim():
                return self._hypothesis(SpeechEventType.INTERIM_TRANSCRIPT, message)
            case Preflight():
                return self._hypothesis(SpeechEventType.PREFLIGHT_TRANSCRIPT, message)
            case Final():
                return self._final(message)
            case SpeechEnded():
                return [self._end(message.end), *self._usage(USAGE_INTERVAL_S)]
            case Progress():
                return self._progress(message)
            case Flushed():
                return self._flushed(message.id)
            case Closed():
                return self.finish()
            case _:
                return []

    def finish(self) -> list[SpeechEvent]:
        """Everything is finalised: end what is open."""
        return [*self._abandon(), *self.usage()]

    def usage(self) -> list[SpeechEvent]:
        """The use of audio that was not yet reported."""
        return self._usage(0.0)

    def _speech_started(self, message: SpeechStarted) -> list[SpeechEvent]:
        events = self._abandon() if self._is_passed(message.start) else []
        if self._utterance is not None:
            # Found again after a reconnect: its start was told already.
            self._utterance = replace(self._utterance, id=message.utterance)
            return events
        self._utterance = _Utterance(message.utterance, message.start, reach=message.start)
        started = self._event(SpeechEventType.START_OF_SPEECH)
        started.speech_start_time = self._times.began_at(message.start)
        return [*events, started]

    def _hypothesis(
        self, event_type: SpeechEventType, message: Interim | Preflight
    ) -> list[SpeechEvent]:
        if self._utterance is not None:
            reach = max(self._utterance.reach, message.end)
            self._utterance = replace(self._utterance, reach=reach)
        return [self._event(event_type, self._speech_data(message))] if message.text else []

    def _final(self, message: Final) -> list[SpeechEvent]:
        self._finals += 1
        self.finalized = max(self.finalized, message.end)
        self._used = max(self._used, message.end)
        if self._utterance is not None:
            self._utterance = replace(self._utterance, reach=message.end, has_final=True)
        final = self._event(SpeechEventType.FINAL_TRANSCRIPT, self._speech_data(message))
        final.speech_end_time = self._times.ended_at(message.end)
        return [final]

    def _end(self, position: int) -> SpeechEvent:
        self._utterance = None
        end = self._event(SpeechEventType.END_OF_SPEECH)
        end.speech_end_time = self._times.ended_at(position)
        return end

    def _progress(self, message: Progress) -> list[SpeechEvent]:
        self._used = max(self._used, message.received)
        self.finalized = max(self.finalized, message.finalized)
        context = message.finalized if message.context is UNSET else message.context
        self.context = max(self.context, context)
        events = self._abandon() if self._is_passed(self.finalized) else []
        return [*events, *self._usage(USAGE_INTERVAL_S)]

    def _flushed(self, flush_id: int) -> list[SpeechEvent]:
        position, finals_before = self._flushes.pop(flush_id, (0, self._finals))
        self.finalized = max(self.finalized, position)
        is_flushed = self._utterance is not None and self._utterance.start < position
        events = self._abandon() if is_flushed else []
        if self._finals == finals_before:
            # Whoever flushed waits for a final, so there is one even where there was no speech.
            events.append(self._empty_final(SpeechData(language=self._code(None), text="")))
        return events

    def _is_passed(self, position: int) -> bool:
        """Whether an utterance lost with its connection will not be found again.

        Args:
            position: up to which everything is done with, or where the next utterance starts.
        """
        lost = self._utterance
        if lost is None or lost.id is not None:
            return False
        return position > lost.reach + REDETECTION_MARGIN_S * self._times.sample_rate

    def _abandon(self) -> list[SpeechEvent]:
        """End an utterance that was lost with its connection and not found again."""
        lost = self._utterance
        if lost is None or lost.id is not None:
            return []
        data = SpeechData(
            language=self._code(None),
            text="",
            start_time=self._times.seconds(lost.start),
            end_time=self._times.seconds(lost.reach),
        )
        return [self._empty_final(data), self._end(lost.reach)]

    def _empty_final(self, data: SpeechData) -> SpeechEvent:
        self._finals += 1
        return self._event(SpeechEventType.FINAL_TRANSCRIPT, data)

    def _usage(self, least_s: float) -> list[SpeechEvent]:
        unreported_s = (self._used - self._reported) / self._times.sample_rate
        if unreported_s <= 0 or unreported_s < least_s:
            return []
        self._reported = self._used
        event = self._event(SpeechEventType.RECOGNITION_USAGE)
        event.recognition_usage = RecognitionUsage(audio_duration=unreported_s)
        return [event]

    def _event(self, event_type: SpeechEventType, *alternatives: SpeechData) -> SpeechEvent:
        return SpeechEvent(event_type, self._request_id, list(alternatives))

    def _speech_data(self, message: Interim | Preflight | Final) -> SpeechData:
        data = SpeechData(
            language=self._code(message.language),
            text=message.text,
            start_time=self._times.seconds(message.start),
            end_time=self._times.seconds(message.end),
            confidence=message.confidence or 0.0,  # LiveKit's "unknown"
        )
        if message.words is not None:
            data.words = [self._timed(word) for word in message.words]
        if isinstance(message, Interim):
            data.metadata = {"stable": message.stable}
        return data

    def _timed(self, word: Word) -> TimedString:
        return TimedString(
            word.text,
            start_time=self._times.seconds(word.start),
            end_time=self._times.seconds(word.end),
            confidence=NOT_GIVEN if word.confidence is None else word.confidence,
            start_time_offset=self._times.offset_s(),
        )

    def _code(self, language: str | None) -> LanguageCode:
        return LanguageCode(language or self._language)
