"""Servers that end every connection: how often they are connected to, seen from their side."""

from __future__ import annotations

import asyncio
import base64
import gc
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
from livekit.agents import APIStatusError
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

    async def send_on(self, location: str) -> None:
        headers = {"Content-Length": "0", "Connection": "close", "Location": location}
        await self.answer("307 Temporary Redirect", **headers)

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


async def refuse_for_good(peer: Peer) -> None:
    await peer.request()
    await peer.answer("401 Unauthorized", **{"Content-Length": "0"})


async def never_answer(peer: Peer) -> None:
    await peer.reader.read(-1)


async def redirect(peer: Peer) -> None:
    await peer.request()
    await peer.send_on("/ws/transcribe")


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
        # Left to itself, aiohttp connects again after the first of these.
        in_turn(close_at_once, close_after_ready),
        in_turn(break_in_the_answer, refuse),
        in_turn(close_at_once, dawdle),
    ]


@asynccontextmanager
async def serve(way: Way) -> AsyncIterator[tuple[str, list[float]]]:
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


@asynccontextmanager
async def connecting(
    url: str, context: AbstractAsyncContextManager[object]
) -> AsyncIterator[hark.STT]:
    """Connect with the session that the context gives; None for the plugin's own choice."""
    async with context as given:
        session = given if isinstance(given, aiohttp.ClientSession) else None
        async with hark.STT(api_url=url, http_session=session) as stt:
            yield stt


async def connect_times(
    way: Way,
    context: AbstractAsyncContextManager[object],
    options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
) -> list[float]:
    """When a server was connected to by a stream that is told something for some seconds.

    Args:
        way: of the server.
        context: see `connecting`.
        options: of the stream.
    """
    async with serve(way) as (url, connected_at), connecting(url, context) as stt:
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


KINDS_OF_SESSION: dict[str, Callable[[], AbstractAsyncContextManager[object]]] = {
    "own": nullcontext,
    "given": aiohttp.ClientSession,
    "job's": job,
}


@pytest.mark.parametrize("kind", KINDS_OF_SESSION)
async def test_a_redirect_is_not_followed_but_told(kind: str) -> None:
    async def send_elsewhere(peer: Peer) -> None:
        await peer.request()
        await peer.send_on("https://elsewhere.example/ws/transcribe?api_key=secret")

    async with (
        serve(send_elsewhere) as (url, connected_at),
        connecting(url, KINDS_OF_SESSION[kind]()) as stt,
        stt.stream() as stream,
    ):
        with pytest.raises(APIStatusError, match=r"points to https://elsewhere\.example;") as error:
            await hear(stream, silence())
    assert not error.value.retryable
    assert len(connected_at) == 1


async def test_prewarming_is_not_sent_on() -> None:
    async with serve(redirect) as (url, connected_at), hark.STT(api_url=url) as stt:
        stt.prewarm()
        async with stt.stream() as stream:
            with pytest.raises(APIStatusError, match="answers HTTP 307; check"):
                await hear(stream, silence())
    assert len(connected_at) == 2


async def test_the_first_stream_takes_over_the_connection_of_prewarming() -> None:
    prewarmed = asyncio.Event()

    async def keep_alive(peer: Peer) -> None:
        await peer.request()
        await peer.answer("200 OK", **{"Content-Length": "0"})
        prewarmed.set()
        await refuse_for_good(peer)

    async with serve(keep_alive) as (url, connected_at), hark.STT(api_url=url) as stt:
        stt.prewarm()
        await prewarmed.wait()
        async with stt.stream() as stream:
            with pytest.raises(APIStatusError) as error:
                await hear(stream, silence())
    assert error.value.status_code == 401
    assert len(connected_at) == 1


async def test_a_given_session_connects_in_its_own_way() -> None:
    """With its proxy, headers, cookies and middlewares, and with one set of traces."""
    asked: list[dict[str, str]] = []
    traced: list[str] = []

    async def refuse_as_a_proxy(peer: Peer) -> None:
        asked.append(await peer.request())
        await peer.answer("401 Unauthorized", **{"Content-Length": "0"})

    async def sign(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers["Signed-By"] = "the middleware"
        return await send(request)

    async def trace(
        _: aiohttp.ClientSession, __: object, end: aiohttp.TraceRequestEndParams
    ) -> None:
        traced.append(str(end.url))

    tracing = aiohttp.TraceConfig()
    tracing.on_request_end.append(trace)
    async with (
        serve(refuse_as_a_proxy) as (proxy, _),
        aiohttp.ClientSession(
            proxy=proxy.replace("ws:", "http:"),
            headers={"Accept": "anything"},
            cookies={"crumb": "3"},
            middlewares=(sign,),
            trace_configs=[tracing],
        ) as session,
        hark.STT(api_url="ws://hark.invalid", http_session=session) as stt,
        stt.stream() as stream,
    ):
        with pytest.raises(APIStatusError) as error:
            await hear(stream, silence())
    assert error.value.status_code == 401
    (headers,) = asked
    assert headers["host"] == "hark.invalid"
    assert headers["accept"] == "anything"
    assert headers["cookie"] == "crumb=3"
    assert headers["signed-by"] == "the middleware"
    assert headers["user-agent"].startswith("livekit-plugins-hark/")
    assert traced == ["ws://hark.invalid/ws/transcribe"]


@pytest.mark.parametrize("way", [never_answer, close_at_once, close_after_ready])
async def test_no_session_is_left_behind_however_an_attempt_ends(way: Way) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, it: complaints.append(it["message"]))
    arrived = asyncio.Event()

    async def arrive(peer: Peer) -> None:
        arrived.set()
        await way(peer)

    async with serve(arrive) as (url, _), hark.STT(api_url=url) as stt:
        async with stt.stream():
            await arrived.wait()
        gc.collect()  # while their connector is open: sessions of a closed one do not complain
    assert complaints == []
