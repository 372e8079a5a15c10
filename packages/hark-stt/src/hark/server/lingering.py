"""Refusing uploads so that the client hears it.

A client that is still sending when the connection closes sees a broken pipe, and the answer is lost
(RFC 9112, section 9.6). So what it sends is read and thrown away before it is answered.
"""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_S = 5.0
"""Longest time that a client may go on sending to nobody, in seconds."""


class Lingering:
    """ASGI middleware that reads the rest of a request's body before the response goes out."""

    def __init__(self, app: ASGIApp) -> None:
        """Args: app: may answer without reading the whole body."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and see to its body."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        is_read = False

        async def receive_and_note() -> Message:
            nonlocal is_read
            message = await receive()
            # Also true of http.disconnect.
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                with anyio.move_on_after(LINGER_S):
                    while not is_read:
                        await receive_and_note()
            await send(message)

        await self._app(scope, receive_and_note, send_after_body)


def _has_body(headers: Headers) -> bool:
    if headers.get("expect", "").lower() == "100-continue":
        return False  # the client waits for our word before it sends anything
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
