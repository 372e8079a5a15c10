"""Where a Hark server is, from whatever form of its address a user has at hand."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from hark.errors import SettingsError

STREAM_PATH = "/ws/transcribe"

_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_HTTP_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server.

    Attributes:
        origin: "http://host:port" or "https://..."; holds no credentials, so it fits into messages.
        prefix: path below which a proxy serves Hark; usually empty.
    """

    origin: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """Read an address.

        Args:
            url: `http`, `https`, `ws` or `wss`, or no scheme for `http`; the path of the stream may
                stand in it.

        Raises:
            SettingsError: not such a URL.
        """
        complaint = "the server's URL must look like http://localhost:8000 (or https, ws, wss)"
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError:
            raise SettingsError(complaint) from None
        scheme = _HTTP_SCHEMES.get(parts.scheme)
        if scheme is None or not parts.hostname:
            raise SettingsError(complaint)  # without the URL: it may hold credentials
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            origin=f"{scheme}://{host}{port}",
            prefix=parts.path.rstrip("/").removesuffix(STREAM_PATH),
        )

    def http(self, path: str) -> str:
        """The URL of one of the server's pages."""
        return f"{self.origin}{self.prefix}{path}"

    @property
    def stream(self) -> str:
        """The WebSocket URL for streams."""
        scheme, rest = self.origin.split("://")
        return f"{_WEBSOCKET_SCHEMES[scheme]}://{rest}{self.prefix}{STREAM_PATH}"
