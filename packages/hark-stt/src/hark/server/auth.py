"""API keys: who may use the server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from starlette._utils import get_route_path
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from hark.server.page import STATIC_PATH
from hark.server.refusal import unauthorized

SUBPROTOCOL = "hark.v1"
"""The WebSocket subprotocol of Hark (docs/protocol.md)."""

KEY_SUBPROTOCOL_PREFIX = "hark.key."
"""Browsers cannot set headers on a WebSocket: they send the key, base64url, as a subprotocol."""

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz"})
"""What load balancers and orchestrators ask without a key, and the page, which asks for the key."""


class ApiKeys:
    """The keys of which a client must present one. No keys: everyone may come in."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Args: keys: plain text; only their digests are kept."""
        self._digests = [_digest(key) for key in keys]

    def __len__(self) -> int:
        return len(self._digests)

    def accept(self, key: str | None) -> bool:
        """Whether the key is one of ours; how long this takes tells nothing about ours."""
        if not self._digests:
            return True
        given = _digest(key or "")
        # A list, not a generator: any() would stop at the first match and tell which one it was.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return key is not None and any(matches)


class Authentication:
    """ASGI middleware that answers 401 to whoever has no valid key, before anything else."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        """Args: app: what authenticated requests reach. keys: the valid ones."""
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if _is_open(scope) or self._keys.accept(presented_key(scope)):
            await self._app(scope, receive, send)
        else:
            await unauthorized().answer(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    if scope["type"] == "lifespan":
        return True
    path = get_route_path(scope)  # as the routes see it, wherever the application is mounted
    return path in OPEN_PATHS or path.startswith(STATIC_PATH)


def presented_key(scope: Scope) -> str | None:
    """A request's API key: from its `Authorization` header, else its WebSocket subprotocols."""
    scheme, _, credentials = HTTPConnection(scope).headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return credentials.strip()
    for name in scope.get("subprotocols", ()):
        if name.startswith(KEY_SUBPROTOCOL_PREFIX):
            return _decode_base64url(name[len(KEY_SUBPROTOCOL_PREFIX) :])
    return None


def chosen_subprotocol(scope: Scope) -> str | None:
    """The subprotocol to accept a WebSocket with: ours if offered, never the one with the key."""
    return SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None


def _digest(key: str) -> bytes:
    # Of equal length for every key, so that comparing tells nothing about lengths.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _decode_base64url(encoded: str) -> str | None:
    padded = encoded + "=" * (-len(encoded) % 4)
    try:
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
