"""A Hark server as the commands use it: a whole file over HTTP, a stream over WebSocket."""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from http.client import HTTPException
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlencode

import msgspec

from hark.cli.server_address import ServerAddress
from hark.errors import HarkError
from hark_protocol import (
    ClientMessage,
    Closed,
    Connection,
    Error,
    LocalProtocolError,
    RemoteProtocolError,
    Role,
    ServerMessage,
)

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

ANSWER_TIMEOUT_S = 3600.0
"""Longest wait for the transcript of an uploaded file: nothing comes while it is in work."""

CONNECT_TIMEOUT_S = 10.0
GOODBYE_TIMEOUT_S = 1.0

_REFUSAL_BYTES = 1 << 16


class ServerError(HarkError):
    """The server cannot be reached, refuses, or breaks off; the message says which."""


class HarkServer:
    """A server and the key to it."""

    def __init__(self, address: ServerAddress, api_key: str | None = None) -> None:
        """Args: address: of the server. api_key: None for none."""
        self.address = address
        self.api_key = api_key
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    def check_ready(self) -> None:
        """Ask the server whether it is ready, and ready to serve us. Blocks.

        Raises:
            ServerError: it is not, it does not take the key, or there is no answer.
        """
        # Not /readyz, which is open to all and says nothing about the key.
        request = urllib.request.Request(self.address.http("/v1/models"), headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(_refusal(error.code, error.read(_REFUSAL_BYTES))) from None
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def transcribe(
        self,
        file: BinaryIO,
        size_bytes: int,
        fields: list[tuple[str, str]],
        on_progress: Callable[[float], None],
    ) -> str:
        """Upload a file and give its transcript, in the format that the fields ask for. Blocks.

        Args:
            file: any audio file.
            size_bytes: of the file.
            fields: the form fields of `POST /v1/transcribe`.
            on_progress: called with the part that is uploaded, 0 to 1; from the thread of the call.

        Raises:
            ServerError: it cannot be reached or does not want the file.
        """
        request = urllib.request.Request(
            f"{self.address.http('/v1/transcribe')}?{urlencode(fields)}",
            data=_Upload(file, size_bytes, on_progress),
            headers={
                **self._headers,
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size_bytes),
            },
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
                return str(response.read().decode("utf-8"))
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(_refusal(error.code, error.read(_REFUSAL_BYTES))) from None
        except (OSError, HTTPException, UnicodeDecodeError) as error:
            raise self._unreachable(error) from None

    async def open_session(self) -> RemoteSession:
        """Open a stream. Safe to cancel.

        Raises:
            ServerError: it cannot be reached, or refuses.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidHandshake, InvalidStatus

        try:
            websocket = await connect(
                self.address.stream,
                additional_headers=self._headers,
                open_timeout=CONNECT_TIMEOUT_S,
                close_timeout=GOODBYE_TIMEOUT_S,
                max_size=None,  # `Connection` has the limit
            )
        except InvalidStatus as error:
            response = error.response
            raise ServerError(_refusal(response.status_code, response.body or b"")) from None
        except (OSError, asyncio.TimeoutError, InvalidHandshake) as error:
            raise self._unreachable(error) from None
        return RemoteSession(websocket)

    def _unreachable(self, error: Exception) -> ServerError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        # In Python 3.10 the two are not the same, and the one of asyncio is no OSError.
        if isinstance(reason, (TimeoutError, asyncio.TimeoutError)):
            detail = "it does not answer"
        elif isinstance(reason, OSError) and reason.errno:
            detail = os.strerror(reason.errno)
        else:
            detail = type(reason).__name__  # its text may quote headers
        return ServerError(f"no Hark server at {self.address.origin}: {detail}")


class RemoteSession:
    """A stream on a server, with the methods of `hark.session.Session`. Does not reconnect."""

    def __init__(self, websocket: ClientConnection) -> None:
        """Args: websocket: just opened."""
        self._websocket = websocket
        self._connection = Connection(Role.CLIENT)

    async def receive(self, message: ClientMessage) -> None:
        """Send a message; return when the next one is welcome. What fails shows in the messages."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._websocket.send(self._connection.send(message))
        except (ConnectionClosed, LocalProtocolError):
            # The server has ended the session: whoever reads its messages is told why.
            pass

    async def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """The server's messages; ends after `closed` or `error`.

        Raises:
            ServerError: the connection is lost, or the other side does not speak the protocol.
        """
        from websockets.exceptions import ConnectionClosed

        message: ServerMessage | None = None
        while not isinstance(message, (Closed, Error)):
            try:
                message = self._connection.receive(await self._websocket.recv())
            except ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else "none"
                raise ServerError(f"the connection is lost (close code {code})") from None
            except RemoteProtocolError as error:
                raise ServerError(f"the server broke the protocol: {error}") from None
            yield message

    async def aclose(self) -> None:
        """Close the connection. Idempotent; waits for the server, `GOODBYE_TIMEOUT_S` at most."""
        await self._websocket.close()


class _Upload:
    """A file as urllib reads it, telling how far it is."""

    def __init__(
        self, file: BinaryIO, size_bytes: int, on_progress: Callable[[float], None]
    ) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._on_progress = on_progress
        self._read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._read_bytes += len(block)
        self._on_progress(self._read_bytes / max(1, self._size_bytes))
        return block


def _refusal(status: int, body: bytes | bytearray) -> str:
    if status == 401:
        return "the server wants a valid key: set HARK_API_KEY or give --api-key"
    try:
        return msgspec.json.decode(body, type=Error).message
    except msgspec.DecodeError:
        return f"the server refused with HTTP status {status}; is it a Hark server?"
