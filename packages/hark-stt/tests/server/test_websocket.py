"""Sessions over a real WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket

import pytest
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from hark.audio import SAMPLE_RATE
from hark.engines.pool import ModelPool
from hark.server.chatter import CHATTER_AT_ONCE
from hark.server.connections import MAX_FRAGMENTS, WebSocketConnection
from hark.server.serve import _uvicorn_config
from hark.server.service import Service
from hark.server.settings import ServerSettings
from hark_protocol import (
    Audio,
    Close,
    Closed,
    Config,
    Error,
    Final,
    Flush,
    Flushed,
    Interim,
    Progress,
    Ready,
    SpeechEnded,
    SpeechStarted,
    decode_server,
)

CHUNK = SAMPLE_RATE // 10


async def stream(client, samples):
    """Send audio as fast as it is taken."""
    for i in range(0, len(samples), CHUNK):
        await client.send(Audio(samples[i : i + CHUNK].tobytes()))


async def converse(client, samples):
    """Stream a whole recording and give all that came back."""
    received = asyncio.create_task(client.receive_until(Closed))
    await stream(client, samples)
    await client.send(Close())
    return await received


async def test_a_whole_conversation_ends_with_closed_and_1000(server, open_client, recording):
    async with open_client(server) as client:
        ready = await client.begin(model="fake", language="en")
        messages = await converse(client, recording[: 10 * SAMPLE_RATE])
        assert await client.close_code() == 1000
    assert isinstance(ready, Ready)
    assert ready.limits.max_message_bytes == server.settings.max_message_bytes
    assert ready.limits.idle_timeout_s == server.settings.idle_timeout_s
    kinds = {type(message) for message in messages}
    assert kinds >= {SpeechStarted, Interim, Final, SpeechEnded, Progress, Closed}


async def test_the_default_model_recognises_speech_over_the_socket(
    run_server, open_client, recording
):
    server = run_server(models=ModelPool(workers=1, kind="thread"))
    async with open_client(server) as client:
        await client.begin()
        messages = await converse(client, recording[: 12 * SAMPLE_RATE])
    text = " ".join(message.text for message in messages if isinstance(message, Final)).lower()
    assert "it was the best of times" in text
    assert "it was the worst of times" in text


async def test_flush_is_answered_in_mid_stream(server, open_client, recording):
    async with open_client(server) as client:
        await client.begin()
        await stream(client, recording[: 4 * SAMPLE_RATE])
        await client.send(Flush(id=7))
        messages = await client.receive_until(Flushed)
        assert messages[-1] == Flushed(7)
        assert sum(isinstance(message, Final) for message in messages) >= 1


async def test_sessions_at_the_same_time_do_not_mix(server, open_client, recording):
    async def finals(seconds):
        async with open_client(server) as client:
            await client.begin()
            messages = await converse(client, recording[: seconds * SAMPLE_RATE])
            return [message for message in messages if isinstance(message, Final)]

    alone = [await finals(seconds) for seconds in (5, 8, 12)]
    together = await asyncio.gather(*(finals(seconds) for seconds in (5, 8, 12)))
    assert together == alone


@pytest.mark.parametrize(
    ("data", "code", "close_code"),
    [
        ("not json", "invalid_message", 1007),
        ('{"type": "dance"}', "invalid_message", 1007),
        ('{"type": "config", "version": 1, "modell": "fake"}', "invalid_message", 1007),
        ('{"type": "config", "version": 99}', "unsupported_version", 1003),
        (b"\x00\x00\x00", "invalid_audio", 1007),
        (b"\x00\x00", "unexpected_message", 1008),
        ('{"type": "close"}', "unexpected_message", 1008),
        (b"\x00" * (1024 * 1024 + 2), "message_too_large", 1009),
    ],
)
async def test_a_message_that_is_wrong_is_named_and_closes_the_socket(
    server, open_client, data, code, close_code
):
    async with open_client(server) as client:
        await client.websocket.send(data)
        error = await client.receive()
        assert isinstance(error, Error)
        assert (error.code, error.retryable) == (code, False)
        assert await client.close_code() == close_code


async def test_a_message_far_beyond_the_limit_closes_with_1009_at_once(server, open_client):
    async with open_client(server) as client:
        try:
            await client.websocket.send(b"\x00" * (4 * 1024 * 1024))
        except ConnectionClosed:
            pass  # cut while it was sending
        assert await client.close_code() == 1009


async def test_text_that_is_not_utf8_is_refused_and_not_logged(server, open_client, caplog):
    with caplog.at_level(logging.INFO):
        async with open_client(server) as client:
            await client.websocket.send(b"a secret \xff", text=True)
            error = await client.receive()
            assert isinstance(error, Error)
            assert (error.code, error.retryable) == ("invalid_message", False)
            assert await client.close_code() == 1007
        await asyncio.to_thread(server.wait_until, lambda: not server.service.session_count)
    ours = [record for record in caplog.records if record.name.startswith(("hark", "uvicorn"))]
    assert all(record.levelno < logging.WARNING for record in ours)
    assert not any("secret" in str(vars(record)) or record.exc_info for record in ours)


@pytest.mark.parametrize("message", ['{"type":"flush","id":%d}', '{"type":"config"}', b"", b"ab"])
@pytest.mark.parametrize("reads", [True, False])
async def test_a_flood_of_what_is_not_audio_ends_its_session_only(
    server, open_client, recording, message, reads
):
    async with open_client(server) as healthy, open_client(server) as flooding:
        await healthy.begin()
        await flooding.begin()
        if not reads:
            flooding.websocket.transport.pause_reading()
        with contextlib.suppress(ConnectionClosed):
            for number in range(5 * CHATTER_AT_ONCE):
                numbered = message % number if "%d" in str(message) else message
                await flooding.websocket.send(numbered)
        await asyncio.to_thread(server.wait_until, lambda: server.service.session_count == 1)
        if reads:
            last = ""
            with contextlib.suppress(ConnectionClosed):
                while True:
                    last = await flooding.websocket.recv()
            error = decode_server(last)
            assert (error.code, error.retryable) == ("unexpected_message", False)
            assert await flooding.close_code() == 1008
        flooding.websocket.transport.abort()
        messages = await converse(healthy, recording[: 3 * SAMPLE_RATE])
        assert any(isinstance(message, Final) for message in messages)


async def test_a_flush_after_every_frame_of_a_recording_is_no_flood(server, open_client):
    async with open_client(server) as client:
        await client.begin()
        receiving = asyncio.create_task(client.receive_until(Closed))
        for number in range(2 * CHATTER_AT_ONCE):
            await client.send(Audio(bytes(SAMPLE_RATE // 50 * 2)))
            await client.send(Flush(number))
        await client.send(Close())
        answers = [message for message in await receiving if isinstance(message, Flushed)]
        assert len(answers) == 2 * CHATTER_AT_ONCE


HANDSHAKE = (
    b"GET /ws/transcribe HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NO_MASK = bytes(4)
PING = b"\x89\xfd" + NO_MASK + bytes(125)
FIRST_FRAGMENT, NEXT_FRAGMENT = b"\x02\x80" + NO_MASK, b"\x00\x80" + NO_MASK


@pytest.mark.parametrize(
    ("flood", "close_code"),
    [
        (2 * CHATTER_AT_ONCE * PING, 1008),
        (FIRST_FRAGMENT + 2 * MAX_FRAGMENTS * NEXT_FRAGMENT, 1009),
    ],
)
async def test_a_flood_of_frames_that_no_session_sees_ends_its_connection(
    server, flood, close_code
):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(flood)
    received = await asyncio.wait_for(reader.read(), 20)  # ends when the server closes
    assert b"\x88" in received
    close_frame = received[received.rindex(b"\x88") :]
    assert int.from_bytes(close_frame[2:4], "big") == close_code
    writer.close()
    await asyncio.to_thread(server.wait_until, lambda: not server.service.session_count)


async def test_pongs_that_nobody_reads_are_not_kept(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = server.connections
    counted = []
    connection._pings.is_too_much = lambda now: counted.append(now)
    connection.writable.clear()  # as when the client's and the system's buffers are full
    writer.write(PING * 10)
    await asyncio.to_thread(server.wait_until, lambda: len(counted) == 10)
    connection.writable.set()
    writer.write(b"\x89\x81" + NO_MASK + b"x")
    assert await reader.readexactly(3) == b"\x8a\x01x"
    writer.close()


async def test_a_handshake_that_takes_too_long_is_told_so(server, monkeypatch):
    monkeypatch.setattr("hark.server.connections.HEAD_TIMEOUT_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE[:100])
    answer = await asyncio.wait_for(reader.read(), 20)  # ends when the server closes
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert decode_server(body.decode()).code == "idle_timeout"
    writer.close()


async def test_a_connection_that_says_nothing_at_all_is_closed(server, monkeypatch):
    monkeypatch.setattr("hark.server.connections.HEAD_TIMEOUT_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ({"model": "nothing-of-the-kind"}, "model_not_found", "available: fake"),
        ({"language": "de"}, "language_not_supported", "en"),
    ],
)
async def test_what_is_not_there_is_refused_for_good_with_what_is(
    server, open_client, options, code, named
):
    async with open_client(server) as client:
        error = await client.begin(**options)
        assert isinstance(error, Error)
        assert (error.code, error.retryable) == (code, False)
        assert named in error.message
        assert await client.close_code() == 1008


async def test_one_broken_session_leaves_the_others_alone(server, open_client, recording):
    async with open_client(server) as healthy, open_client(server) as broken:
        await healthy.begin()
        await broken.begin()
        await stream(healthy, recording[: 2 * SAMPLE_RATE])
        await broken.websocket.send(b"\x00")
        await broken.receive_until(Error)
        messages = await converse(healthy, recording[2 * SAMPLE_RATE : 5 * SAMPLE_RATE])
        assert sum(isinstance(message, Final) for message in messages) >= 1


async def test_a_client_that_says_nothing_is_cut_after_the_idle_timeout(run_server, open_client):
    server = run_server(idle_timeout_s=1)
    async with open_client(server) as client:
        await client.begin()
        error = (await client.receive_until(Error))[-1]
        assert (error.code, error.retryable) == ("idle_timeout", True)
        assert await client.close_code() == 1001


async def test_a_client_that_never_sends_config_is_cut_after_the_idle_timeout(
    run_server, open_client
):
    server = run_server(idle_timeout_s=1)
    async with open_client(server) as client:
        assert (await client.receive()).code == "idle_timeout"


async def test_a_session_longer_than_allowed_ends_with_a_retryable_error(
    run_server, open_client, recording
):
    server = run_server(max_session_s=2)
    async with open_client(server) as client:
        ready = await client.begin()
        assert ready.limits.max_session_s == 2
        await stream(client, recording[: 3 * SAMPLE_RATE])
        error = (await client.receive_until(Error))[-1]
        assert (error.code, error.retryable) == ("session_too_long", True)
        assert await client.close_code() == 1001


async def test_no_more_sessions_than_allowed(run_server, open_client):
    server = run_server(max_sessions=1)
    async with open_client(server) as first:
        with pytest.raises(InvalidStatus) as refusal:
            async with open_client(server):
                pass
        response = refusal.value.response
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert b'"too_many_sessions"' in response.body
        assert isinstance(await first.begin(), Ready)
        await first.send(Close())
        await first.receive_until(Closed)
        await first.close_code()
    server.wait_until(lambda: not server.service.session_count)
    async with open_client(server) as second:
        assert isinstance(await second.begin(), Ready)


async def test_a_wrong_path_is_told_from_a_refusal(server):
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(f"ws://127.0.0.1:{server.port}/ws/transcript"):
            pass
    assert refusal.value.response.status_code == 404
    assert b'"not_found"' in refusal.value.response.body


async def test_a_lost_client_gives_its_place_back(run_server, open_client, recording, caplog):
    server = run_server(max_sessions=1)
    with caplog.at_level(logging.INFO, logger="hark.server"):
        async with open_client(server) as client:
            await client.begin()
            await stream(client, recording[: 2 * SAMPLE_RATE])
            client.websocket.transport.abort()
        server.wait_until(lambda: not server.service.session_count)
    ended = [record for record in caplog.records if record.message == "session ended"]
    assert [record.reason for record in ended] == ["lost"]


async def test_a_client_that_does_not_read_is_cut(run_server, caplog, monkeypatch):
    monkeypatch.setattr("hark.server.connections.UNSENT_TIMEOUT_S", 0.1)
    # Small buffers on both sides, so that little is needed to fill them.
    server = run_server(
        send_timeout_s=0.5,
        prepare_socket=lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096),
    )
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", server.port))
    with caplog.at_level(logging.INFO, logger="hark.server"):
        async with connect(server.websocket, sock=raw, close_timeout=0.1) as websocket:
            await websocket.send('{"type":"config","version":1}')
            await websocket.recv()
            websocket.transport.pause_reading()

            async def ask_for_answers():
                for i in range(100_000):
                    await websocket.send(bytes(CHUNK * 2))
                    await websocket.send(f'{{"type":"flush","id":{i}}}')

            asking = asyncio.create_task(ask_for_answers())
            await asyncio.to_thread(server.wait_until, lambda: not server.service.session_count)
            # What it has not read does not keep the connection, either.
            await asyncio.to_thread(server.wait_until, lambda: not server.connection_count)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            websocket.transport.abort()
    ended = [record for record in caplog.records if record.message == "session ended"]
    assert [record.reason for record in ended] == ["slow_reader"]


async def test_random_messages_never_harm_the_server(server, open_client, recording):
    random_bytes = random.Random(1859)
    snippets = [
        '{"type":"config","version":1}',
        '{"type":"config","version":1,"keyterms":[null]}',
        '{"type":"flush","id":-1}',
        '{"type":"flush","id":1}',
        "[" * 100_000,
        '{"type":"config","version":1,"start_sample":9007199254740991}',
        '{"type":"close"}',
        "",
        b"",
    ]
    outcomes = []
    for _ in range(60):
        async with open_client(server) as client:
            try:
                for _ in range(random_bytes.randrange(1, 12)):
                    if random_bytes.random() < 0.5:
                        await client.websocket.send(random_bytes.choice(snippets))
                    else:
                        await client.websocket.send(
                            random_bytes.randbytes(random_bytes.randrange(3000))
                        )
            except ConnectionClosed:
                pass
            await client.websocket.close()
            outcomes.append(client.websocket.close_code)
    assert set(outcomes) <= {1000, 1003, 1005, 1007, 1008, 1009}
    assert 1007 in outcomes
    assert 1008 in outcomes
    server.wait_until(lambda: not server.service.session_count)
    async with open_client(server) as client:
        assert isinstance(await client.begin(), Ready)
        messages = await converse(client, recording[: 4 * SAMPLE_RATE])
        assert any(isinstance(message, Final) for message in messages)


async def test_random_bytes_on_the_port_never_harm_the_server(server, open_client):
    random_bytes = random.Random(1859)
    for i in range(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        if i % 2:
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
        writer.write(random_bytes.randbytes(random_bytes.randrange(1, 4000)))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
    server.wait_until(lambda: not server.service.session_count)
    async with open_client(server) as client:
        assert isinstance(await client.begin(), Ready)


def _frame(opcode: Opcode, data: bytes) -> bytes:
    return Frame(opcode, data).serialize(mask=True)


async def test_who_is_sent_away_with_messages_still_waiting_is_parted_from_in_good_order(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    audio = _frame(Opcode.BINARY, bytes(1_600))
    writer.write(_frame(Opcode.TEXT, b"no config") + 5 * audio)
    await asyncio.wait_for(reader.readuntil(b"\x88"), 20)  # after the text of the error
    reason = await reader.readexactly((await reader.readexactly(1))[0])
    # What it sends until it has read that must not make the system reset the connection.
    writer.write(audio)
    await asyncio.sleep(0.1)  # so that it is read by itself
    writer.write(_frame(Opcode.CLOSE, reason[:2]))
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


async def test_the_log_tells_of_a_session_without_what_was_said(
    run_server, open_client, recording, caplog
):
    server = run_server(api_keys=("a-very-secret-key",))
    headers = {"Authorization": "Bearer a-very-secret-key"}
    with caplog.at_level(logging.DEBUG):
        async with open_client(server, additional_headers=headers) as client:
            ready = await client.begin(keyterms=("Hypatia",))
            messages = await converse(client, recording[: 4 * SAMPLE_RATE])
            await client.close_code()
        server.wait_until(lambda: not server.service.session_count)
    final = next(message for message in messages if isinstance(message, Final))
    ours = [record for record in caplog.records if record.name.startswith("hark")]
    ended = next(record for record in ours if record.message == "session ended")
    assert ended.session == ready.session
    assert ended.model == "fake"
    assert ended.audio_s == pytest.approx(4)
    assert (ended.reason, ended.close_code) == ("closed", 1000)
    logged = " ".join(str(vars(record)) for record in ours)
    assert final.text not in logged
    assert "Hypatia" not in logged
    assert "a-very-secret-key" not in logged


async def test_options_can_change_in_mid_stream(server, open_client, recording):
    async with open_client(server) as client:
        await client.begin(interim_results=False)
        await client.send(Config(interim_results=True))
        messages = await converse(client, recording[: 4 * SAMPLE_RATE])
        assert any(isinstance(message, Interim) for message in messages)


class Socket:
    """What uvicorn's protocol asks of a transport."""

    def __init__(self):
        self.is_closed = False

    def is_closing(self):
        return self.is_closed

    def close(self):
        self.is_closed = True

    def write(self, data):
        pass

    def resume_reading(self):
        pass


