"""Where a Hark server is, from whatever form of its address a user has at hand."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

STREAM_PATH = "/ws/transcribe"
TRANSCRIBE_PATH = "/v1/transcribe"
READY_PATH = "/readyz"

_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The URLs of one server.

    Attributes:
        stream_url: WebSocket URL for streams.
        transcribe_url: HTTP URL for whole recordings.
        ready_url: HTTP URL that tells whether the server is ready.
        name: host and port, fit for messages: without credentials, path or query.
    """

    stream_url: str
    transcribe_url: str
    ready_url: str
    name: str

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """Read an address.

        Args:
            url: `ws`, `wss`, `http` or `https`, or no scheme for `ws`. Its path is that of the
                stream, or what stands before it when a proxy serves Hark below a prefix. A query is
                kept.

        Raises:
            ValueError: not such a URL.
        """
        try:
            parts = urlsplit(url if "://" in url else f"ws://{url}")
            scheme, host, port = _HTTP_SCHEMES[parts.scheme], parts.hostname, parts.port
        except (KeyError, ValueError):
            raise _not_an_address() from None
        if not host:
            raise _not_an_address()
        path = parts.path.rstrip("/")
        prefix = path[: -len(STREAM_PATH)] if path.endswith(STREAM_PATH) else path
        host = f"[{host}]" if ":" in host else host
        return cls(
            stream_url=_join(parts, _WEBSOCKET_SCHEMES[scheme], prefix + STREAM_PATH),
            transcribe_url=_join(parts, scheme, prefix + TRANSCRIBE_PATH),
            ready_url=_join(parts, scheme, prefix + READY_PATH),
            name=host if port is None else f"{host}:{port}",
        )


def _not_an_address() -> ValueError:
    # The URL is not repeated: it may hold credentials.
    return ValueError(
        "api_url must look like ws://localhost:8000/ws/transcribe (or wss, http, https)"
    )


def _join(parts: SplitResult, scheme: str, path: str) -> str:
    return parts._replace(scheme=scheme, path=path, fragment="").geturl()
