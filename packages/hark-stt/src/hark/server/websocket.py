"""One session over WebSocket: messages between the socket and a `hark.session.Session`.

A reader and a writer task. The session's bounded outbox and its slow `receive` are the
backpressure: while it takes no message the reader reads none, so TCP slows the client down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from hark.server.auth import chosen_subprotocol
from hark.server.chatter import CHATTER_PER_S, Chatter
from hark.server.patience import Patience
from hark.server.service import Service
from hark.server.settings import ServerSettings
from hark.session import Session
from hark_protocol import (
    CLOSE_NORMAL,
    CLOSE_POLICY,
    ERROR_KINDS,
    PCM16_BYTES_PER_SAMPLE,
    Audio,
    ClientMessage,
    Closed,
    Connection,
    Error,
    RemoteProtocolError,
    Role,
    ServerMessage,
)

logger = logging.getLogger("hark.server")

CONFIG_TIMEOUT_S = 10.0
"""Longest time until the first config, in seconds: till then a client keeps a place for nothing."""

GOODBYE_TIMEOUT_S = 1.0
"""Longest time that the last message and the close frame may take to leave, in seconds."""

CRUMB_BYTES = 16
"""Audio below this, which is a millisecond at most, is no better than none: it costs as much to
take as a second of it."""

_CLOSE_CODES: dict[str, int] = {code: kind.close_code for code, kind in ERROR_KINDS.items()}


async def serve_websocket(service: Service, websocket: WebSocket) -> None:
    """Serve one WebSocket from its handshake to its end.

    Raises:
        Refused: there is no room for it now.
    """
    with service.admit_session() as session:
        started = time.monotonic()
        bridge = _Bridge(websocket, session, service.settings)
        try:
            await websocket.accept(chosen_subprotocol(websocket.scope))
            await bridge.run()
        finally:
            await session.aclose()
            logger.info(
                "session ended",
                extra={
                    "session": session.id,
                    "model": session.model,
                    "audio_s": round(session.audio_s, 3),
                    "duration_s": round(time.monotonic() - started, 3),
                    "reason": bridge.reason,
                    "close_code": bridge.close_code,
                },
            )


class _ClientGone(Exception):
    """The connection is lost, or the client closed it."""


class _Bridge:
    """A WebSocket and its session.

    Attributes:
        reason: how it ended: "closed" (all finals are sent), "lost" (the client went without
            `close`), or the code of the error that was sent.
        close_code: of the WebSocket; None while it is open.
    """

    def __init__(self, websocket: WebSocket, session: Session, settings: ServerSettings) -> None:
        self.reason = "lost"
        self.close_code: int | None = None
        self._websocket = websocket
        self._session = session
        self._settings = settings
        self._connection: Connection[ServerMessage, ClientMessage] = Connection(
            Role.SERVER, max_message_bytes=settings.max_message_bytes
        )
        self._chatter = Chatter()
        self._audio_bytes = 0  # since the last message that was not audio

    async def run(self) -> None:
        """Carry messages both ways until the session or the connection ends. Safe to cancel."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_gone, self._read, tasks.cancel_scope)
                await self._until_gone(self._write, tasks.cancel_scope)
                tasks.cancel_scope.cancel()
        except Exception:  # a bug in one session must not end others, nor this one in silence
            logger.exception("session failed", extra={"session": self._session.id})
            error = Error.from_code("internal", "the server failed; try again")
            await self._until_gone(lambda: self._end_with(error), anyio.CancelScope())

    async def _until_gone(
        self, carry: Callable[[], Awaitable[None]], whole: anyio.CancelScope
    ) -> None:
        try:
            await carry()
        except _ClientGone:
            whole.cancel()  # there is nobody to carry anything to

    async def _read(self) -> None:
        """Hand messages to the session; ends when one is wrong or none comes for too long."""
        with anyio.CancelScope() as scope:
            patience = Patience(scope)
            try:
                await self._read_with(patience)
            finally:
                patience.stop()
        if patience.is_over:
            message = f"no message for {patience.timeout_s:g} s"
            self._session.fail(Error.from_code("idle_timeout", message))

    async def _read_with(self, patience: Patience) -> None:
        while True:
            patience.wait(self._patience_s())
            data = await self._receive()
            patience.came()
            try:
                received = self._connection.receive(data)
            except RemoteProtocolError as error:
                self._session.fail(Error.from_code(error.code, str(error)))
                return
            if self._is_flood(received):
                message = f"more than {CHATTER_PER_S} messages a second that are not audio"
                self._session.fail(Error.from_code("unexpected_message", message))
                return
            await self._session.receive(received)

    def _is_flood(self, message: ClientMessage) -> bool:
        if isinstance(message, Audio) and len(message.pcm) >= CRUMB_BYTES:
            self._audio_bytes += len(message.pcm)
            return False
        bytes_per_s = PCM16_BYTES_PER_SAMPLE * self._connection.sample_rate
        audio_s, self._audio_bytes = self._audio_bytes / bytes_per_s, 0
        return self._chatter.is_too_much(time.monotonic(), audio_s=audio_s)

    def _patience_s(self) -> float | None:
        """How long the next message may take to come; None for as long as it likes."""
        if self._connection.is_closing:
            return None  # the client has nothing more to say; it waits for us
        idle_timeout_s = self._settings.idle_timeout_s
        has_begun = self._session.model is not None
        return idle_timeout_s if has_begun else min(CONFIG_TIMEOUT_S, idle_timeout_s)

    async def _receive(self) -> str | bytes:
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            self.close_code = event.get("code")
            raise _ClientGone
        # Either key may be absent or None (ASGI specification, "Receive - receive event").
        data: str | bytes | None = event.get("text")
        return event["bytes"] if data is None else data

    async def _write(self) -> None:
        """Send what the session has to say, then close the WebSocket accordingly."""
        last: ServerMessage | None = None
        async for message in self._session:
            try:
                with anyio.fail_after(self._settings.send_timeout_s):
                    await self._send(message)
            except TimeoutError:
                problem = f"the client read nothing for {self._settings.send_timeout_s:g} s"
                await self._end_with(Error.from_code("slow_reader", problem))
                return
            last = message
        await self._close(last)

    async def _send(self, message: ServerMessage) -> None:
        data = self._connection.send(message)
        try:
            await self._websocket.send_text(str(data))
        except (WebSocketDisconnect, RuntimeError):
            # RuntimeError is what uvicorn raises when it has closed the connection itself, say
            # after a frame that is not WebSocket.
            raise _ClientGone from None

    async def _end_with(self, error: Error) -> None:
        """Send an error of the transport's own, if the client still takes it, and close."""
        self.reason = error.code
        with anyio.move_on_after(GOODBYE_TIMEOUT_S):
            if not self._connection.is_closed:
                await self._send(error)
        await self._close(error)

    async def _close(self, last: ServerMessage | None) -> None:
        if isinstance(last, Error):
            self.reason = last.code
            self.close_code = _CLOSE_CODES.get(last.code, CLOSE_POLICY)
        elif isinstance(last, Closed):
            self.reason = "closed"
            self.close_code = CLOSE_NORMAL
        else:
            return  # the session was given up; its transport is, too
        with anyio.move_on_after(GOODBYE_TIMEOUT_S):
            try:
                await self._websocket.close(self.close_code)
            except (WebSocketDisconnect, RuntimeError):
                pass  # the client was faster; see _send
