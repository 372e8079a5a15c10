"""Audio at the pace it would be spoken: what makes a file behave like a microphone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from hark.audio import SAMPLE_RATE, PcmArray

FRAME_MS = 20
"""Milliseconds of audio in a frame: what WebRTC's Opus sends."""

FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000


async def paced(samples: PcmArray, *, speed: float = 1.0) -> AsyncIterator[PcmArray]:
    """Give frames of `FRAME_MS`, each at the moment its last sample would have been spoken.

    A consumer that is late gets the following frames at once, until it has caught up.

    Args:
        samples: shape (n,), any n; the last frame may be shorter.
        speed: 2.0 gives the audio twice as fast.
    """
    begun = time.perf_counter()
    for start in range(0, len(samples), FRAME_SAMPLES):
        frame = samples[start : start + FRAME_SAMPLES]
        due = begun + (start + len(frame)) / SAMPLE_RATE / speed
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        yield frame
