"""Whole recordings, by a server."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_hark import FakeHark
from livekit.agents import APIConnectionError, APIError, APIStatusError
from livekit.agents.stt import SpeechEventType
from livekit.agents.types import APIConnectOptions

from hark_protocol import Error
from livekit import rtc
from livekit.plugins import hark

MakeSTT = Callable[..., hark.STT]

ONCE = APIConnectOptions(max_retry=0, timeout=2)

ANSWER: dict[str, Any] = {
    "text": "Hello there. Goodbye.",
    "language": "en",
    "duration_s": 3.0,
    "model": "numbers",
    "utterances": [
        {
            "start_s": 0.5,
            "end_s": 1.5,
            "text": "Hello there.",
            "confidence": 0.9,
            "words": [
                {"text": "Hello", "start_s": 0.5, "end_s": 0.9, "confidence": 0.8},
                {"text": "there.", "start_s": 1.0, "end_s": 1.5},
            ],
        },
        {"start_s": 2.0, "end_s": 4.0, "text": "Goodbye.", "confidence": 0.6},
    ],
}


@pytest.fixture
def answering(server: FakeHark) -> FakeHark:
    server.answer_upload = (200, json.dumps(ANSWER).encode())
    return server


def frame(samples: int = 1600, rate: int = 16_000, channels: int = 1) -> rtc.AudioFrame:
    interleaved = np.tile(np.arange(1, channels + 1, dtype=np.int16) * 100, samples)
    return rtc.AudioFrame(interleaved.tobytes(), rate, channels, samples)


def read_wav(body: bytes) -> tuple[int, int, np.ndarray]:
    with wave.open(io.BytesIO(body)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return file.getframerate(), file.getnchannels(), samples


async def test_a_recording_becomes_one_final(make_stt: MakeSTT, answering: FakeHark) -> None:
    event = await make_stt(words=True).recognize(frame())
    data = event.alternatives[0]
    assert event.type is SpeechEventType.FINAL_TRANSCRIPT
    assert event.request_id
    assert (data.text, data.language) == ("Hello there. Goodbye.", "en")
    assert (data.start_time, data.end_time) == (0.5, 4.0)
    assert data.confidence == pytest.approx((0.9 * 1 + 0.6 * 2) / 3)
    assert data.words is not None
    assert [(str(w), w.start_time, w.end_time) for w in data.words] == [
        ("Hello", 0.5, 0.9),
        ("there.", 1.0, 1.5),
    ]


async def test_a_recording_without_speech_becomes_an_empty_final(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.answer_upload = (200, b'{"text":"","model":"numbers","duration_s":1,"utterances":[]}')
    event = await make_stt().recognize(frame())
    data = event.alternatives[0]
    assert (data.text, data.confidence, data.start_time, data.end_time) == ("", 0.0, 0.0, 0.0)
    assert data.words is None


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (8_000, 1), (44_100, 6)])
async def test_a_buffer_of_any_rate_and_channels_is_taken(
    make_stt: MakeSTT, answering: FakeHark, rate: int, channels: int
) -> None:
    await make_stt().recognize([frame(1000, rate, channels), frame(500, rate, channels)])
    _, body = answering.uploads[0]
    sent_rate, sent_channels, samples = read_wav(body)
    assert (sent_rate, sent_channels, len(samples)) == (rate, 1, 1500)
    assert abs(samples - 50 * (channels + 1)).max() <= 1  # the mean of all channels


async def test_options_go_into_the_query(make_stt: MakeSTT, answering: FakeHark) -> None:
    stt = make_stt(model="large", words=True, keyterms=("Hark", "Live Kit"), api_key="sesame")
    await stt.recognize(frame(), language="german")
    query, _ = answering.uploads[0]
    assert query == {
        "model": ["large"],
        "language": ["de"],
        "words": ["true"],
        "keyterms": ["Hark", "Live Kit"],
    }
    assert answering.headers[0]["Authorization"] == "Bearer sesame"


async def test_the_language_of_a_call_is_that_of_the_call_only(
    make_stt: MakeSTT, answering: FakeHark
) -> None:
    stt = make_stt(language="en")
    await stt.recognize(frame(), language="de")
    await stt.recognize(frame())
    assert [query["language"] for query, _ in answering.uploads] == [["de"], ["en"]]


async def test_an_empty_buffer_is_an_empty_final(make_stt: MakeSTT, server: FakeHark) -> None:
    event = await make_stt().recognize([])
    assert event.alternatives[0].text == ""
    assert server.uploads == []


async def test_a_buffer_of_mixed_rates_is_refused(make_stt: MakeSTT, server: FakeHark) -> None:
    with pytest.raises(APIError, match="same sample rate") as error:
        await make_stt().recognize([frame(rate=8_000), frame(rate=16_000)])
    assert not error.value.retryable
    assert server.uploads == []


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        ("unauthorized", 401, False),
        ("model_not_found", 404, False),
        ("language_not_supported", 400, False),
        ("too_many_sessions", 503, True),
        ("internal", 500, True),
    ],
)
async def test_the_servers_own_words_are_told(
    make_stt: MakeSTT, server: FakeHark, code: Any, status: int, retryable: bool
) -> None:
    server.answer_upload = (status, msgspec.json.encode(Error.from_code(code, "because")))
    with pytest.raises(hark.RefusedError, match="because") as error:
        await make_stt().recognize(frame(), conn_options=ONCE)
    assert (error.value.status_code, error.value.retryable) == (status, retryable)
    assert error.value.code == code


@pytest.mark.parametrize(("status", "retryable"), [(403, False), (413, False), (502, True)])
async def test_a_proxys_refusal_is_told_by_its_status(
    make_stt: MakeSTT, server: FakeHark, status: int, retryable: bool
) -> None:
    server.answer_upload = (status, b"<html>no</html>")
    with pytest.raises(APIStatusError, match=str(status)) as error:
        await make_stt().recognize(frame(), conn_options=ONCE)
    assert (error.value.status_code, error.value.retryable) == (status, retryable)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"text": 1}', b"\xff"])
async def test_an_answer_that_is_no_transcription_is_told(
    make_stt: MakeSTT, server: FakeHark, body: bytes
) -> None:
    server.answer_upload = (200, body)
    with pytest.raises(APIError, match="check api_url") as error:
        await make_stt().recognize(frame(), conn_options=ONCE)
    assert not error.value.retryable


async def test_no_server_is_a_connection_error(make_stt: MakeSTT, server: FakeHark) -> None:
    await server.stop_listening()
    with pytest.raises(APIConnectionError, match="is it running") as error:
        await make_stt(api_key="sesame").recognize(frame(), conn_options=ONCE)
    assert error.value.retryable
    assert "sesame" not in repr(error.value)
    assert error.value.__context__ is None
