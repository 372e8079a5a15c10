"""A microphone that plays recordings, in real time and for as long as it is on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from livekit import rtc

from .recordings import Recording

RATE = 48_000
FRAME_SAMPLES = RATE // 100
QUEUE_MS = 50
"""Audio that the SDK holds back, at most. It counts as latency."""


@dataclass
class Speech:
    """Something said into a microphone.

    Attributes:
        recording: what.
        began_at: when its first sample was handed over, in seconds of the monotonic clock.
        last_speech_at: when its last sample that is speech was handed over.
        is_over: set when all of it has been handed over.
    """

    recording: Recording
    began_at: float = 0.0
    last_speech_at: float = 0.0
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


class Microphone:
    """An audio track. Where nothing is said it is silent, as a real one is; it never pauses."""

    def __init__(self) -> None:
        self._source = rtc.AudioSource(RATE, 1, queue_size_ms=QUEUE_MS)
        self.track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        self._speeches: asyncio.Queue[Speech] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def switch_on(self) -> None:
        self._task = asyncio.create_task(self._play())

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._source.aclose()

    def start_saying(self, recording: Recording) -> Speech:
        """Say something; does not wait for its end."""
        speech = Speech(recording)
        self._speeches.put_nowait(speech)
        return speech

    async def say(self, recording: Recording) -> Speech:
        """Say something, to its end."""
        speech = self.start_saying(recording)
        await asyncio.wait_for(speech.is_over.wait(), recording.duration_s + 20)
        return speech

    async def _play(self) -> None:
        silence = np.zeros(FRAME_SAMPLES, np.int16)
        due = time.monotonic()
        while True:
            if self._speeches.empty():
                due = await self._hand_over(silence, due)
                continue
            speech = self._speeches.get_nowait()
            samples = speech.recording.samples_at(RATE)
            last_speech = int(speech.recording.last_speech_s * RATE)
            speech.began_at = time.monotonic()
            for start in range(0, len(samples), FRAME_SAMPLES):
                due = await self._hand_over(samples[start : start + FRAME_SAMPLES], due)
                if start < last_speech:
                    speech.last_speech_at = time.monotonic()
            speech.is_over.set()

    async def _hand_over(self, samples: npt.NDArray[np.int16], due: float) -> float:
        """Hand over a frame when it is due.

        Returns:
            When the next one is.
        """
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await self._source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE, 1, len(samples)))
        return due + len(samples) / RATE
