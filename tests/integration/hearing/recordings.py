"""Speech that comes with the default model's weights, as LiveKit's audio frames."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from livekit import rtc

Pcm = NDArray[np.int16]
"""Mono samples, shape (n,)."""

RATE = 16_000


def beckett() -> Pcm:
    """Six sentences of two words each in ten seconds: "Ever tried. Ever failed. No matter. ..."."""
    return _read("beckett.wav")


def two_sentences() -> Pcm:
    """The first 3.2 s of it: "Ever tried. Ever failed."."""
    return beckett()[: int(3.2 * RATE)]


def four_sentences() -> Pcm:
    """The first 6.4 s of it, and a second of silence: "... No matter. Try again."."""
    return np.concatenate((beckett()[: int(6.4 * RATE)], silence(1.0)))


def two_times() -> Pcm:
    """Two long sentences, each followed by 1.5 s of silence.

    "It was the best of times, it was the worst of times, it was the age of wisdom, it was ...".
    """
    tale = _read("two_cities.wav")
    parts = (tale[int(start * RATE) : int(end * RATE)] for start, end in ((0.9, 4.8), (4.8, 8.6)))
    return np.concatenate([np.concatenate((part, silence(1.5))) for part in parts])


def a_minute() -> Pcm:
    """62 s of two readings: long sentences and short ones; it breaks off within the last."""
    return np.concatenate((_read("two_cities.wav"), _read("endgame_nagg_nell.wav")))[: 62 * RATE]


def _read(name: str) -> Pcm:
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    samples, rate = soundfile.read(Path(spec.origin).parent / "assets" / name, dtype="int16")
    return np.asarray(soxr.resample(samples, rate, RATE), np.int16)


def silence(seconds: float) -> Pcm:
    return np.zeros(int(seconds * RATE), np.int16)


def at_rate(samples: Pcm, rate: int) -> Pcm:
    return samples if rate == RATE else np.asarray(soxr.resample(samples, RATE, rate), np.int16)


def frame(samples: Pcm, *, rate: int = RATE, channels: int = 1) -> rtc.AudioFrame:
    """One frame, with the same samples in every channel."""
    interleaved = np.repeat(samples, channels)
    return rtc.AudioFrame(interleaved.tobytes(), rate, channels, len(samples))


def frames(
    samples: Pcm, *, rate: int = RATE, channels: int = 1, ms: int = 20
) -> list[rtc.AudioFrame]:
    """Frames of so many milliseconds; the last may be shorter."""
    size = rate * ms // 1000
    sizes = [size] * (len(samples) // size) + ([len(samples) % size] if len(samples) % size else [])
    return frames_of(samples, sizes, rate=rate, channels=channels)


def frames_of(
    samples: Pcm, sizes: Sequence[int], *, rate: int = RATE, channels: int = 1
) -> list[rtc.AudioFrame]:
    """Frames of these sizes, in samples."""
    assert sum(sizes) == len(samples)
    pieces = np.split(samples, np.cumsum(sizes)[:-1])
    return [frame(piece, rate=rate, channels=channels) for piece in pieces]
