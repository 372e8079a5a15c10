"""Sample rate conversion of a stream.

LiveKit's own resampler dithers with noise that differs from run to run, and a recogniser's text can
differ with it. This one gives the same output for the same audio, however it is cut after the first
frame.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

LONGEST_BLOCK_MS = 50
"""As long as the frames of an AgentSession. Blocks of 10 ms cost twice as much."""

_LEAST, _MOST = np.float32(-32768), np.float32(32767)
"""Of what PCM16 holds. Plain numbers would be converted for every frame."""


class Resampler:
    """Converts mono PCM16 from one rate to another."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """Start a stream.

        Args:
            from_rate: Hz, of what is pushed.
            to_rate: Hz, of what comes out.
        """
        self._from_rate = from_rate
        self._to_rate = to_rate
        # soxr's output depends a little on the size of what it is fed, so that is always the same:
        # the first frame's, as the others are mostly as long and need not wait then.
        self._block = self._fitting_block(0)
        self._waiting = np.zeros(0, np.int16)
        self._pushed = 0
        self._given = 0
        self._stream = self._new_stream()

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take audio, shape (n,); give what is ready, shape (m,)."""
        if not self._pushed:
            self._block = self._fitting_block(len(samples))
        self._pushed += len(samples)
        waiting = np.concatenate((self._waiting, samples)) if len(self._waiting) else samples
        whole = len(waiting) - len(waiting) % self._block
        self._waiting = waiting[whole:].copy()  # the frame is its owner's
        return self._feed(waiting[:whole], is_last=False)

    def flush(self) -> NDArray[np.int16]:
        """Give the rest, so that all output is as long as all input."""
        rest = self._feed(self._waiting, is_last=True)
        self._waiting = self._waiting[:0]
        self._stream = self._new_stream()
        missing = round(self._pushed * self._to_rate / self._from_rate) - self._given
        self._given += missing
        return np.pad(rest, (0, missing)) if missing >= 0 else rest[:missing]

    def _fitting_block(self, frame: int) -> int:
        """Whole tens of milliseconds, at most those of the frame."""
        step = max(1, self._from_rate // 100)
        return step * max(1, min(frame // step, LONGEST_BLOCK_MS // 10))

    def _feed(self, samples: NDArray[np.int16], *, is_last: bool) -> NDArray[np.int16]:
        audio = samples.astype(np.float32)  # as loud as it is: the filter does not mind
        resample, block = self._stream.resample_chunk, self._block
        resampled = [resample(audio[i : i + block]) for i in range(0, len(audio), block)]
        if is_last:
            resampled.append(resample(audio[:0], last=True))
        if not resampled:
            return np.zeros(0, np.int16)
        result = np.concatenate(resampled) if len(resampled) > 1 else resampled[0]
        self._given += len(result)
        np.rint(result, out=result)
        np.minimum(result, _MOST, out=result)
        np.maximum(result, _LEAST, out=result)
        return result.astype(np.int16)

    def _new_stream(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(self._from_rate, self._to_rate, 1, dtype="float32")
