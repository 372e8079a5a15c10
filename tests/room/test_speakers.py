"""LiveKit's MultiSpeakerAdapter, which is told by the STT who of several people speaks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import numpy as np
import pytest
from livekit.agents.stt import (
    MultiSpeakerAdapter,
    RecognizeStream,
    SpeechEventType,
    STTCapabilities,
)

from livekit import rtc
from livekit.plugins import hark
from rooms.recordings import EPOCH, TRY_AGAIN, Recording

RATE = 16_000
FRAME_SAMPLES = RATE // 50

BY_SPEED = {
    SpeechEventType.INTERIM_TRANSCRIPT,
    SpeechEventType.PREFLIGHT_TRANSCRIPT,
    SpeechEventType.RECOGNITION_USAGE,
}

Told = tuple[SpeechEventType, list[tuple[str, float, float, str | None]]]
"""An event: its type, and the text, times and speaker of its alternatives."""


class Attributed(hark.STT):
    """Hark, as if it told speakers apart. It still names none, since it knows none."""

    @property
    def capabilities(self) -> STTCapabilities:
        return dataclasses.replace(super().capabilities, diarization=True)


@pytest.fixture
async def attributed() -> AsyncIterator[Attributed]:
    async with Attributed(api_url=None) as stt:
        yield stt


async def hear(stream: RecognizeStream, *recordings: Recording) -> list[Told]:
    """All that a stream says of recordings but what depends on its speed."""
    told: list[Told] = []

    async def read() -> None:
        async for event in stream:
            if event.type not in BY_SPEED:
                of = [(a.text, a.start_time, a.end_time, a.speaker_id) for a in event.alternatives]
                told.append((event.type, of))

    async with stream:
        for recording in recordings:
            samples = np.pad(recording.samples_at(RATE), (0, RATE))
            for start in range(0, len(samples), FRAME_SAMPLES):
                piece = samples[start : start + FRAME_SAMPLES]
                stream.push_frame(rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)))
            stream.flush()
        stream.end_input()
        await asyncio.wait_for(read(), 60)
    return told


async def test_hark_does_not_tell_speakers_apart_and_the_adapter_says_so() -> None:
    async with hark.STT(api_url=None) as stt:
        with pytest.raises(ValueError, match="needs STT with diarization"):
            MultiSpeakerAdapter(stt=stt)


async def test_the_adapter_changes_nothing_that_hark_says(attributed: Attributed) -> None:
    adapter = MultiSpeakerAdapter(stt=attributed, suppress_background_speaker=True)
    assert adapter.capabilities == attributed.capabilities
    adapted = await hear(adapter.stream(), EPOCH, TRY_AGAIN)
    assert adapted == await hear(attributed.stream(), EPOCH, TRY_AGAIN)
    finals = [of[0][0] for kind, of in adapted if kind is SpeechEventType.FINAL_TRANSCRIPT]
    assert "belief" in finals[0]
    assert "again" in finals[-1].lower()
    await adapter.aclose()
