"""When each moment of a stream reached us, by the wall clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

JITTER_S = 0.02
"""Frames that come this much early or late still count as steady: it is one frame of WebRTC
audio."""

_SPANS_KEPT = 1024


@dataclass(slots=True)
class _Span:
    """Audio that came in steadily: `start_s` of the stream at wall time `at`, and so on."""

    start_s: float
    end_s: float
    at: float


class ArrivalClock:
    """Turns positions in a stream into wall-clock time.

    A stream has gaps (a muted microphone sends nothing) and bursts, so counting from its first
    sample would drift.
    """

    def __init__(self, sample_rate: int) -> None:
        """Args: sample_rate: Hz; of the audio as it arrives."""
        self._rate = sample_rate
        self._samples = 0
        self._spans: deque[_Span] = deque(maxlen=_SPANS_KEPT)

    def note(self, samples: int, now: float) -> None:
        """Note that the next `samples` are complete at wall time `now`, in seconds."""
        last = self._spans[-1] if self._spans else None
        start_s = last.end_s if last else 0.0
        self._samples += samples
        end_s = self._samples / self._rate
        began = now - (end_s - start_s)
        if last and abs(last.at + (start_s - last.start_s) - began) <= JITTER_S:
            last.end_s = end_s
        else:
            self._spans.append(_Span(start_s, end_s, began))

    def time_after(self, position_s: float) -> float | None:
        """Wall time at which the audio that begins at `position_s` began; None where unknown."""
        for span in reversed(self._spans):
            if span.start_s <= position_s < span.end_s:
                return span.at + (position_s - span.start_s)
        return None

    def time_before(self, position_s: float) -> float | None:
        """Wall time at which the audio that ends at `position_s` ended; None where unknown.

        At a gap in the audio this differs from `time_after`.
        """
        for span in reversed(self._spans):
            if span.start_s < position_s <= span.end_s:
                return span.at + (position_s - span.start_s)
        return None
