"""What all fake servers have in common: the socket, and how it misbehaves."""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from livekit.agents import stt

from .ear import Ear


@dataclass
class Behaviour:
    """What a server does wrong.

    Attributes:
        refuse_with: HTTP status that answers every handshake.
        never_answers: leaves handshakes unanswered.
        closes_at_once: ends every connection right after its handshake.
        dies_at_first_final: its first connection breaks instead of telling a final.
    """

    refuse_with: int | None = None
    never_answers: bool = False
    closes_at_once: bool = False
    dies_at_first_final: bool = False


class Died(Exception):
    """The connection breaks, as it should."""


class Provider(ABC):
    """A fake server at a port of its own. Use as a context manager.

    Attributes:
        name: of the plugin.
        port: where it listens.
        attempts: when somebody began to connect.
        make_ear: makes what hears a connection.
    """

    name: str

    def __init__(self, behaviour: Behaviour, *, ear: Callable[[], Ear] = Ear) -> None:
        self.make_ear = ear
        self.port = 0
        self.attempts: list[float] = []
        self._behaviour = behaviour
        self._over = asyncio.Event()

    @abstractmethod
    def make_stt(self, address: str, key: str, session: aiohttp.ClientSession) -> stt.STT:
        """The plugin, told to connect to `address` (host and port)."""

    @abstractmethod
    async def talk(self, websocket: web.WebSocketResponse) -> None:
        """Serve a connection after its handshake."""

    async def __aenter__(self) -> Provider:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._runner.cleanup()

    def is_first_step(self, request: web.Request) -> bool:
        """Whether this request is the first one of an attempt to connect."""
        return True

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request that is no WebSocket."""
        return web.Response(status=404)

    async def tell(
        self, websocket: web.WebSocketResponse, message: dict[str, Any], *, final: bool
    ) -> None:
        """Send a message, or die of it."""
        await self.tell_text(websocket, json.dumps(message), final=final)

    async def tell_text(
        self, websocket: web.WebSocketResponse, message: str, *, final: bool
    ) -> None:
        """The same with a message that is JSON already."""
        if final and self._behaviour.dies_at_first_final:
            self._behaviour.dies_at_first_final = False
            raise Died
        await websocket.send_str(message)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.is_first_step(request):
            self.attempts.append(time.monotonic())
            if self._behaviour.never_answers:
                await self._over.wait()
            if self._behaviour.refuse_with is not None:
                return web.Response(status=self._behaviour.refuse_with)
        if "Upgrade" not in request.headers:
            return await self.answer(request)
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        try:
            if self._behaviour.closes_at_once:
                await websocket.close(code=1011)
                raise Died
            await self.talk(websocket)
        except Died:
            assert request.transport is not None
            request.transport.abort()
        except ConnectionError:
            pass  # the client has gone
        return websocket
