"""What is not speech has no text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hearing.recordings import RATE, Pcm, frames
from hearing.transcripts import START, assert_in_order, hear, of_kind, texts
from numpy.typing import NDArray

from livekit.plugins import hark

SECONDS = 8
LENGTH = SECONDS * RATE

Wave = NDArray[np.float64]


def silence(rng: np.random.Generator) -> Wave:
    return np.zeros(LENGTH)


def white(rng: np.random.Generator) -> Wave:
    return rng.standard_normal(LENGTH)


def pink(rng: np.random.Generator) -> Wave:
    """Power falls with 1/f, from 20 Hz on."""
    spectrum = np.fft.rfft(rng.standard_normal(LENGTH))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(LENGTH, 1 / RATE), 20)))


def clicks(rng: np.random.Generator) -> Wave:
    """Some twenty, each over within a few milliseconds."""
    wave = np.zeros(LENGTH)
    wave[rng.integers(0, LENGTH, 20)] = 1
    return np.convolve(wave, np.exp(-np.arange(200) / 30) * rng.standard_normal(200))[:LENGTH]


def knocks(rng: np.random.Generator) -> Wave:
    """Two a second, dull, a tenth of a second long."""
    time = np.arange(LENGTH) / RATE % 0.5
    return np.sin(2 * np.pi * 90 * time) * np.exp(-time / 0.03)


def hum(rng: np.random.Generator) -> Wave:
    """Of a 50 Hz mains, with its harmonics."""
    time = np.arange(LENGTH) / RATE
    return sum(np.sin(2 * np.pi * 50 * n * time) / n for n in range(1, 8))


def tone(rng: np.random.Generator) -> Wave:
    """A dial tone, every other second."""
    time = np.arange(LENGTH) / RATE
    return np.sin(2 * np.pi * 425 * time) * (time % 2 < 1)


def gusts(rng: np.random.Generator) -> Wave:
    """Pink noise that comes and goes at the pace of breath."""
    return pink(rng) * np.sin(np.pi * np.arange(LENGTH) / RATE / 1.5) ** 2


def at_level(wave: Wave, peak_db: float) -> Pcm:
    """With its peak so far below full scale."""
    scale = 32767 * 10 ** (peak_db / 20) / max(float(np.abs(wave).max()), 1e-9)
    return (wave * scale).astype(np.int16)


@pytest.mark.parametrize("peak_db", [-3, -20, -40])
@pytest.mark.parametrize("noise", [silence, white, pink, clicks, knocks, hum, tone, gusts])
async def test_what_is_not_speech_has_no_text(
    embedded: hark.STT, noise: Callable[[np.random.Generator], Wave], peak_db: float
) -> None:
    samples = at_level(noise(np.random.default_rng(1)), peak_db)
    events = await hear(embedded.stream(), frames(samples))
    assert_in_order(events)
    assert [text for text in texts(events) if text] == []


@pytest.mark.parametrize(
    ("noise", "peak_db"), [(white, -40), (clicks, -40), (knocks, -40), (hum, -3)]
)
async def test_what_is_taken_for_speech_but_is_not_has_no_text(
    embedded: hark.STT, noise: Callable[[np.random.Generator], Wave], peak_db: float
) -> None:
    embedded.update_options(vad_threshold=0.05, min_speech_ms=0)  # the least there is
    samples = at_level(noise(np.random.default_rng(1)), peak_db)
    events = await hear(embedded.stream(), frames(samples))
    assert of_kind(events, START)
    assert [text for text in texts(events) if text] == []
