from __future__ import annotations

import time

import numpy as np

from hark.audio import SAMPLE_RATE
from hark.cli.pacing import FRAME_SAMPLES, paced


async def test_all_audio_comes_in_frames_and_in_order() -> None:
    samples = np.arange(3 * FRAME_SAMPLES + 7, dtype=np.int16)
    frames = [frame async for frame in paced(samples, speed=20)]
    assert [len(frame) for frame in frames] == [FRAME_SAMPLES] * 3 + [7]
    assert np.array_equal(np.concatenate(frames), samples)


async def test_no_audio_comes_before_it_would_have_been_spoken() -> None:
    begun = time.perf_counter()
    samples = 0
    async for frame in paced(np.zeros(SAMPLE_RATE // 4, dtype=np.int16)):
        samples += len(frame)
        assert time.perf_counter() - begun >= samples / SAMPLE_RATE


async def test_no_audio_gives_no_frame() -> None:
    assert [frame async for frame in paced(np.zeros(0, dtype=np.int16))] == []
