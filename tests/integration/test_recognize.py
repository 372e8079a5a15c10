"""Whole recordings, as the guide does it, in every form in which LiveKit may hand them over."""

from __future__ import annotations

import pytest
from hearing.recordings import RATE, at_rate, frame, frames, silence, two_sentences
from hearing.server import HarkServer
from hearing.transcripts import words
from livekit.agents.stt import SpeechEventType
from livekit.agents.utils import AudioBuffer

from livekit.plugins import hark
from livekit.plugins.hark import STT

SPOKEN = ["ever", "tried", "ever", "failed"]


async def test_the_example_of_the_guide(server: HarkServer) -> None:
    buffer = frame(two_sentences())
    async with STT(api_url=f"ws://localhost:{server.port}/ws/transcribe") as stt:
        event = await stt.recognize(buffer, language="en")
    assert event.alternatives[0].text != ""
    assert words(event.alternatives[0].text) == SPOKEN


def one_frame(rate: int, channels: int = 1) -> AudioBuffer:
    return frame(at_rate(two_sentences(), rate), rate=rate, channels=channels)


def many_frames(rate: int, channels: int = 1) -> AudioBuffer:
    return frames(at_rate(two_sentences(), rate), rate=rate, channels=channels, ms=10)


@pytest.mark.parametrize(
    "buffer",
    [
        pytest.param(one_frame(8_000), id="8 kHz"),
        pytest.param(many_frames(RATE), id="16 kHz, frames"),
        pytest.param(one_frame(22_050), id="22.05 kHz"),
        pytest.param(many_frames(24_000), id="24 kHz, frames"),
        pytest.param(one_frame(44_100, channels=2), id="44.1 kHz stereo"),
        pytest.param(many_frames(48_000), id="48 kHz, frames"),
        pytest.param(many_frames(48_000, channels=2), id="48 kHz stereo, frames"),
    ],
)
async def test_a_buffer_of_any_form_is_recognised(stt: hark.STT, buffer: AudioBuffer) -> None:
    event = await stt.recognize(buffer, language="en")
    assert event.type is SpeechEventType.FINAL_TRANSCRIPT
    (data,) = event.alternatives
    assert words(data.text) == SPOKEN
    assert data.language == "en"
    assert 0.0 <= data.start_time < data.end_time <= 3.2
    assert 0.0 < data.confidence <= 1.0


async def test_a_silent_buffer_has_no_text(stt: hark.STT) -> None:
    event = await stt.recognize(frame(silence(2)), language="en")
    assert event.alternatives[0].text == ""


async def test_both_ways_a_buffer_gives_the_same(embedded: hark.STT, served: hark.STT) -> None:
    buffer = many_frames(48_000)
    ours, theirs = await embedded.recognize(buffer), await served.recognize(buffer)
    assert ours.alternatives == theirs.alternatives