async def test_only_silence_counts_as_a_lost_client_and_not_audio_that_we_do_not_take():
    settings = ServerSettings(ping_timeout_s=60)
    service = Service(settings, ModelPool(["fake"], workers=1, kind="thread"))
    protocol = WebSocketConnection(
        _uvicorn_config(service, on_failure=lambda: None), ServerState(), {}
    )
    protocol.transport = transport = Socket()

    # A pong is due, but lies behind a message that nobody has taken yet.
    protocol.read_paused = True
    protocol.queue.put_nowait({"type": "websocket.receive", "bytes": b""})
    protocol.keepalive_timeout()
    assert not transport.is_closed
    # It is taken: the client gets the time to send what lies behind it.
    await protocol.receive()
    assert not protocol.read_paused
    protocol.keepalive_timeout()
    assert not transport.is_closed
    # It has had the time and sent nothing.
    protocol._alive_at -= 61
    protocol.keepalive_timeout()
    assert transport.is_closed
    protocol.stop_keepalive()


async def test_a_client_that_answers_no_ping_is_cut(run_server):
    server = run_server(ping_interval_s=1, ping_timeout_s=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE)
    assert b" 101 " in await reader.readline()
    await asyncio.wait_for(reader.read(), 20)  # ends when the server closes
    await asyncio.to_thread(server.wait_until, lambda: not server.service.session_count)
    writer.close()


async def test_a_refusal_leaves_no_error_in_the_log(run_server, open_client, caplog):
    server = run_server(max_sessions=1)
    async with open_client(server):
        with pytest.raises(InvalidStatus):
            async with open_client(server):
                pass
        await asyncio.to_thread(server.wait_until, lambda: server.connection_count == 1)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
