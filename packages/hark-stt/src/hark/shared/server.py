"""The process with the models that others share."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import cast

import msgspec

from hark.engines.pool import ModelPool
from hark.errors import ModelError
from hark.server.logs import configure_logging
from hark.server.memory import keep_what_is_loaded, return_large_blocks
from hark.server.serve import DrainingServer
from hark.server.service import Service
from hark.server.settings import LogLevel, ServerSettings
from hark.shared.rendezvous import Answer
from hark.shared.starting import Errand

logger = logging.getLogger("hark.shared")

_MAX_SESSIONS = 100_000
"""No limit: LiveKit's worker already took the calls, as many as it thinks the machine can bear."""

_MAX_TRANSCRIPTIONS = 64
"""Recordings in work at a time, each with a thread while it is decoded."""


def main() -> None:
    """Serve until nobody holds a lease any more; the errand is on the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until _Server takes them
        signal.signal(number, signal.SIG_IGN)
    return_large_blocks()
    keep_what_is_loaded()
    errand = msgspec.json.decode(sys.argv[1], type=Errand)
    configure_logging(_level_name(errand.log_level), "text", file=Path(errand.log))
    asyncio.run(_serve(errand))


def _level_name(number: int) -> LogLevel:
    """The most talkative of our levels that says nothing below `number`."""
    known = ("debug", "info", "warning")
    names = (name for name in known if logging.getLevelName(name.upper()) >= number)
    return cast(LogLevel, next(names, "error"))


async def _serve(errand: Errand) -> None:
    settings = errand.settings
    service = Service(
        ServerSettings(
            max_sessions=_MAX_SESSIONS,
            max_transcriptions=_MAX_TRANSCRIPTIONS,
            grace_period_s=0,  # when the leases have ended, so have those who had sessions
        ),
        ModelPool([settings.model], workers=settings.workers),
    )

    async def answer() -> Answer:
        await service.wait_until_loaded()
        failure = service.failure
        return Answer() if failure is None else _answer_of(failure)

    leases = Leases(answer, linger_s=settings.linger_s)
    server = _Server(service, leases)
    serving = asyncio.create_task(server.serve([socket.socket(fileno=errand.http_socket)]))
    keeping = asyncio.create_task(leases.serve(socket.socket(fileno=errand.lease_socket)))
    await asyncio.wait({serving, keeping}, return_when=asyncio.FIRST_COMPLETED)
    # Who comes now finds nobody, and may start the next server while this one ends.
    os.close(errand.lock)
    if keeping.done():
        logger.info("nobody is left")
        server.end()
    else:
        keeping.cancel()
    await asyncio.gather(serving, keeping, return_exceptions=True)
    for task in (serving, keeping):
        if not task.cancelled():
            task.result()


def _answer_of(failure: Exception) -> Answer:
    return Answer(str(failure) or type(failure).__name__, isinstance(failure, ModelError))


class Leases:
    """Keeps those who want the server to live, and knows when there is nobody left."""

    def __init__(self, answer: Callable[[], Awaitable[Answer]], *, linger_s: float) -> None:
        """Start with nobody.

        Args:
            answer: waits until it is known what to tell everyone.
            linger_s: how long to wait for somebody when there is nobody.
        """
        self._answer = answer
        self._linger_s = linger_s
        self._count = 0
        self._changed = asyncio.Event()

    def stop_lingering(self) -> None:
        """Wait for nobody any more when the last one has gone."""
        self._linger_s = 0.0
        self._changed.set()

    async def serve(self, listener: socket.socket) -> None:
        """Take leases until there have been none for `linger_s`.

        Args:
            listener: listening; closed when this returns.
        """
        server = await asyncio.start_unix_server(self._keep, sock=listener)
        try:
            while await self._is_wanted():
                pass
        finally:
            server.close()

    async def _is_wanted(self) -> bool:
        """Wait for a change; false if nobody is there and nobody comes."""
        self._changed.clear()
        timeout_s = None if self._count else self._linger_s
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except asyncio.TimeoutError:
            return self._changed.is_set()  # somebody came at that very moment
        return True

    async def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one lease from its connection to its end."""
        self._count += 1
        self._changed.set()
        try:
            writer.write(msgspec.json.encode(await self._answer()) + b"\n")
            await reader.read(1)  # nothing ever comes but the end
        except ConnectionError:
            pass
        finally:
            writer.close()
            self._count -= 1
            self._changed.set()


class _Server(DrainingServer):
    """Ends when nobody holds a lease, even if it is told to sooner.

    A service manager sends SIGTERM to all processes of a service at once. But while the agents'
    worker drains, its calls still want to be heard.
    """

    def __init__(self, service: Service, leases: Leases) -> None:
        super().__init__(service)
        self._leases = leases

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._leases.stop_lingering)
