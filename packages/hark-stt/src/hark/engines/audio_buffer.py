"""The audio of one utterance, as it grows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hark.audio import SAMPLE_RATE, PcmArray, to_float


class AudioBuffer:
    """Float samples that only ever grow at the end.

    The space doubles when it is full, so that an utterance of n samples costs O(n) copying however
    small its chunks.
    """

    def __init__(self) -> None:
        self._space = np.empty(2 * SAMPLE_RATE, np.float32)
        self._size = 0

    def append(self, samples: PcmArray) -> None:
        """Take audio, shape (n,), any n."""
        size = self._size + len(samples)
        if size > len(self._space):
            space = np.empty(max(size, 2 * len(self._space)), np.float32)
            space[: self._size] = self.samples
            self._space = space
        self._space[self._size : size] = to_float(samples)
        self._size = size

    @property
    def samples(self) -> NDArray[np.float32]:
        """All audio so far, shape (n,), in [-1, 1). A view: it shows no audio appended later."""
        return self._space[: self._size]

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return self._size / SAMPLE_RATE
