"""One server process: its socket, its signals, and uvicorn."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from hark.errors import SettingsError
from hark.server.app import create_app
from hark.server.connections import HttpConnection, WebSocketConnection
from hark.server.logs import configure_logging
from hark.server.memory import keep_what_is_loaded, return_large_blocks
from hark.server.service import Service
from hark.server.settings import ServerSettings, describe

logger = logging.getLogger("hark.server")

BACKLOG = 2048
"""Connections that wait to be accepted; uvicorn's default."""


def run(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. Blocks; for the main thread.

    A second signal cuts the grace period short.

    Raises:
        SettingsError: the address cannot be listened on, or the TLS files cannot be used.
        HarkError: the models cannot be loaded.
    """
    return_large_blocks()
    keep_what_is_loaded()
    configure_logging(settings.log_level, settings.log_format)
    service = Service(settings)
    server = DrainingServer(service)
    server.run(sockets=[listen(settings)])
    if service.failure is not None:
        raise service.failure


def listen(settings: ServerSettings) -> socket.socket:
    """Open the listening socket.

    Raises:
        SettingsError: the address is in use, not ours or not allowed.
    """
    is_ipv6 = ":" in settings.host
    try:
        return socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=settings.host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}); "
            f"choose another {describe('host')} or {describe('port')}"
        ) from None


class DrainingServer(uvicorn.Server):
    """uvicorn, but told to end it lets the open sessions move away first.

    uvicorn by itself closes every WebSocket with 1012 as soon as it is told to.
    """

    def __init__(self, service: Service) -> None:
        """Args: service: what to serve."""
        self._service = service
        self._loop: asyncio.AbstractEventLoop
        self._draining: asyncio.Task[None] | None = None
        super().__init__(_uvicorn_config(service, on_failure=self._exit_at_once))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end. See `uvicorn.Server.serve`."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)
        logger.info("ended")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and say so: from now on signals are handled. See `uvicorn.Server`."""
        await super().startup(sockets)
        for listener in sockets or ():
            logger.info("listening", extra={**_address_of(listener), **self._summary()})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. Called by Python between any two bytecodes, so it only leaves a note."""
        self._loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Drain, then exit; told again, stop waiting for sessions. For the server's event loop."""
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain_and_exit())
        else:
            self._service.hurry()

    async def _drain_and_exit(self) -> None:
        try:
            await self._service.drain()
        finally:
            self.should_exit = True

    def _exit_at_once(self) -> None:
        self.should_exit = True

    def _summary(self) -> dict[str, object]:
        settings = self._service.settings
        return {
            "models": list(self._service.models.models),
            "api_keys": len(settings.api_keys),  # how many there are
            "tls": settings.tls_certificate is not None,
        }


def _address_of(listener: socket.socket) -> dict[str, object]:
    address = listener.getsockname()
    if isinstance(address, str):  # a Unix domain socket's path
        return {"path": address}
    return dict(zip(("host", "port"), address, strict=False))


def _uvicorn_config(service: Service, on_failure: Callable[[], None]) -> uvicorn.Config:
    settings = service.settings
    config = uvicorn.Config(
        create_app(service, on_failure=on_failure),
        lifespan="on",
        log_config=None,  # ours; see hark.server.logs
        log_level="warning",  # below, there are query strings and messages in uvicorn's lines
        access_log=False,  # ours has no query strings
        server_header=False,
        http=HttpConnection,
        ws=WebSocketConnection,
        # Compression costs time on the event loop, and audio does not shrink.
        ws_per_message_deflate=False,
        # What is larger than we take, but not absurdly so, gets an `error` message first.
        ws_max_size=2 * settings.max_message_bytes,
        ws_ping_interval=settings.ping_interval_s,
        ws_ping_timeout=settings.ping_timeout_s,
        timeout_graceful_shutdown=1,  # by then all work has ended, or does not want to
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        files = f"{describe('tls_certificate')} and {describe('tls_key')}"
        raise SettingsError(f"{files} cannot be used: {error.strerror}") from None
    return config
