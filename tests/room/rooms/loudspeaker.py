"""What a participant hears of another one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from livekit import rtc

AUDIBLE = 300
"""RMS of 16-bit samples; speech has thousands, what a codec makes of silence has a few."""

FRAME_MS = 20


@dataclass(frozen=True)
class Heard:
    """One frame: when it came, in seconds of the monotonic clock, and whether it was audible."""

    at: float
    is_audible: bool


class Loudspeaker:
    """Plays the first audio track of a participant that it is given."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self._task: asyncio.Task[None] | None = None

    def play(self, track: rtc.Track) -> None:
        self._task = asyncio.create_task(self._play(track))

    @property
    def last_audible_at(self) -> float:
        return max((frame.at for frame in self.heard if frame.is_audible), default=0.0)

    async def until_audible(self, *, after: float, timeout_s: float = 10.0) -> float:
        """Wait for the first audible frame after a time; give the time of that frame."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for frame in self.heard:
                if frame.is_audible and frame.at > after:
                    return frame.at
            await asyncio.sleep(FRAME_MS / 1_000)
        raise AssertionError(f"nothing audible within {timeout_s:g} s")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _play(self, track: rtc.Track) -> None:
        audio = rtc.AudioStream.from_track(track=track, sample_rate=16_000, frame_size_ms=FRAME_MS)
        try:
            async for event in audio:
                samples = np.frombuffer(event.frame.data, np.int16)
                rms = float(np.sqrt(np.square(samples, dtype=np.float64).mean()))
                self.heard.append(Heard(time.monotonic(), rms > AUDIBLE))
        finally:
            await audio.aclose()
