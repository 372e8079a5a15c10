from __future__ import annotations

import numpy as np
import pytest

from hark.engines.audio_buffer import AudioBuffer


def test_a_new_buffer_is_empty() -> None:
    assert len(AudioBuffer().samples) == 0
    assert AudioBuffer().duration_s == 0


@pytest.mark.parametrize("chunk", [1, 7, 1_600, 31_999, 32_000, 32_001, 100_000])
def test_audio_comes_out_in_order_however_it_was_cut(chunk: int) -> None:
    pcm = np.arange(-50_000, 50_000).astype(np.int16)
    buffer = AudioBuffer()
    for i in range(0, len(pcm), chunk):
        buffer.append(pcm[i : i + chunk])
    np.testing.assert_array_equal(buffer.samples, pcm / np.float32(32768))
    assert buffer.samples.dtype == np.float32
    assert buffer.duration_s == 6.25


def test_full_scale_maps_to_minus_one() -> None:
    buffer = AudioBuffer()
    buffer.append(np.array([-32768, 0, 16384], np.int16))
    assert buffer.samples.tolist() == [-1.0, 0.0, 0.5]


def test_small_chunks_copy_the_buffer_a_few_times_only() -> None:
    buffer = AudioBuffer()
    spaces = set()
    for _ in range(3_000):  # 30 s in chunks of 10 ms
        buffer.append(np.zeros(160, np.int16))
        spaces.add(len(buffer.samples.base))
    assert len(spaces) <= 5
