"""Hark's recogniser in a process of its own, shared by this machine's. Imports `hark` when needed.

LiveKit runs each call in a process of its own, and keeps some ready. Were each of them to load a
model, they would take the memory and fight for the cores.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from msgspec import UnsetType

from hark_protocol import ClientMessage, Config, Ready, ServerMessage

from ..address import ServerAddress
from ..options import RecognitionOptions
from . import Link, Transcription
from .local import loaded
from .websocket import ServerBackend

if TYPE_CHECKING:
    from hark.shared.lease import Lease

# The host stands for nothing: the connection goes to a Unix domain socket.
_ADDRESS = dataclasses.replace(
    ServerAddress.parse("ws://localhost"), name="the recogniser that this machine's processes share"
)


def is_job_process() -> bool:
    """Whether this is one of LiveKit's job processes, or another that multiprocessing started."""
    return multiprocessing.parent_process() is not None


def obstacle() -> str | None:
    """Why processes cannot share a recogniser here; None where they can."""
    from hark import shared

    return shared.obstacle()


class SharedBackend:
    """The recogniser that this machine's processes share. Satisfies `Backend`.

    It is a server like any other, but for two things: a lease, kept as long as this backend, makes
    sure that it runs, and it is reached through a socket in the file system.
    """

    def __init__(self, *, model: str | None) -> None:
        """Args: model: the one to prewarm; None for the default."""
        self._model = model
        self._leases: dict[str | None, Lease] = {}

    async def open(self, config: Config, *, timeout_s: float) -> Link:
        """See `Backend.open`. Loading the models has a deadline of its own."""
        model = None if isinstance(config.model, UnsetType) else config.model
        session = await self._connect(model)
        try:
            link = await _server(session).open(config, timeout_s=timeout_s)
        except BaseException:
            await session.close()
            raise
        return _SessionLink(link, session)

    async def transcribe(
        self, wav: bytes, options: RecognitionOptions, *, timeout_s: float
    ) -> Transcription:
        """See `Backend.transcribe`. Loading the models has a deadline of its own."""
        async with await self._connect(options.model) as session:
            return await _server(session).transcribe(wav, options, timeout_s=timeout_s)

    def prewarm(self) -> None:
        """See `Backend.prewarm`: the models load in the background."""
        self._lease(self._model).prewarm()

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        while self._leases:
            _, lease = self._leases.popitem()
            lease.release()

    async def _connect(self, model: str | None) -> aiohttp.ClientSession:
        path: Path = await loaded(self._lease(model).http_socket())
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))

    def _lease(self, model: str | None) -> Lease:
        from hark.shared.lease import Lease

        if model not in self._leases:
            self._leases[model] = Lease(model)
        return self._leases[model]


def _server(session: aiohttp.ClientSession) -> ServerBackend:
    return ServerBackend(_ADDRESS, api_key=None, http_session=session)


class _SessionLink:
    """A link with an HTTP session of its own, which ends with it. Satisfies `Link`.

    Agents close their streams, but hardly ever their STT, so nothing else may have to be closed.
    """

    ready: Ready

    def __init__(self, link: Link, session: aiohttp.ClientSession) -> None:
        self._link = link
        self._session = session
        self.ready = link.ready

    async def send(self, message: ClientMessage) -> None:
        """See `Link.send`."""
        await self._link.send(message)

    async def receive(self) -> ServerMessage:
        """See `Link.receive`."""
        return await self._link.receive()

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        try:
            await self._link.aclose()
        finally:
            await self._session.close()
