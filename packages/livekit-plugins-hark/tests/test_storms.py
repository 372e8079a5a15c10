"""Servers that end every connection: how often they are connected to, seen from their side."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import aiohttp
import pytest
from fake_hark import ABLE, LIMITS, frames, silence
from listening import hear
from livekit.agents import APIConnectionError
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import http_context

from hark_protocol import Draining, Error, Final, Ready, ServerMessage, SpeechStarted, encode
from livekit.plugins import hark
from livekit.plugins.hark.backoff import MOST_CONNECTS

pytestmark = pytest.mark.faults

LASTS_S = 7.0
"""Long enough for two windows of five seconds that overlap in part only."""


class Peer:
    """One connection to a server that does not mean well."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def reset(self) -> None:
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def request(self) -> dict[str, str]:
        """The headers of the handshake, or of whatever comes."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        return {name.lower(): value for name, value in lines}

    async def answer(self, status: str, **headers: str) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode())
        await self.writer.drain()

    async def shake_hands(self) -> None:
        key = (await self.request()).get("sec-websocket-key")
        if key is None:  # prewarming
            await self.answer("200 OK", **{"Content-Length": "0", "Connection": "close"})
            raise ConnectionError
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        accept = {"Sec-WebSocket-Accept": base64.b64encode(digest).decode()}
        await self.answer(
            "101 Switching Protocols", Upgrade="websocket", Connection="Upgrade", **accept
        )

    async def say(self, *messages: ServerMessage) -> None:
        for message in messages:
            text = str(encode(message)).encode()
            self.writer.write(b"\x81\x7e" + struct.pack(">H", len(text)) + text)
        await self.writer.drain()


Way = Callable[[Peer], Awaitable[None]]
READY = Ready("s", "m", "en", ABLE, LIMITS)


async def close_at_once(peer: Peer) -> None:
    """Every way ends with closing; this one does nothing before."""


async def reset_at_once(peer: Peer) -> None:
    peer.reset()


async def dawdle(peer: Peer) -> None:
    await asyncio.sleep(1.0)


async def break_in_the_answer(peer: Peer) -> None:
    await peer.request()
    peer.writer.write(b"HTTP/1.1 101 Swit")


async def reset_after_the_handshake(peer: Peer) -> None:
    await peer.shake_hands()
    peer.reset()


async def close_after_ready(peer: Peer) -> None:
    await peer.shake_hands()
    await peer.reader.read(1)
    await peer.say(READY)


async def close_after_a_final(peer: Peer) -> None:
    await close_after_ready(peer)
    await peer.reader.read(1000)
    await peer.say(SpeechStarted(1, 0), Final(1, 0, 0, "so"))


async def ask_to_move(peer: Peer) -> None:
    await peer.shake_hands()
    await peer.reader.read(1)
    await peer.say(READY, Draining())
    while await peer.reader.read(1 << 16):
        pass


async def refuse(peer: Peer) -> None:
    await peer.request()
    await peer.answer("503 Service Unavailable", **{"Content-Length": "0"})


async def refuse_at_length(peer: Peer) -> None:
    error = Error.from_code("draining", "about to end", retry_after_s=0.1)
    await peer.shake_hands()
    await peer.say(error)


def in_turn(*ways: Way) -> Way:
    turns = itertools.cycle(ways)

    async def way(peer: Peer) -> None:
        await next(turns)(peer)

    way.__name__ = ", then ".join(each.__name__ for each in ways)
    return way


def all_ways() -> list[Way]:
    return [
        close_at_once,
        reset_at_once,
        dawdle,
        break_in_the_answer,
        reset_after_the_handshake,
        close_after_ready,
        close_after_a_final,
        ask_to_move,
        refuse,
        refuse_at_length,
        # The second connection of these is aiohttp's own.
        in_turn(close_at_once, close_after_ready),
        in_turn(break_in_the_answer, refuse),
        in_turn(close_at_once, dawdle),
    ]


@asynccontextmanager
async def server(way: Way) -> AsyncIterator[tuple[str, list[float]]]:
    """Serve in this way; gives the address, and the times of all connects so far."""
    connected_at: list[float] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected_at.append(time.monotonic())
        try:
            await way(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client was faster
        finally:
            writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws/transcribe", connected_at


def busiest_five_seconds(times: list[float]) -> int:
    return max(sum(start <= at < start + 5 for at in times) for start in times)


async def connect_times(
    way: Way,
    context: AbstractAsyncContextManager[object],
    options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
) -> list[float]:
    """When a server was connected to by a stream that is told something for some seconds.

    Args:
        way: of the server.
        context: gives the session to connect with; None for the plugin's own choice.
        options: of the stream.
    """
    async with context as given, server(way) as (url, connected_at):
        session = given if isinstance(given, aiohttp.ClientSession) else None
        async with hark.STT(api_url=url, http_session=session) as stt:
            stt.prewarm()
            async with stt.stream(conn_options=options) as stream:
                for frame in frames(silence(round(LASTS_S * 1000))):
                    stream.push_frame(frame)
                    await asyncio.sleep(0.02)
    return connected_at


@asynccontextmanager
async def job() -> AsyncIterator[None]:
    """What a job brings: a session that plugins find by themselves."""
    async with http_context.open():
        yield


async def test_no_server_gets_more_than_a_handful_of_connects_in_five_seconds() -> None:
    # With no pause between its retries, and each final makes it forget how often it has tried.
    livekits_own = APIConnectOptions(max_retry=1000, retry_interval=0.0)
    trials = {
        **{f"{way.__name__}, own session": connect_times(way, nullcontext()) for way in all_ways()},
        **{
            f"{way.__name__}, given session": connect_times(way, aiohttp.ClientSession())
            for way in all_ways()
        },
        **{f"{way.__name__}, job's session": connect_times(way, job()) for way in all_ways()},
        **{
            f"{way.__name__}, LiveKit's retries": connect_times(way, nullcontext(), livekits_own)
            for way in all_ways()
        },
    }
    times = await asyncio.gather(*trials.values())
    counts = {name: busiest_five_seconds(at) for name, at in zip(trials, times, strict=True)}
    assert max(counts.values()) <= MOST_CONNECTS, counts
    assert min(map(len, times)) >= 2, counts


async def test_a_server_that_redirects_to_itself_is_told_at_once() -> None:
    async def redirect(peer: Peer) -> None:
        await peer.request()
        headers = {"Content-Length": "0", "Connection": "close", "Location": "/ws/transcribe"}
        await peer.answer("307 Temporary Redirect", **headers)

    async with server(redirect) as (url, _), hark.STT(api_url=url) as stt, stt.stream() as stream:
        with pytest.raises(APIConnectionError, match="redirects") as error:
            await hear(stream, silence())
    assert not error.value.retryable
