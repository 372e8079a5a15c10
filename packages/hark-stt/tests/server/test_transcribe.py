"""Whole files over HTTP."""

from __future__ import annotations

import asyncio
import io
import threading
from contextlib import asynccontextmanager

import aiohttp
import pytest

from hark.audio import SAMPLE_RATE
from hark.engines.fake import FakeRecognizer
from hark.engines.pool import ModelPool


@pytest.fixture
def gate(monkeypatch):
    """Holds up every decode of the servers that are started after it, until it is set."""
    is_open = threading.Event()

    class GatedRecognizer(FakeRecognizer):
        def decode(self, streams, *, final, threads=1):
            assert is_open.wait(20)
            return super().decode(streams, final=final)

    monkeypatch.setattr("hark.engines.pool.load", lambda name: GatedRecognizer())
    yield is_open
    is_open.set()


def form(audio, **fields):
    data = aiohttp.FormData(fields, default_to_multipart=True)
    if audio is not None:
        data.add_field("file", audio, filename="speech.wav")
    return data


async def test_a_file_in_a_form_is_transcribed_to_json(server, http, wav):
    response = await http.transcribe(server, form(wav, language="en"))
    assert response.status == 200
    assert response.media_type == "application/json"
    result = response.json()
    assert result["model"] == "fake"
    assert result["language"] == "en"
    assert result["duration_s"] == pytest.approx(10)
    assert result["text"].startswith("one two three")
    assert result["utterances"]
    for utterance in result["utterances"]:
        assert 0 <= utterance["start_s"] < utterance["end_s"] <= 10
        assert "words" not in utterance


async def test_a_file_as_the_whole_body_is_transcribed_the_same(server, http, wav):
    as_form = await http.transcribe(server, form(wav))
    as_body = await http.transcribe(server, wav)
    assert (as_form.status, as_body.status) == (200, 200)
    assert as_body.json() == as_form.json()


async def test_the_default_model_transcribes_speech(run_server, http, wav):
    server = run_server(models=ModelPool(workers=1, kind="thread"))
    response = await http.transcribe(server, wav, params={"response_format": "text"})
    assert "it was the best of times" in response.text.lower()


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
async def test_common_formats_are_read(server, http, recording, encode, format):
    audio = encode(recording[: 4 * SAMPLE_RATE], format)
    response = await http.transcribe(server, audio)
    assert response.status == 200
    assert response.json()["text"].startswith("one two")


async def test_words_and_keyterms_reach_the_model(server, http, wav):
    fields = aiohttp.FormData([("words", "true"), ("keyterms", "Hypatia"), ("keyterms", "Hark")])
    fields.add_field("file", wav, filename="speech.wav")
    result = (await http.transcribe(server, fields)).json()
    words = result["utterances"][0]["words"]
    assert [word["text"] for word in words[:2]] == ["Hypatia", "two"]
    assert words[0]["start_s"] < words[0]["end_s"] <= words[1]["start_s"]
    assert words[0]["confidence"] == 0.5


@pytest.mark.parametrize(
    ("format", "content_type", "beginning"),
    [
        ("text", "text/plain", "one two three"),
        ("srt", "application/x-subrip", "1\n00:00:0"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:0"),
    ],
)
async def test_other_response_formats(server, http, wav, format, content_type, beginning):
    response = await http.transcribe(server, form(wav, response_format=format))
    assert response.status == 200
    assert response.media_type == content_type
    assert response.text.startswith(beginning)


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"response_format": "docx"}, 400, "invalid_message", "response_format"),
        ({"words": "perhaps"}, 400, "invalid_message", "words"),
        ({"temperature": "0"}, 400, "invalid_message", "temperature"),
        ({"language": "?"}, 400, "invalid_message", "language"),
        ({"language": "de"}, 400, "language_not_supported", "en"),
        ({"model": "nothing"}, 404, "model_not_found", "available: fake"),
    ],
)
async def test_an_option_that_is_wrong_is_named(server, http, wav, fields, status, code, named):
    for response in (
        await http.transcribe(server, form(wav, **fields)),
        await http.transcribe(server, wav, params=fields),
    ):
        assert response.status == status
        error = response.json()
        assert (error["type"], error["code"], error["retryable"]) == ("error", code, False)
        assert named in error["message"]


async def test_what_is_no_audio_gets_415(server, http):
    response = await http.transcribe(server, form(b"no audio" * 1000))
    assert response.status == 415
    assert response.json()["code"] == "invalid_audio"


@pytest.mark.parametrize(
    "data",
    [b"", form(None, file="not a file"), form(None, model="fake")],
    ids=["nothing", "text instead of a file", "no such field"],
)
async def test_a_request_without_a_file_gets_400(server, http, data):
    response = await http.transcribe(server, data)
    assert response.status == 400


async def test_a_broken_form_gets_400(server, http):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await http.transcribe(server, b"--x\r\nnonsense", headers=headers)
    assert response.status == 400
    assert response.json()["type"] == "error"


async def in_pieces(data, size=64 * 1024):
    for i in range(0, len(data), size):
        yield data[i : i + size]


