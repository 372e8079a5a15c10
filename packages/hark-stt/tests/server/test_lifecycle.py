"""From listening to the end: loading, readiness, draining."""

from __future__ import annotations

import asyncio
import threading

import pytest
from websockets.exceptions import InvalidStatus

from hark.audio import SAMPLE_RATE, read_audio
from hark.engines.fake import FakeRecognizer
from hark.engines.pool import ModelPool
from hark.errors import ModelFileError
from hark_protocol import Audio, Close, Closed, Draining, Error, Final, Flush, Flushed, Ready


@pytest.fixture
def loading_gate(monkeypatch):
    """Holds up loading until it is set."""
    is_open = threading.Event()

    def load(name):
        assert is_open.wait(20)
        return FakeRecognizer()

    monkeypatch.setattr("hark.engines.pool.load", load)
    yield is_open
    is_open.set()


async def wait_until(server, condition):
    await asyncio.to_thread(server.wait_until, condition)


async def test_the_server_answers_while_it_loads_and_takes_work_when_it_is_ready(
    run_server, open_client, http, wav, loading_gate
):
    server = run_server(wait=False)
    health, readiness = await http.get(server, "/healthz"), await http.get(server, "/readyz")
    assert (health.status, health.json()["status"]) == (200, "loading")
    assert (readiness.status, readiness.json()) == (503, {"status": "loading"})
    with pytest.raises(InvalidStatus) as refusal:
        async with open_client(server):
            pass
    assert refusal.value.response.status_code == 503
    # As long as loading takes, about.
    assert refusal.value.response.headers["Retry-After"] == "1"
    for reply in (await http.transcribe(server, wav), await http.get(server, "/v1/models")):
        assert reply.status == 503
        assert int(reply.headers["Retry-After"]) > 0
        assert reply.json()["retryable"] is True

    loading_gate.set()
    server.wait_until_ready()
    readiness = await http.get(server, "/readyz")
    assert (readiness.status, readiness.json()) == (200, {"status": "ready"})
    health = (await http.get(server, "/healthz")).json()
    assert health["status"] == "ready"
    assert 0 <= health["loop_lag_ms"] < 60_000
    async with open_client(server) as client:
        assert isinstance(await client.begin(), Ready)


def test_a_model_that_does_not_load_ends_the_server(run_server, monkeypatch):
    def load(name):
        raise ModelFileError("the weights are missing")

    monkeypatch.setattr("hark.engines.pool.load", load)
    server = run_server(wait=False)
    server.join()
    assert isinstance(server.service.failure, ModelFileError)
    assert server.service.status == "failed"


def test_told_to_end_while_it_loads_the_server_ends(run_server, loading_gate):
    server = run_server(wait=False)
    server.wait_until(lambda: server.is_listening)
    server.end()
    server.wait_until(lambda: server.service.status == "draining")
    loading_gate.set()  # a thread cannot be interrupted; worker processes are killed instead
    server.join()


async def test_draining_lets_open_sessions_finish_and_takes_in_no_others(
    run_server, open_client, http, wav, recording
):
    server = run_server()
    async with open_client(server) as client:
        await client.begin()
        await client.send(Audio(recording[: 3 * SAMPLE_RATE].tobytes()))
        server.end()
        await client.receive_until(Draining)

        readiness = await http.get(server, "/readyz")
        assert (readiness.status, readiness.json()) == (503, {"status": "draining"})
        assert (await http.get(server, "/healthz")).status == 200
        with pytest.raises(InvalidStatus) as refusal:
            async with open_client(server):
                pass
        assert refusal.value.response.status_code == 503
        assert b'"draining"' in refusal.value.response.body
        assert (await http.transcribe(server, wav)).status == 503

        # The session still works: the client moves when it suits it.
        await client.send(Flush(id=1))
        messages = await client.receive_until(Flushed)
        assert any(isinstance(message, Final) for message in messages)
        await client.send(Close())
        await client.receive_until(Closed)
        assert await client.close_code() == 1000
    server.join()


async def test_when_the_grace_period_is_over_sessions_end_with_1001(run_server, open_client):
    server = run_server(grace_period_s=0.2)
    async with open_client(server) as client:
        await client.begin()
        server.end()
        error = (await client.receive_until(Error))[-1]
        assert (error.code, error.retryable) == ("draining", True)
        assert await client.close_code() == 1001
    server.join()


async def test_a_second_signal_does_not_wait_for_the_grace_period(run_server, open_client):
    server = run_server(grace_period_s=3600)
    async with open_client(server) as client:
        await client.begin()
        server.end()
        await client.receive_until(Draining)
        server.end()
        assert await client.close_code() == 1001
    server.join()


async def test_a_session_that_has_not_begun_is_sent_away_when_draining(run_server, open_client):
    server = run_server(grace_period_s=3600)
    async with open_client(server) as client:
        server.end()
        error = await client.receive()
        assert isinstance(error, Error)
        assert (error.code, error.retryable) == ("draining", True)
        assert await client.close_code() == 1001
    server.join()


@pytest.fixture
def decode_gate(monkeypatch):
    """Holds up every decode until it is set."""
    is_open = threading.Event()

    class GatedRecognizer(FakeRecognizer):
        def decode(self, streams, *, final, threads=1):
            assert is_open.wait(20)
            return super().decode(streams, final=final)

    monkeypatch.setattr("hark.engines.pool.load", lambda name: GatedRecognizer())
    yield is_open
    is_open.set()


async def test_draining_lets_a_transcription_finish(run_server, http, wav, decode_gate):
    server = run_server()
    posting = asyncio.create_task(http.transcribe(server, wav))
    await wait_until(server, lambda: server.service.transcription_count == 1)
    server.end()
    await wait_until(server, lambda: server.service.status == "draining")
    decode_gate.set()
    assert (await posting).status == 200
    server.join()


async def test_a_transcription_that_outlasts_the_grace_period_gets_503(
    run_server, http, wav, decode_gate
):
    server = run_server(grace_period_s=0.2)
    posting = asyncio.create_task(http.transcribe(server, wav))
    await wait_until(server, lambda: server.service.transcription_count == 1)
    server.end()
    reply = await posting
    assert reply.status == 503
    assert reply.json()["code"] == "draining"
    decode_gate.set()
    server.join()


async def test_reading_a_long_file_ends_with_the_grace_period(
    run_server, http, recording, encode, monkeypatch
):
    reads = threading.Event()

    def read_for_ever(source, *, max_s, check_cancelled):
        def watched():
            reads.set()
            check_cancelled()

        while True:
            source.seek(0)
            read_audio(source, max_s=max_s, check_cancelled=watched)

    monkeypatch.setattr("hark.server.transcribe.read_audio", read_for_ever)
    server = run_server(grace_period_s=0.2)
    posting = asyncio.create_task(http.transcribe(server, encode(recording, "FLAC")))
    await asyncio.to_thread(reads.wait, 20)
    server.end()
    reply = await posting
    assert (reply.status, reply.json()["code"]) == (503, "draining")
    server.join()


def test_worker_processes_end_with_the_server(run_server):
    models = ModelPool(["fake"], workers=1, kind="process")
    server = run_server(models=models)
    server.close()
    assert not models.is_ready
