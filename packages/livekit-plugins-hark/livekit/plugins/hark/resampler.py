"""Sample rate conversion of a stream.

LiveKit's own resampler dithers with noise that differs from run to run, and a recogniser's text can
differ with it. This one gives the same output for the same audio, however it is cut after the first
frame.
"""

from __future__ import annotations

import sys

import numpy as np
import soxr
from numpy.typing import NDArray

LONGEST_BLOCK_MS = 50
"""As long as the frames of an AgentSession. Blocks of 10 ms cost twice as much."""

_HIGH = 1 if sys.byteorder == "little" else 0
"""Which of the halves of a 32-bit number is the high one."""

_HALF = -(1 << 15)
"""A low half that stands for 0.5: with it, cutting off the low halves of the output rounds."""

_NOTHING = np.zeros(0, np.int16)


class Resampler:
    """Converts mono PCM16 from one rate to another.

    soxr gets numbers of 32 bits with the audio in their high halves: those it clips by itself and
    does not dither, and there is nothing to convert before and after it.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """Start a stream.

        Args:
            from_rate: Hz, of what is pushed.
            to_rate: Hz, of what comes out.
        """
        self._from_rate = from_rate
        self._to_rate = to_rate
        self._set_block(0)
        self._waiting = _NOTHING
        self._pushed = 0
        self._given = 0
        self._stream = self._new_stream()

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take audio, shape (n,); give what is ready, shape (m,)."""
        if not self._pushed:
            self._set_block(len(samples))
        self._pushed += len(samples)
        if len(samples) == self._block and not len(self._waiting):
            return self._convert(samples)  # as nearly all come
        if len(self._waiting):
            samples = np.concatenate((self._waiting, samples))
        whole = len(samples) - len(samples) % self._block
        # A copy, because the frame is its owner's.
        self._waiting = samples[whole:].copy() if whole < len(samples) else _NOTHING
        block = self._block
        return _joined([self._convert(samples[i : i + block]) for i in range(0, whole, block)])

    def flush(self) -> NDArray[np.int16]:
        """Give the rest, so that all output is as long as all input."""
        rest = _joined([self._convert(self._waiting), self._convert(_NOTHING, last=True)])
        self._waiting = _NOTHING
        self._stream = self._new_stream()
        missing = round(self._pushed * self._to_rate / self._from_rate) - self._given
        self._given += missing
        return np.pad(rest, (0, missing)) if missing >= 0 else rest[:missing]

    def _set_block(self, frame: int) -> None:
        """Choose what soxr is fed at a time: whole tens of milliseconds, at most those of a frame.

        Its output depends a little on that, so it stays the same: the first frame's, as the others
        are mostly as long and need not wait then.
        """
        step = max(1, self._from_rate // 100)
        self._block = step * max(1, min(frame // step, LONGEST_BLOCK_MS // 10))
        self._wide = np.empty((self._block, 1), np.int32)  # soxr's own shape: samples, channels
        self._wide.view(np.int16)[:] = _HALF
        self._high = self._wide.view(np.int16)[:, _HIGH]

    def _convert(self, samples: NDArray[np.int16], *, last: bool = False) -> NDArray[np.int16]:
        """Feed up to a block; give what comes out."""
        self._high[: len(samples)] = samples
        wide = self._wide[: len(samples)]
        resampled: NDArray[np.int32] = self._stream.resample_chunk(wide, last=last)
        self._given += len(resampled)
        return resampled.view(np.int16)[:, _HIGH]

    def _new_stream(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(self._from_rate, self._to_rate, 1, dtype="int32")


def _joined(pieces: list[NDArray[np.int16]]) -> NDArray[np.int16]:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces) if pieces else _NOTHING