@pytest.mark.parametrize(
    "wrap",
    [io.BytesIO, in_pieces, lambda data: form(io.BytesIO(data))],
    ids=["known", "chunked", "form"],
)
async def test_a_file_that_is_too_large_gets_413(run_server, http, wrap):
    server = run_server(max_file_bytes=100_000)
    response = await http.transcribe(server, wrap(bytes(5_000_000)))
    assert response.status == 413
    assert "100000" in response.json()["message"]


async def test_audio_that_is_too_long_is_refused_however_small_its_file(
    run_server, http, recording, encode
):
    server = run_server(max_file_s=2)
    audio = encode(recording[: 3 * SAMPLE_RATE] * 0, "FLAC")
    assert len(audio) < 10_000
    response = await http.transcribe(server, audio)
    assert response.status == 415
    assert "longer than 2 s" in response.json()["message"]


async def test_an_upload_that_stops_gets_408(run_server, http):
    server = run_server(idle_timeout_s=1)
    is_over = asyncio.Event()

    async def stalling():
        yield b"RIFF"
        await is_over.wait()

    posting = asyncio.create_task(http.transcribe(server, stalling()))
    await asyncio.to_thread(server.wait_until, lambda: server.service.file_count == 1)
    await asyncio.to_thread(server.wait_until, lambda: server.service.file_count == 0)
    is_over.set()
    response = await asyncio.wait_for(posting, 20)
    assert response.status == 408


async def test_no_more_files_at_a_time_than_allowed(run_server, http, wav, gate):
    server = run_server(max_transcriptions=1)
    first = asyncio.create_task(http.transcribe(server, wav))
    await asyncio.to_thread(server.wait_until, lambda: server.service.transcription_count == 1)
    refused = await http.transcribe(server, wav)
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0
    gate.set()
    assert (await first).status == 200
    assert (await http.transcribe(server, wav)).status == 200


@asynccontextmanager
async def trickling_upload(server):
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    before = server.service.file_count
    writer.write(b"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nRIFF")
    await asyncio.to_thread(server.wait_until, lambda: server.service.file_count > before)
    try:
        yield
    finally:
        writer.transport.abort()


async def test_uploads_that_trickle_in_keep_no_place_from_others(run_server, http, wav):
    server = run_server(max_transcriptions=1)
    async with trickling_upload(server), trickling_upload(server):
        assert (await http.transcribe(server, wav)).status == 200


async def test_no_more_uploads_trickle_in_than_there_may(run_server, http, wav, monkeypatch):
    monkeypatch.setattr("hark.server.service.FILES_PER_TRANSCRIPTION", 2)
    server = run_server(max_transcriptions=1)
    async with trickling_upload(server), trickling_upload(server):
        assert (await http.transcribe(server, wav)).status == 503


@pytest.mark.parametrize(("timeout_s", "status"), [(20, 200), (0.05, 503)])
async def test_a_file_that_has_come_in_waits_for_a_place_but_not_for_ever(
    run_server, http, wav, gate, monkeypatch, timeout_s, status
):
    monkeypatch.setattr("hark.server.service.PLACE_TIMEOUT_S", timeout_s)
    server = run_server(max_transcriptions=1)
    is_free = asyncio.Event()

    async def late():
        yield wav[:1000]
        await is_free.wait()
        yield wav[1000:]

    second = asyncio.create_task(http.transcribe(server, late()))
    await asyncio.to_thread(server.wait_until, lambda: server.service.file_count == 1)
    first = asyncio.create_task(http.transcribe(server, wav))
    await asyncio.to_thread(server.wait_until, lambda: server.service.transcription_count == 1)
    is_free.set()
    if status == 503:
        assert (await second).status == 503
    gate.set()
    assert (await first).status == 200
    assert (await second).status == status


async def test_a_client_that_goes_away_gives_its_place_back(run_server, http, wav, gate):
    server = run_server(max_transcriptions=1)
    posting = asyncio.create_task(http.transcribe(server, wav))
    await asyncio.to_thread(server.wait_until, lambda: server.service.transcription_count == 1)
    posting.cancel()
    # The gate is still shut: nothing but the client's going can end the transcription.
    await asyncio.to_thread(server.wait_until, lambda: server.service.transcription_count == 0)


async def test_a_client_that_goes_away_while_it_uploads_gives_its_place_back(run_server, wav):
    server = run_server(max_transcriptions=1)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nRIFF")
    await asyncio.to_thread(server.wait_until, lambda: server.service.file_count == 1)
    writer.transport.abort()
    await asyncio.to_thread(server.wait_until, lambda: server.service.file_count == 0)


async def test_transcriptions_and_sessions_do_not_take_each_others_places(
    run_server, open_client, http, wav
):
    server = run_server(max_sessions=1, max_transcriptions=1)
    async with open_client(server) as client:
        await client.begin()
        assert (await http.transcribe(server, wav)).status == 200


async def test_models_are_listed_with_what_they_can_do(server, http):
    response = await http.get(server, "/v1/models")
    assert response.status == 200
    (model,) = response.json()["data"]
    assert (model["id"], model["default"]) == ("fake", True)
    assert model["capabilities"]["languages"] == ["en"]
    assert model["capabilities"]["words"] is True


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/v1/transcribe", 405)]
)
async def test_what_is_not_there_is_an_error_like_any_other(server, http, method, path, status):
    response = await http.request(server, method, path)
    assert response.status == status
    assert response.json()["type"] == "error"
