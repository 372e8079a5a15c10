"""The front end of a session: the client's audio in, utterances out.

Resampling, voice activity detection and endpointing, in that order. Computes, so it belongs in a
thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from hark.audio import EMPTY, SAMPLE_RATE, PcmArray, PcmBuffer, Resampler
from hark.endpointing import Endpointer, EndpointEvent, EndpointingOptions
from hark.vad import WINDOW, SpeechDetector


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
            events += self.endpointer.push(probability)
            if self.endpointer.position != self._scored:
                self._start_afresh()
                break
        return events

    def _start_afresh(self) -> None:
        self._detector.reset()
        self._heard = self._scored = self.endpointer.position
