from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from livekit.plugins.hark.resampler import Resampler

RATE = 16_000


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    t = np.arange(int(rate * seconds)) / rate
    return (10_000 * np.sin(2 * np.pi * hz * t)).astype(np.int16)


@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100, 48_000])
def test_a_tone_stays_the_tone_at_its_place(rate: int) -> None:
    resampler = Resampler(rate, RATE)
    out = np.concatenate((resampler.push(tone(rate)), resampler.flush()))
    assert len(out) == RATE
    middle = slice(
        1000, -1000
    )  # there is nothing before and after the tone, which rings at its ends
    assert np.abs(out[middle].astype(int) - tone(RATE)[middle]).max() <= 20


def test_what_comes_out_is_what_the_filter_gives_rounded() -> None:
    audio = np.random.default_rng(1).normal(0, 3000, 24_000).astype(np.int16)
    exact = soxr.ResampleStream(24_000, RATE, 1, dtype="float32")
    blocks = range(0, len(audio), 1_200)
    expected = np.concatenate(
        [exact.resample_chunk(audio[i : i + 1_200].astype(np.float32)) for i in blocks]
    )
    resampler = Resampler(24_000, RATE)
    off = np.concatenate([resampler.push(audio[i : i + 1_200]) for i in blocks]) - expected
    assert np.abs(off).max() < 0.51
    assert abs(off.mean()) < 0.02


def test_silence_stays_silent() -> None:
    resampler = Resampler(48_000, RATE)
    pieces = [resampler.push(np.zeros(2_400, np.int16)) for _ in range(20)]
    assert not np.concatenate((*pieces, resampler.flush())).any()


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 2_000), min_size=1, max_size=30))
def test_the_output_does_not_depend_on_how_audio_is_cut_after_the_first_frame(
    cuts: list[int],
) -> None:
    audio = np.random.default_rng(1).integers(-20_000, 20_000, 24_000).astype(np.int16)
    whole = Resampler(24_000, RATE)
    expected = np.concatenate((whole.push(audio), whole.flush()))
    resampler, position, pieces = Resampler(24_000, RATE), 0, []
    for cut in (1_200, *cuts):
        pieces.append(resampler.push(audio[position : position + cut]))
        position = min(position + cut, len(audio))
    pieces += [resampler.push(audio[position:]), resampler.flush()]
    assert np.array_equal(np.concatenate(pieces), expected)


def test_flushes_do_not_shift_what_comes_after_them() -> None:
    resampler = Resampler(44_100, RATE)
    given_samples = 0
    for second in range(1, 21):
        # 10 ms and a sample: never a whole number of samples at the other rate.
        for _ in range(100):
            given_samples += len(resampler.push(np.zeros(442, np.int16)))
            given_samples += len(resampler.flush())
        assert given_samples == round(second * 44_200 * RATE / 44_100)


def test_loud_audio_is_clipped_rather_than_wrapped() -> None:
    square = np.where(tone(48_000) > 0, 32767, -32768).astype(np.int16)
    resampler = Resampler(48_000, RATE)
    out = np.concatenate((resampler.push(square), resampler.flush())).astype(int)
    assert np.abs(np.diff(np.sign(out[100:-100]))).sum() / 2 <= 2 * 440 + 2
