"""The front end of a session: the client's audio in, utterances out.

Resampling, voice activity detection and endpointing, in that order. Computes, so it belongs in a
thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from hark.audio import EMPTY, SAMPLE_RATE, PcmArray, PcmBuffer, Resampler
from hark.endpointing import Endpointer, EndpointEvent, EndpointingOptions, SpeechPaused
from hark.errors import RecognitionError
from hark.vad import WINDOW, SpeechDetector

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


class Ear:
    """Hears one stream."""

    def __init__(self, sample_rate: int, detector: SpeechDetector, *, start: int = 0) -> None:
        """Begin in silence.

        Args:
            sample_rate: of the incoming audio, in Hz.
            detector: fresh; it belongs to this stream.
            start: position of the first sample, at 16 kHz.
        """
        self._resampler = Resampler(sample_rate) if sample_rate != SAMPLE_RATE else None
        self._detector = detector
        self._heard = start  # position up to which the detector has audio
        self._scored = start  # position up to which the endpointer has probabilities
        self.end_of_turn: EndOfTurnModel | None = None
        """Asked once at each pause, where the endpointer's options say so."""
        self.endpointer = Endpointer(WINDOW, EndpointingOptions(), start=start)
        self.audio = PcmBuffer(start)
        """The stream at 16 kHz; whoever reads it drops what is older than `Endpointer.settled`."""

    def push(self, samples: PcmArray) -> list[EndpointEvent]:
        """Take audio at the incoming rate, shape (n,), any n; give what it decides, in order."""
        self.audio.append(self._resampler.push(samples) if self._resampler else samples)
        return self._listen()

    def flush(self) -> list[EndpointEvent]:
        """Close whatever is open, at the end of all audio so far."""
        self.audio.append(self._resampler.flush() if self._resampler else EMPTY)
        events = [*self._listen(), *self.endpointer.flush(self.audio.end)]
        self._start_afresh()
        return events

    def _listen(self) -> list[EndpointEvent]:
        events: list[EndpointEvent] = []
        while self._heard < self.audio.end:
            audio = self.audio.read(self._heard, self.audio.end)
            self._heard = self.audio.end
            events += self._follow(self._detector.push(audio).tolist())
        return events

    def _follow(self, probabilities: Sequence[float]) -> list[EndpointEvent]:
        events: list[EndpointEvent] = []
        for probability in probabilities:
            self._scored += WINDOW
            for event in self.endpointer.push(probability):
                events.append(event)
                if isinstance(event, SpeechPaused):
                    self._judge(event)
            if self.endpointer.position != self._scored:
                self._start_afresh()
                break
        return events

    def _judge(self, pause: SpeechPaused) -> None:
        """Let the model hear what a stream that is resumed would let it hear, too."""
        if self.end_of_turn is not None and self.endpointer.options.asks_model:
            audio = self.audio.read(self.endpointer.start, pause.end)
            try:
                self.endpointer.judge(self.end_of_turn.finished(audio))
            except RecognitionError:  # the same audio would fail again, however often it is sent
                logger.error("end-of-turn model failed")

    def _start_afresh(self) -> None:
        self._detector.reset()
        self._heard = self._scored = self.endpointer.position
