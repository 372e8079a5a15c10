"""A Hark server whose speech is made of numbers, and which breaks when it is told to.

It recognises for real, by a simple rule, so that whatever is lost, repeated or shifted shows in the
text and its times: silence is zeros, and a stretch of samples of the value 1000 * n is the word
"wn". It speaks through `hark_protocol.Connection`, so neither side may send what is illegal.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from aiohttp import WSMsgType, web

from hark_protocol import (
    Audio,
    Capabilities,
    Close,
    Closed,
    Config,
    Connection,
    Draining,
    Error,
    Final,
    Flush,
    Flushed,
    Interim,
    Limits,
    Preflight,
    Progress,
    Ready,
    Role,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from livekit import rtc

RATE = 16_000
WINDOW = RATE // 100
SILENCE_MS = 200
PROGRESS_S = 0.25
INTERIM_S = 0.2

ABLE = Capabilities(
    languages=("en", "de"),
    words=True,
    confidence=True,
    keyterms=True,
    streaming=False,
    language_detection=False,
)
LIMITS = Limits(max_message_bytes=1 << 20, max_session_s=0, idle_timeout_s=60.0)


def speech(*words: int, ms: int = 200) -> np.ndarray:
    """Samples in which each of these words is said for so long."""
    return np.concatenate([np.full(RATE * ms // 1000, 1000 * word, np.int16) for word in words])


def silence(ms: int = 400) -> np.ndarray:
    return np.zeros(RATE * ms // 1000, np.int16)


def frames(samples: np.ndarray, *, rate: int = RATE, ms: int = 20) -> list[rtc.AudioFrame]:
    step = rate * ms // 1000
    return [
        rtc.AudioFrame(piece.tobytes(), rate, 1, len(piece))
        for piece in (samples[i : i + step] for i in range(0, len(samples), step))
    ]


@dataclass
class Script:
    """What goes wrong on one connection. Positions are samples of the stream.

    Attributes:
        refuse_with: HTTP status and headers that answer the handshake.
        answers_after_s: seconds that the handshake takes.
        die_after_s: seconds after the handshake at which the connection breaks.
        never_upgrade: leaves the handshake unanswered.
        close_at_once: closes right after the handshake, with this code.
        die_at: the connection breaks once so much was received.
        die_before: the connection breaks instead of this message being sent.
        deaf_at: the connection stays open, but nothing is read or sent any more.
        greeting: text that is sent before anything else.
        garbage_at: something that is not the protocol is sent.
        fail_at: position and `error` message.
        drain_at: `draining` is sent.
        hears: whether any speech is recognised; a noise that another server took for speech is not.
    """

    refuse_with: tuple[int, dict[str, str]] | None = None
    answers_after_s: float = 0.0
    die_after_s: float | None = None
    never_upgrade: bool = False
    close_at_once: int | None = None
    die_at: int | None = None
    die_before: type[ServerMessage] | None = None
    deaf_at: int | None = None
    greeting: str | None = None
    garbage_at: int | None = None
    fail_at: tuple[int, Error] | None = None
    drain_at: int | None = None
    hears: bool = True


class Died(Exception):
    """The connection broke as scripted."""


@dataclass
class FakeHark:
    """The server. `scripts` are used up by its connections, one each; after them all is well."""

    scripts: list[Script] = field(default_factory=list)
    capabilities: Capabilities = ABLE
    limits: Limits = LIMITS
    connected_at: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    configs: list[Config] = field(default_factory=list)
    audio_messages: list[int] = field(default_factory=list)
    flushes: list[int] = field(default_factory=list)
    uploads: list[tuple[dict[str, list[str]], bytes]] = field(default_factory=list)
    answer_upload: tuple[int, bytes] | None = None
    open_sessions: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> FakeHark:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/ws/transcribe", self._stream)
        app.router.add_post("/v1/transcribe", self._transcribe)
        app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"ws://127.0.0.1:{self.port}/ws/transcribe"
        self.ready_requests = 0
        self._transports: set[asyncio.Transport] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.over.set()
        await self._runner.cleanup()

    def cut_all(self) -> None:
        """Break every open connection."""
        for transport in self._transports:
            transport.abort()

    async def stop_listening(self) -> None:
        await self._site.stop()

    async def listen_again(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await self._site.start()

    async def _ready(self, request: web.Request) -> web.Response:
        self.ready_requests += 1
        return web.Response()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self.connected_at.append(time.monotonic())
        self.headers.append(dict(request.headers))
        script = self.scripts.pop(0) if self.scripts else Script()
        if script.never_upgrade:
            await self.over.wait()
        if script.refuse_with is not None:
            status, headers = script.refuse_with
            return web.Response(status=status, headers=headers)
        await asyncio.sleep(script.answers_after_s)
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        if script.close_at_once is not None:
            await websocket.close(code=script.close_at_once)
            return websocket
        if script.greeting is not None:
            await websocket.send_str(script.greeting)
        self.open_sessions += 1
        transport = request.transport
        assert transport is not None
        self._transports.add(transport)
        if script.die_after_s is not None:
            asyncio.get_running_loop().call_later(script.die_after_s, transport.abort)
        try:
            await Session(self, websocket, script).run()
        except Died:
            transport.abort()
        finally:
            self.open_sessions -= 1
            self._transports.discard(transport)
        return websocket

    async def _transcribe(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        query = {name: request.query.getall(name) for name in request.query}
        self.uploads.append((query, await request.read()))
        if self.answer_upload is None:
            return web.Response(status=500)
        status, body = self.answer_upload
        return web.Response(status=status, body=body)


class Session:
    """One connection's recogniser."""

    def __init__(self, server: FakeHark, websocket: web.WebSocketResponse, script: Script) -> None:
        self._server = server
        self._websocket = websocket
        self._script = script
        self._connection = Connection(Role.SERVER)
        self._pcm = np.zeros(0, np.int16)
        self._start = 0  # position of the first sample
        self._looked = 0  # position up to which windows were judged
        self._silence = SILENCE_MS * RATE // 1000
        self._interims = True
        self._words = False
        self._utterance = 0
        self._opened: int | None = None  # where the open utterance starts
        self._speech_end = 0
        self._shown = 0
        self._reported = 0

    async def run(self) -> None:
        async for frame in self._websocket:
            if self._script.greeting is not None:
                continue
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            message = self._connection.receive(frame.data)
            match message:
                case Config():
                    self._server.configs.append(message)
                    await self._configure(message)
                case Audio():
                    self._server.audio_messages.append(len(message.pcm) // 2)
                    samples = np.frombuffer(message.pcm, "<i2")
                    for i in range(0, len(samples), 2 * WINDOW):
                        await self._hear(samples[i : i + 2 * WINDOW])
                case Flush():
                    self._server.flushes.append(message.id)
                    await self._finish()
                    await self._send(Flushed(message.id))
                case Close():
                    await self._finish()
                    await self._send(Closed())
                    await self._websocket.close()

    async def _configure(self, config: Config) -> None:
        given = msgspec.structs.asdict(config)
        options = {name: value for name, value in given.items() if value is not msgspec.UNSET}
        self._interims = options.get("interim_results", self._interims)
        self._words = options.get("words", self._words)
        if "endpointing" in options and config.endpointing.silence_ms is not msgspec.UNSET:
            self._silence = config.endpointing.silence_ms * RATE // 1000
        if self._connection.ready is not None:
            return
        assert self._connection.sample_rate == RATE
        self._start = self._reported = self._connection.context
        self._looked = self._connection.start_sample  # what comes before was heard already
        await self._send(
            Ready(
                session=f"session-{len(self._server.connected_at)}",
                model=options.get("model", "numbers"),
                language=options.get("language") or "en",
                capabilities=self._server.capabilities,
                limits=self._server.limits,
            )
        )

    async def _hear(self, samples: np.ndarray) -> None:
        self._pcm = np.concatenate((self._pcm, samples))
        received = self._start + len(self._pcm)
        while self._looked + WINDOW <= received:
            await self._look()
        await self._break_if_due(received)
        if received - self._reported >= PROGRESS_S * RATE:
            await self._report()

    async def _break_if_due(self, received: int) -> None:
        script = self._script
        if script.die_at is not None and received >= script.die_at:
            raise Died
        if script.deaf_at is not None and received >= script.deaf_at:
            await self._server.over.wait()
            raise Died
        if script.garbage_at is not None and received >= script.garbage_at:
            script.garbage_at = None
            await self._websocket.send_str('{"type": "nonsense"}')
        if script.fail_at is not None and received >= script.fail_at[0]:
            await self._send(script.fail_at[1])
            await self._websocket.close(code=1011)
        if script.drain_at is not None and received >= script.drain_at:
            script.drain_at = None
            await self._send(Draining())

    async def _look(self) -> None:
        window = self._read(self._looked, self._looked + WINDOW)
        self._looked += WINDOW
        if window.any() and self._script.hears:
            self._speech_end = self._looked
            if self._opened is None:
                self._opened = self._shown = self._looked - WINDOW
                self._utterance += 1
                await self._send(SpeechStarted(self._utterance, self._opened))
            if self._interims and self._looked - self._shown >= INTERIM_S * RATE:
                self._shown = self._looked
                await self._send(self._transcript(Interim, self._looked))
        elif self._opened is not None:
            pause = self._looked - self._speech_end
            if self._interims and pause == WINDOW * 5:
                await self._send(self._transcript(Preflight, self._speech_end))
            if pause >= self._silence:
                await self._close_utterance()

    async def _finish(self) -> None:
        self._looked = self._start + len(self._pcm)
        if self._opened is not None:
            await self._close_utterance()
        await self._report()

    async def _close_utterance(self) -> None:
        await self._send(self._transcript(Final, self._speech_end))
        self._opened = None
        await self._send(SpeechEnded(self._utterance, self._speech_end))
        await self._report()

    async def _report(self) -> None:
        received = self._reported = self._start + len(self._pcm)
        await self._send(Progress(received, self._looked if self._opened is None else self._opened))

    def _transcript(self, kind: type[Any], end: int) -> Any:
        assert self._opened is not None
        words = []
        position = self._opened
        for value, samples in groupby(self._read(self._opened, end).tolist()):
            length = len(list(samples))
            if value:
                words.append(Word(f"w{value // 1000}", position, position + length, 0.9))
            position += length
        return kind(
            self._utterance,
            self._opened,
            end,
            " ".join(word.text for word in words),
            confidence=0.8,
            language="en",
            words=tuple(words) if self._words else None,
        )

    def _read(self, start: int, end: int) -> np.ndarray:
        return self._pcm[start - self._start : end - self._start]

    async def _send(self, message: ServerMessage) -> None:
        if self._script.die_before is not None and isinstance(message, self._script.die_before):
            raise Died
        data = self._connection.send(message)
        if isinstance(data, str) and not self._websocket.closed:
            await self._websocket.send_str(data)
