"""The front end of a session: the client's audio in, utterances out.

Resampling, voice activity detection and endpointing, in that order. Computes, so it belongs in a
thread. Voice activity detection is cheaper for many windows at once, so ears may hear side by side.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import numpy as np

from hark.audio import EMPTY, SAMPLE_RATE, PcmArray, PcmBuffer, Resampler
from hark.endpointing import Endpointer, EndpointEvent, EndpointingOptions, SpeechPaused
from hark.errors import RecognitionError
from hark.vad import WINDOW, Memory, SpeechDetector

logger = logging.getLogger("hark.ear")


class EndOfTurnModel(Protocol):
    """Hears whether somebody who pauses has finished. Shared by any number of streams."""

    def finished(self, audio: PcmArray) -> float:
        """Listen to what was said up to a pause. Blocks.

        Args:
            audio: shape (n,), 16 kHz, any n above 0: an utterance and the beginning of its pause.

        Returns:
            The probability, 0 to 1, that the speaker has finished.

        Raises:
            RecognitionError: the model failed.
        """
        ...


_Windows = Generator[PcmArray, Any, list[EndpointEvent]]
"""Gives windows, wants the probability of speech in each (a float), returns what they decide."""


class Hearing:
    """Audio that an ear is about to hear."""

    def __init__(self, ear: Ear, windows: _Windows) -> None:
        """See `Ear.hearing` and `Ear.closing`, which make these."""
        self.ear = ear
        self.is_over = False
        """Whether it has been heard, failed or was cancelled."""
        self.window = EMPTY
        """To be scored next, while it is not over."""
        self._windows = windows
        self._events: list[EndpointEvent] = []
        self._error: Exception | None = None
        self._is_cancelled = False

    @property
    def events(self) -> list[EndpointEvent]:
        """What it decided, in order, once it is over. Raises what went wrong."""
        if self._error is not None:
            raise self._error
        return self._events

    def alone(self) -> list[EndpointEvent]:
        """Hear it now, without company."""
        hear_together([self])
        return self.events

    def cancel(self) -> None:
        """Do not hear it. Thread-safe, and of use only until it begins."""
        self._is_cancelled = True

    def begin(self) -> None:
        """Find the first window, if it was not cancelled."""
        if self._is_cancelled:
            self.is_over = True
        else:
            self._go_on(None)

    def take(self, probability: float, memory: Memory) -> None:
        """Take what the detector makes of the window; find the next."""
        self.ear.memory = memory
        self._go_on(probability)

    def fail(self, error: Exception) -> None:
        """Give up."""
        self._error = error
        self.is_over = True

    def _go_on(self, probability: float | None) -> None:
        try:
            self.window = self._windows.send(probability)
        except StopIteration as stop:
            self._events = stop.value
            self.is_over = True
        except Exception as error:
            self.fail(error)


def hear_together(
    hearings: Sequence[Hearing], tell: Callable[[list[Hearing]], None] = lambda over: None
) -> None:
    """Hear side by side, window by window.

    Args:
        hearings: of different ears. Who fails ends for itself, not for the others.
        tell: is told at once, of each of them once, who is over.
    """
    left = set(hearings)

    def tell_once(over: list[Hearing]) -> None:
        left.difference_update(over)
        tell(over)

    try:
        _hear(hearings, tell_once)
    except Exception as error:  # a bug must leave nobody waiting, nor end the thread of all
        untold = list(left)
        for hearing in untold:
            if not hearing.is_over:
                hearing.fail(error)
        tell(untold)


def _hear(hearings: Sequence[Hearing], tell: Callable[[list[Hearing]], None]) -> None:
    for hearing in hearings:
        hearing.begin()
    groups: defaultdict[int, list[Hearing]] = defaultdict(list)
    for hearing in _tell_who_is_over(hearings, tell):
        groups[id(hearing.ear.detector)].append(hearing)
    for group in groups.values():
        while group:
            _score(group[0].ear.detector, group)
            group = _tell_who_is_over(group, tell)


def _tell_who_is_over(
    hearings: Sequence[Hearing], tell: Callable[[list[Hearing]], None]
) -> list[Hearing]:
    """Gives the others."""
    if over := [hearing for hearing in hearings if hearing.is_over]:
        tell(over)
    return [hearing for hearing in hearings if not hearing.is_over]


def _score(detector: SpeechDetector, hearings: Sequence[Hearing]) -> None:
    try:
        probabilities, memories = detector.score(
            np.array([hearing.window for hearing in hearings]),
            np.array([hearing.ear.memory for hearing in hearings]),
        )
    except Exception as error:
        if len(hearings) == 1:
            hearings[0].fail(error)
            return
        for hearing in hearings:  # to find out whose fault it is
            _score(detector, [hearing])
        return
    for hearing, probability, memory in zip(hearings, probabilities, memories, strict=True):
        hearing.take(float(probability), memory.copy())


class Ear:
    """Hears one stream."""

    def __init__(self, sample_rate: int, detector: SpeechDetector, *, start: int = 0) -> None:
        """Begin in silence.

        Args:
            sample_rate: of the incoming audio, in Hz.
            detector: may be shared with other ears.
            start: position of the first sample, at 16 kHz.
        """
        self._resampler = Resampler(sample_rate) if sample_rate != SAMPLE_RATE else None
        self.detector = detector
        self.memory = detector.unheard
        """What the detector has to remember of the audio before `Endpointer.position`."""
        self.end_of_turn: EndOfTurnModel | None = None
        """Asked once at each pause, where the endpointer's options say so."""
        self.endpointer = Endpointer(WINDOW, EndpointingOptions(), start=start)
        self.audio = PcmBuffer(start)
        """The stream at 16 kHz; whoever reads it drops what is older than `Endpointer.settled`."""

    def push(self, samples: PcmArray) -> list[EndpointEvent]:
        """Take audio at the incoming rate, shape (n,), any n; give what it decides, in order."""
        return self.hearing(samples).alone()

    def flush(self) -> list[EndpointEvent]:
        """Close whatever is open, at the end of all audio so far."""
        return self.closing().alone()

    def hearing(self, samples: PcmArray) -> Hearing:
        """What `push` does, for whoever hears it; the one before must be over by then."""
        return Hearing(self, self._push(samples))

    def closing(self) -> Hearing:
        """What `flush` does, likewise."""
        return Hearing(self, self._flush())

    def _push(self, samples: PcmArray) -> _Windows:
        self.audio.append(self._resampler.push(samples) if self._resampler else samples)
        return (yield from self._listen())

    def _flush(self) -> _Windows:
        self.audio.append(self._resampler.flush() if self._resampler else EMPTY)
        events = yield from self._listen()
        events += self.endpointer.flush(self.audio.end)
        self.memory = self.detector.unheard
        return events

    def _listen(self) -> _Windows:
        events: list[EndpointEvent] = []
        while (end := self.endpointer.position + WINDOW) <= self.audio.end:
            probability: float = yield self.audio.read(end - WINDOW, end)
            for event in self.endpointer.push(probability):
                events.append(event)
                if isinstance(event, SpeechPaused):
                    self._judge(event)
            if self.endpointer.position != end:  # to be heard afresh from there
                self.memory = self.detector.unheard
        return events

    def _judge(self, pause: SpeechPaused) -> None:
        """Let the model hear what a stream that is resumed would let it hear, too."""
        if self.end_of_turn is not None and self.endpointer.options.asks_model:
            audio = self.audio.read(self.endpointer.start, pause.end)
            try:
                self.endpointer.judge(self.end_of_turn.finished(audio))
            except RecognitionError:  # the same audio would fail again, however often it is sent
                logger.error("end-of-turn model failed")
