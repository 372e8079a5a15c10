"""Speech made of numbers, and an ear for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Pcm = NDArray[np.int16]

_WINDOW = RATE // 100
_SILENCE = RATE // 5  # ends an utterance
_INTERIM = RATE // 5  # between interims


def speech(*words: int, ms: int = 250) -> Pcm:
    """Samples in which each of these words is said for so long."""
    return np.concatenate([np.full(RATE * ms // 1000, 1000 * word, np.int16) for word in words])


def silence(ms: int = 400) -> Pcm:
    return np.zeros(RATE * ms // 1000, np.int16)


@dataclass(frozen=True)
class Word:
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Heard:
    """What was said so far in an utterance, or what was said in it."""

    words: tuple[Word, ...]
    is_final: bool

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


class Ear:
    """Hears one connection's audio; its times start with the connection, as with all providers."""

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._looked = 0
        self._opened: int | None = None
        self._speech_end = 0
        self._told = 0

    @property
    def received_s(self) -> float:
        return len(self._pcm) / 2 / RATE

    @property
    def settled_s(self) -> float:
        """Up to where everything is final."""
        return (self._looked if self._opened is None else self._opened) / RATE

    def push(self, pcm: bytes) -> Iterator[Heard]:
        """Take audio; gives an interim for each new stretch of speech, and finals."""
        self._pcm += pcm
        while 2 * (self._looked + _WINDOW) <= len(self._pcm):
            is_speech = self.is_speech(self.read(self._looked, self._looked + _WINDOW))
            self._looked += _WINDOW
            if is_speech:
                self._speech_end = self._looked
                if self._opened is None:
                    self._opened = self._told = self._looked - _WINDOW
                if self._looked - self._told >= _INTERIM:
                    self._told = self._looked
                    yield self._heard(is_final=False)
            elif self._opened is not None and self._looked - self._speech_end >= _SILENCE:
                yield from self.finish()

    def finish(self) -> Iterator[Heard]:
        """The final of what is open."""
        if self._opened is not None:
            yield self._heard(is_final=True)
            self._opened = None

    def is_speech(self, window: Pcm) -> bool:
        """Whether there is speech in 10 ms of audio."""
        return bool(window.any())

    def words(self, start: int, end: int) -> Iterator[Word]:
        """What was said between two positions."""
        position = start
        for value, samples in groupby(self.read(start, end).tolist()):
            length = len(list(samples))
            if value:
                word_end = position + length
                yield Word(f"w{round(value / 1000)}", position / RATE, word_end / RATE)
            position += length

    def _heard(self, *, is_final: bool) -> Heard:
        assert self._opened is not None
        return Heard(tuple(self.words(self._opened, self._speech_end)), is_final)

    def read(self, start: int, end: int) -> Pcm:
        return np.frombuffer(bytes(self._pcm[2 * start : 2 * end]), np.int16)
