"""What the demo measures: how late its results are, and how many words of them are wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hark.audio import SAMPLE_RATE
from hark.cli.pacing import FRAME_SAMPLES

NORMALIZER = "whisper-normalizer, English"


class PushClock:
    """When each part of a recording was handed to the recogniser: the zero of all latencies."""

    def __init__(self) -> None:
        self._pushed: list[float] = []

    def tick(self) -> None:
        """Note that a frame (of `FRAME_SAMPLES`) has just been handed over."""
        self._pushed.append(time.perf_counter())

    @property
    def position_s(self) -> float:
        """Seconds of audio handed over so far."""
        return len(self._pushed) * FRAME_SAMPLES / SAMPLE_RATE

    def since_pushed_s(self, position_s: float) -> float:
        """Seconds since the audio before `position_s` was all handed over; 0 if it is not yet."""
        frame = max(0, math.ceil(round(position_s * SAMPLE_RATE) / FRAME_SAMPLES) - 1)
        if frame >= len(self._pushed):
            return 0.0
        return time.perf_counter() - self._pushed[frame]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several latencies in two numbers.

    Attributes:
        median_s: half of them are shorter.
        p95_s: 95 of 100 are shorter; interpolated where there are fewer than 20.
        count: how many there were.
    """

    median_s: float
    p95_s: float
    count: int

    @classmethod
    def of(cls, latencies_s: Sequence[float]) -> Spread | None:
        """Sum up; None if there is nothing to sum up."""
        if not latencies_s:
            return None
        median, p95 = np.percentile(latencies_s, [50, 95])
        return cls(float(median), float(p95), len(latencies_s))


@dataclass(frozen=True, slots=True)
class WordErrors:
    """WER = errors / reference words, after both texts went through `NORMALIZER`."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Word error rate; 0 is perfect, and it can exceed 1."""
        return self.errors / self.words


def word_errors(reference: str, hypothesis: str) -> WordErrors | None:
    """Compare a transcript with what was said; None if the reference has no words.

    Needs the extra `demo`.
    """
    import jiwer
    from whisper_normalizer.english import EnglishTextNormalizer

    normalize = EnglishTextNormalizer()
    said = normalize(reference)
    if not said.strip():
        return None
    result = jiwer.process_words(said, normalize(hypothesis))
    errors = result.substitutions + result.deletions + result.insertions
    return WordErrors(errors, result.hits + result.substitutions + result.deletions)
