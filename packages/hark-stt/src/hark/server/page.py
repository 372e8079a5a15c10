"""The live captions page at `/`: static files, with headers that let it load nothing from outside.

The files are few and small, so they are read once. Their names never change, hence browsers keep
them but ask each time whether they still hold: no upgrade leaves a mix of two versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

STATIC_PATH = "/static/"
"""Where the page's files are, other than the page itself, which is at `/`."""

_FOLDER = Path(__file__).with_name("static")

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",  # WebSockets of the same origin too (CSP level 3, section 6.7.2.8)
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""What the page may load and talk to: this server alone, and no script but in a file of ours."""

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# Not the mimetypes module: it reads the system's tables, and with nosniff a script whose type they
# get wrong does not run.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file. The tag comes from its content, because files of a wheel all have the same time."""

    content: bytes
    media_type: str
    etag: str


def page_routes() -> list[BaseRoute]:
    """Make the routes of the page and its files; they need no API key, for they tell nothing."""
    assets = dict(_read_assets())
    return [
        Route("/", partial(_send_page, assets)),
        Route(STATIC_PATH + "{path:path}", partial(_send_file, assets)),
    ]


async def _send_page(assets: dict[str, _Asset], request: Request) -> Response:
    return _respond(assets["index.html"], request)


async def _send_file(assets: dict[str, _Asset], request: Request) -> Response:
    asset = assets.get(request.path_params["path"])
    if asset is None:
        raise HTTPException(404)
    return _respond(asset, request)


def _respond(asset: _Asset, request: Request) -> Response:
    headers = {**_HEADERS, "ETag": asset.etag}
    if _has_current(request.headers.get("if-none-match", ""), asset.etag):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


def _has_current(if_none_match: str, etag: str) -> bool:
    # Weak comparison (RFC 9110, section 13.1.2): a proxy that compresses makes our tag a weak one.
    return etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))


def _read_assets() -> Iterator[tuple[str, _Asset]]:
    for path in _FOLDER.rglob("*"):
        if path.suffix in _MEDIA_TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            name = path.relative_to(_FOLDER).as_posix()
            yield name, _Asset(content, _MEDIA_TYPES[path.suffix], etag)
