"""uvicorn's connections, held to limits of ours: what a client does harms its own only.

Here belongs what happens below the application: heads of requests, frames and sockets.
"""

# ruff: noqa: D102 - the methods are uvicorn's, and called by it alone

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from hark.server import refusal
from hark.server.chatter import Chatter
from hark_protocol import CLOSE_POLICY, CLOSE_TOO_BIG

HEAD_TIMEOUT_S = 10.0
"""Longest time that a connection may take to send the head of a request, a WebSocket's handshake
included."""

UNSENT_TIMEOUT_S = 10
"""Longest time that what is still unsent at the end of a connection is kept for a client that does
not read."""

SEND_BUFFER_BYTES = 16 * 1024
"""What is kept of messages that a client has not read, by us and by the system each: many seconds'
worth. By itself the system would keep megabytes, and a client that reads nothing would not show."""

LINGER_S = 2.0
"""Longest wait for the client's half of the closing handshake. Until then it may go on sending to
nobody: what is not read makes the system reset the connection, and the close code is lost."""

MAX_QUEUED = 2
"""Messages that wait to be taken at which no more is read from a client."""

MAX_FRAGMENTS = 1_000
"""Most frames that a message may come in: each costs memory, even one with nothing in it."""


class HttpConnection(H11Protocol):
    """uvicorn's, but a connection whose request never gets here cannot stay for ever."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        self._await_head()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop_awaiting_head()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_awaiting_head()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._end_if_headless)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()

    def _end_if_headless(self) -> None:
        cycle: object = self.cycle  # None until the first request
        is_answering = isinstance(cycle, RequestResponseCycle) and not cycle.response_complete
        if is_answering:
            return
        has_begun, _ = self.conn.trailing_data
        if has_begun:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's, with other ideas of when a client is gone, and able to refuse in silence.

    - A client that reads nothing shows early, and cannot keep a finished connection for ever.
    - A client whose pong lies behind audio that is not taken yet is alive.
    - A refusal with a response completes the handshake, and is no error for the log.
    - Text that is no UTF-8 is the session's to refuse, and no error for the log either.
    - Floods of pings and of fragments, which no session sees, end the connection.
    - A client that is sent away while it sends learns the close code.
    """

    _alive_at = 0.0
    _unsent_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pings = Chatter()
        self.close_timeout = LINGER_S
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.transport.set_write_buffer_limits(SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        self._alive_at = self.loop.time()
        super().data_received(data)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = [b""]  # which is no message either
        # By itself uvicorn stops reading at each message, and goes on when it is taken: two system
        # calls for every message of every client.
        is_paused, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused = is_paused
        if not is_paused and not self.close_sent and self.queue.qsize() >= MAX_QUEUED:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        else:
            self._fail(CLOSE_TOO_BIG, "a message in too many fragments")

    def handle_ping(self) -> None:
        if self._pings.is_too_much(self.loop.time()):
            self._fail(CLOSE_POLICY, "too many pings")
            return
        pongs = self.conn.data_to_send()
        # One that is not sent is made up for by the next (RFC 6455, section 5.5.3).
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))

    def _fail(self, close_code: int, reason: str) -> None:
        if not self.close_sent:
            self.conn.fail(close_code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        close = self.conn.close_sent
        if close is None:  # the handshake is not answered yet
            self.transport.abort()
        elif not self.close_sent:
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}
            )
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            if self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()
            self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        self._alive_at = self.loop.time()  # only now may more come in
        return message

    def keepalive_timeout(self) -> None:
        assert self.ping_timeout is not None
        silent_s = 0.0 if self.read_paused else self.loop.time() - self._alive_at
        if silent_s >= self.ping_timeout:
            super().keepalive_timeout()
        else:
            self.pong_timer = self.loop.call_later(
                self.ping_timeout - silent_s, self.keepalive_timeout
            )

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            if not self.transport.is_closing() or self.transport.get_write_buffer_size():
                self._unsent_timer = self.loop.call_later(UNSENT_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._unsent_timer is not None:
            self._unsent_timer.cancel()  # it would keep all of this in memory
        super().connection_lost(exc)


def _response(refused: refusal.Refused) -> bytes:
    """A refusal as it goes over the wire, for a request that never came to be one."""
    response = refused.response()
    head = "".join(
        f"{name}: {value}\r\n"
        for name, value in {**response.headers, "connection": "close"}.items()
    )
    return (
        f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\n{head}\r\n".encode()
        + bytes(response.body)
    )


_TOO_SLOW = _response(refusal.too_slow_head())
