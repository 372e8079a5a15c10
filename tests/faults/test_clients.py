"""Clients that misbehave: each harms itself only."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Awaitable, Callable

import pytest
from breaking.server import HarkServer
from breaking.streams import Damage, hear_at_pace, hear_undisturbed
from hearing.recordings import beckett
from hearing.transcripts import until

from livekit.plugins import hark

pytestmark = pytest.mark.faults

Report = Callable[[str], None]

CONFIG = b'{"type":"config","version":1}'
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9

MOST_GROWTH_BYTES = 64 << 20
PATIENCE_S = 120.0
"""Audio may come as fast as it is decoded, so who floods with it and never reads is sent away only
when the answers have filled all buffers on their way."""


class RawClient:
    """A WebSocket client that can do everything wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, server: HarkServer) -> RawClient:
        """Connect, with little room for what is not read."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", server.port))
        return cls(*await asyncio.open_connection(sock=connection))

    async def shake_hands(self) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        await self.send_bytes(
            "GET /ws/transcribe HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head

    async def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send one frame, masked with zeros."""
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 1 << 16:
            head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
        await self.send_bytes(head + bytes(4) + payload)

    async def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_for_end(self) -> None:
        """Read until the server has closed."""
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self._writer.transport.abort()


Abuse = Callable[[RawClient], Awaitable[None]]


async def _say_nothing(client: RawClient) -> None:
    await client.wait_for_end()


async def _send_a_request_byte_by_byte(client: RawClient) -> None:
    for byte in b"GET /ws/transcribe HTTP/1.1\r\nX-Slow: " + b"x" * 1000:
        await client.send_bytes(bytes([byte]))
        await asyncio.sleep(0.5)


async def _never_configure(client: RawClient) -> None:
    await client.shake_hands()
    await client.wait_for_end()


async def _send_half_a_frame(client: RawClient) -> None:
    await client.shake_hands()
    await client.send_bytes(b"\x81\xfe\xff")
    await client.wait_for_end()


async def _send_audio_first(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(bytes(640), BINARY)
    await client.wait_for_end()


async def _configure_twice(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    await client.send(CONFIG)
    await client.wait_for_end()


async def _send_what_is_too_large(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    await client.send(bytes(8 << 20), BINARY)
    await client.wait_for_end()


async def _announce_what_is_far_too_large(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    await client.send_bytes(b"\x82\xff" + (1 << 62).to_bytes(8, "big") + bytes(4))
    await client.wait_for_end()


async def _flood_with_flushes_and_never_read(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    for number in range(1_000_000):
        await client.send(b'{"type":"flush","id":%d}' % (number + 1))


async def _flood_with_configs_and_never_read(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    for _ in range(1_000_000):
        await client.send(b'{"type":"config","interim_results":true}')


async def _flood_with_crumbs_of_audio_and_never_read(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    for _ in range(1_000_000):
        await client.send(bytes(2), BINARY)


async def _flood_with_pings_and_never_read(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    for _ in range(1_000_000):
        await client.send(bytes(125), PING)


async def _send_a_message_in_endless_fragments(client: RawClient) -> None:
    await client.shake_hands()
    await client.send_bytes(b"\x02\x80" + bytes(4))
    for _ in range(1_000_000):
        await client.send_bytes((b"\x00\x80" + bytes(4)) * 100)


async def _flood_with_audio_and_never_read(client: RawClient) -> None:
    await client.shake_hands()
    await client.send(CONFIG)
    noise = beckett().tobytes()[:64_000]
    for _ in range(100_000):
        await client.send(noise, BINARY)


ABUSES: list[Abuse] = [
    _say_nothing,
    _send_a_request_byte_by_byte,
    _never_configure,
    _send_half_a_frame,
    _send_audio_first,
    _configure_twice,
    _send_what_is_too_large,
    _announce_what_is_far_too_large,
    _flood_with_flushes_and_never_read,
    _flood_with_configs_and_never_read,
    _flood_with_crumbs_of_audio_and_never_read,
    _flood_with_pings_and_never_read,
    _send_a_message_in_endless_fragments,
    _flood_with_audio_and_never_read,
]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_clients_that_misbehave_harm_no_other_and_are_sent_away(
    start_server: Callable[..., HarkServer], report: Report
) -> None:
    server = start_server(workers=2)
    expected = await hear_undisturbed(server.url, beckett())
    memory, files = server.memory_bytes, server.open_files
    took: dict[str, float] = {}

    async def misbehave(abuse: Abuse) -> None:
        client = await RawClient.connect(server)
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(abuse(client), PATIENCE_S)
        except ConnectionError:
            pass  # sent away in the middle of it
        except asyncio.TimeoutError:
            pytest.fail(f"{abuse.__name__} is still there")
        finally:
            client.close()
        took[abuse.__name__] = asyncio.get_running_loop().time() - began

    abusing = [asyncio.create_task(misbehave(abuse)) for abuse in ABUSES for _ in range(2)]
    async with hark.STT(api_url=server.url) as stt:
        events = await hear_at_pace(stt, beckett())
    growth = server.memory_bytes - memory
    await asyncio.gather(*abusing)
    slowest = max((seconds, name) for name, seconds in took.items())
    report(
        f"{len(abusing)} clients that misbehave: memory grew by {growth >> 20} MiB, "
        f"sent away after {slowest[0]:.0f} s at most ({slowest[1]})"
    )
    damage = Damage()
    damage.note(expected, events, "the one that behaves")
    damage.check()
    assert growth < MOST_GROWTH_BYTES
    await until(lambda: server.open_files <= files)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_sessions_memory_does_not_grow_with_its_length(
    start_server: Callable[..., HarkServer], report: Report
) -> None:
    server = start_server(workers=2)
    client = await RawClient.connect(server)
    await client.shake_hands()
    await client.send(CONFIG)
    drained = asyncio.create_task(client.wait_for_end())
    silent_minute = bytes(2 * 16_000 * 60)

    async def send_minutes(count: int) -> int:
        for _ in range(count):
            for second in range(0, len(silent_minute), 32_000):
                await client.send(silent_minute[second : second + 32_000], BINARY)
        return server.memory_bytes

    before = await send_minutes(5)
    after = await send_minutes(30)
    client.close()
    await drained
    report(f"30 minutes of silence in one session: memory grew by {(after - before) / 1e6:.1f} MB")
    assert after - before < 10_000_000
