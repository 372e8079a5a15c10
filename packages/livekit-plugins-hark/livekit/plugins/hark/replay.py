"""The audio that the recogniser is not done with, kept so that it can be sent again."""

from __future__ import annotations

from hark_protocol import PCM16_BYTES_PER_SAMPLE


class ReplayBuffer:
    """PCM16 mono of a stream, addressed by sample position."""

    def __init__(self) -> None:
        """Start empty, at position 0."""
        self._start = 0
        self._pcm = bytearray()

    @property
    def start(self) -> int:
        """Position of the oldest sample held."""
        return self._start

    @property
    def end(self) -> int:
        """Position after the newest sample held."""
        return self._start + len(self._pcm) // PCM16_BYTES_PER_SAMPLE

    def append(self, pcm: bytes) -> None:
        """Add whole samples at the end."""
        self._pcm += pcm

    def shrink(self, most: int) -> int:
        """Let the oldest samples go until at most so many are left; gives how many went."""
        excess = max(0, self.end - self._start - most)
        self._drop(excess)
        return excess

    def forget(self, before: int) -> None:
        """Let go of what is older than position `before`."""
        self._drop(min(before, self.end) - self._start)

    def read(self, position: int, most: int) -> bytes:
        """Up to `most` samples from `position` on.

        Raises:
            IndexError: the position is no longer held, or was not reached yet.
        """
        if not self._start <= position <= self.end:
            raise IndexError(f"{position} is not within [{self._start}, {self.end}]")
        first = (position - self._start) * PCM16_BYTES_PER_SAMPLE
        return bytes(self._pcm[first : first + most * PCM16_BYTES_PER_SAMPLE])

    def _drop(self, samples: int) -> None:
        if samples > 0:
            # Cheap for a bytearray: CPython moves its start rather than its contents.
            del self._pcm[: samples * PCM16_BYTES_PER_SAMPLE]
            self._start += samples
