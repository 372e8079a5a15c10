"""Threads that decode for several streams: finals first, in the order in which they came."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Shape (n,), 16 kHz, [-1, 1]."""

T = TypeVar("T")


def to_float(pcm: bytes) -> Samples:
    """Little-endian PCM16 as floats."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


class DecodeThreads(Generic[T]):
    """A thread for each decoder; each has a decoder to itself."""

    def __init__(self, decoders: list[T]) -> None:
        """Args: decoders: one for each thread."""
        # Unbounded: a run is, and what is measured is how late its results are.
        self._jobs: queue.PriorityQueue[tuple[int, int, _Job[T] | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._threads = [
            threading.Thread(target=self._run, args=(decoder,), daemon=True) for decoder in decoders
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, decode: Callable[[T], str], *, is_final: bool) -> Future[str]:
        """Decode when it is this one's turn."""
        job = _Job(decode)
        self._jobs.put((0 if is_final else 1, next(self._numbers), job))
        return job.outcome

    def close(self) -> None:
        """End the threads after what they are at. Idempotent."""
        for _ in self._threads:
            self._jobs.put((-1, next(self._numbers), None))
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _run(self, decoder: T) -> None:
        while (job := self._jobs.get()[2]) is not None:
            job.run(decoder)


class _Job(Generic[T]):
    def __init__(self, decode: Callable[[T], str]) -> None:
        self.outcome: Future[str] = Future()
        self._decode = decode

    def run(self, decoder: T) -> None:
        try:
            self.outcome.set_result(self._decode(decoder))
        except Exception as error:  # belongs to whoever waits for the outcome
            self.outcome.set_exception(error)
