"""Hark as a contestant: streams over WebSocket, at as little cost to this process as may be.

The load comes from the machine that is measured, so what it costs is taken from the server: here a
stream is one asyncio protocol around the two sans-I/O protocols, without tasks and queues.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import ContestantError, Hear, Kind, StreamRefused
from hark_protocol import (
    DEFAULT_MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    Audio,
    ClientMessage,
    Close,
    Closed,
    Config,
    Connection,
    Endpointing,
    Error,
    Final,
    Interim,
    Preflight,
    ProtocolError,
    Ready,
    Role,
    ServerMessage,
)

HEALTH_TIMEOUT_S = 5.0

OPEN_TIMEOUT_S = 20.0
"""Longest wait for `ready`, in seconds."""


class HarkClient:
    """Streams on a Hark server."""

    def __init__(self, url: str, silence_ms: int, api_key: str | None = None) -> None:
        """Args: url: of the server's streams (ws or wss). silence_ms: endpointing silence."""
        self._url = url
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._config = Config(
            version=PROTOCOL_VERSION,
            sample_rate=SAMPLE_RATE,
            interim_results=True,
            endpointing=Endpointing(silence_ms=silence_ms),
        )

    async def answer_time_s(self) -> float | None:
        """How long the server takes to answer `/healthz`; None if it does not."""
        parts = urlsplit(self._url)
        if parts.scheme == "wss":
            return None  # the TLS handshake would be most of it
        began = time.perf_counter()
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(parts.hostname, parts.port or 80), HEALTH_TIMEOUT_S
            )
            try:
                head = ("GET /healthz HTTP/1.1", f"Host: {parts.netloc}", "Connection: close")
                writer.write("\r\n".join((*head, "", "")).encode())
                await asyncio.wait_for(reader.readline(), HEALTH_TIMEOUT_S)
            finally:
                writer.close()
        except (OSError, asyncio.TimeoutError):
            return None
        return time.perf_counter() - began

    async def open(self, hear: Hear) -> HarkStream:
        """Open a stream. Safe to cancel. See `Contestant.open`."""
        stream = HarkStream(self._url, self._headers, hear)
        parts = urlsplit(self._url)
        is_secure = parts.scheme == "wss"
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(
                loop.create_connection(
                    lambda: stream,
                    parts.hostname or "",
                    parts.port or (443 if is_secure else 80),
                    ssl=ssl.create_default_context() if is_secure else None,
                ),
                OPEN_TIMEOUT_S,
            )
            await asyncio.wait_for(stream.accepted, OPEN_TIMEOUT_S)
            stream.send(self._config)
            await asyncio.wait_for(stream.ready, OPEN_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError) as error:
            stream.abort()
            raise ContestantError(f"no stream from Hark ({type(error).__name__})") from None
        except BaseException:
            stream.abort()
            raise
        return stream


class HarkStream(asyncio.Protocol):
    """One stream.

    Attributes:
        accepted: done after the WebSocket's handshake.
        ready: done when the session has begun.
    """

    def __init__(self, url: str, headers: Mapping[str, str], hear: Hear) -> None:
        """Args: url, headers: of the handshake. hear: takes the results."""
        loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.ready: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._hear = hear
        self._headers = headers
        self._websocket = ClientProtocol(parse_uri(url), max_size=DEFAULT_MAX_MESSAGE_BYTES)
        self._connection = Connection(Role.CLIENT)
        self._transport: asyncio.Transport | None = None

    def push(self, pcm: bytes) -> None:
        """Send samples. See `ContestantStream.push`."""
        if not self._closed.done():
            self.send(Audio(pcm))

    async def finish(self) -> None:
        """Send `close` and wait for `closed`. See `ContestantStream.finish`."""
        try:
            if not self._closed.done():
                self.send(Close())
            await self._closed
        finally:
            self.abort()

    def send(self, message: ClientMessage) -> None:
        """Send a message of the protocol, now if the network takes it."""
        data = self._connection.send(message)
        if isinstance(data, bytes):
            self._websocket.send_binary(data)
        else:
            self._websocket.send_text(data.encode())
        self._flush()

    def abort(self) -> None:
        """Drop the connection. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        request = self._websocket.connect()
        request.headers.update(self._headers)
        self._websocket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what the server sends."""
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                self._take_response(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._take_text(bytes(event.data).decode())
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that no more will come."""
        self._fail(ContestantError("the connection is lost"))

    def _take_response(self, response: Response) -> None:
        problem = self._websocket.handshake_exc
        if problem is None and self._websocket.state is State.OPEN:
            self.accepted.set_result(None)
        elif isinstance(problem, InvalidStatus) and response.status_code == 503:
            self._fail(StreamRefused("the server takes no more streams"))
        elif isinstance(problem, (InvalidStatus, InvalidHandshake)):
            self._fail(ContestantError(f"refused with HTTP status {response.status_code}"))

    def _take_text(self, text: str) -> None:
        try:
            message: ServerMessage = self._connection.receive(text)
        except ProtocolError as error:
            self._fail(ContestantError(f"the server broke the protocol: {error}"))
            self.abort()
            return
        if isinstance(message, Interim):
            self._tell("interim", message)
        elif isinstance(message, Preflight):
            self._tell("preflight", message)
        elif isinstance(message, Final):
            self._tell("final", message)
        elif isinstance(message, Ready):
            self.ready.set_result(None)
        elif isinstance(message, Closed):
            self._closed.set_result(None)
        elif isinstance(message, Error):
            self._fail(ContestantError(f"the server ended the stream: {message.message}"))

    def _tell(self, kind: Kind, message: Interim | Preflight | Final) -> None:
        self._hear(kind, message.text, message.start / SAMPLE_RATE, message.end / SAMPLE_RATE)

    def _fail(self, error: ContestantError) -> None:
        for outcome in (self.accepted, self.ready, self._closed):
            if not outcome.done():
                outcome.set_exception(error)
                outcome.exception()  # nobody may be waiting for this one

    def _flush(self) -> None:
        assert self._transport is not None
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.write_eof()
