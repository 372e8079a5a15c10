"""One log line for each request: no query string, header or body, for these may hold secrets."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("hark.server.access")

QUIET_PATHS = frozenset({"/healthz", "/readyz"})
"""Asked every few seconds, hence logged at DEBUG only."""

_STATUS_MESSAGES = frozenset({"http.response.start", "websocket.http.response.start"})


class AccessLog:
    """ASGI middleware that logs each request when it has been answered."""

    def __init__(self, app: ASGIApp) -> None:
        """Args: app: what is logged."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and remember its status."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] in _STATUS_MESSAGES:
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        started = time.monotonic()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            _log(scope, status, time.monotonic() - started)


def _log(scope: Scope, status: int | None, duration_s: float) -> None:
    client = scope.get("client")
    logger.log(
        logging.DEBUG if scope["path"] in QUIET_PATHS else logging.INFO,
        "request",
        extra={
            "client": f"{client[0]}:{client[1]}" if client else None,
            "method": scope.get("method", "WEBSOCKET"),
            "path": scope["path"],
            "status": status,
            "duration_ms": round(duration_s * 1000, 1),
        },
    )
