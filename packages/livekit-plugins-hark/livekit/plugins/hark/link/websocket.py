"""A Hark server, over WebSocket and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec
from livekit.agents import APIConnectionError, APIError, APITimeoutError, utils

from hark_protocol import (
    CLOSE_NORMAL,
    ClientMessage,
    Config,
    Connection,
    Error,
    LocalProtocolError,
    Ready,
    RemoteProtocolError,
    Role,
    ServerMessage,
)

from .. import errors
from ..address import ServerAddress
from ..log import logger
from ..options import RecognitionOptions
from ..version import __version__
from . import Transcription
from .deadline import within
from .handshake import shake_hands

HEARTBEAT_S = 20.0
"""Between WebSocket pings: they find a dead network while no audio flows. Audio has its own, faster
watch."""

GOODBYE_TIMEOUT_S = 0.5
"""Longest wait for the server's half of the closing handshake. Nothing is lost without it."""

PREWARM_TIMEOUT_S = 10.0

T = TypeVar("T")


class ServerBackend:
    """A server at an address. Satisfies `Backend`. Belongs to one event loop."""

    def __init__(
        self,
        address: ServerAddress,
        *,
        api_key: str | None,
        http_session: aiohttp.ClientSession | None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            address: of the server.
            api_key: sent as a bearer token; None for none.
            http_session: its owner closes it; None for LiveKit's, or an own one outside of a job.
        """
        self._address = address
        self._headers = {"User-Agent": f"livekit-plugins-hark/{__version__}"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._http_session = http_session
        self._own_session: aiohttp.ClientSession | None = None
        self._prewarming: asyncio.Task[None] | None = None

    async def open(self, config: Config, *, timeout_s: float) -> WebSocketLink:
        """See `Backend.open`."""
        session = self._session()
        link = WebSocketLink(lambda: session.closed and session is not self._http_session)
        try:
            await self._guard(self._begin(link, session, config), timeout_s)
        except BaseException as error:
            await link.aclose()
            if isinstance(error, APIError) and link.has_job_ended():
                raise errors.job_ended() from None
            raise
        return link

    async def _begin(
        self, link: WebSocketLink, session: aiohttp.ClientSession, config: Config
    ) -> None:
        if session.closed:  # since `_session`; aiohttp would raise a RuntimeError
            raise aiohttp.ClientConnectionError
        link.websocket = await shake_hands(
            session,
            self._address.stream_url,
            headers=self._headers,
            middleware=self._send_once,
            heartbeat_s=HEARTBEAT_S,
            goodbye_timeout_s=GOODBYE_TIMEOUT_S,
        )
        await link.send(config)
        await link.receive_ready()

    async def transcribe(
        self, wav: bytes, options: RecognitionOptions, *, timeout_s: float
    ) -> Transcription:
        """See `Backend.transcribe`."""
        status, headers, body = await self._guard(self._post(wav, options), timeout_s)
        if status != 200:
            raise _refusal(status, headers, body)
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(body, type=Transcription)
        raise APIError(
            f"what {self._address.name} answers is not a transcription; check api_url",
            retryable=False,
        )

    async def _post(
        self, wav: bytes, options: RecognitionOptions
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self._session().post(
            self._address.transcribe_url,
            params=_query(options),
            data=wav,
            headers={**self._headers, "Content-Type": "audio/wav"},
            timeout=aiohttp.ClientTimeout(total=None),  # the caller's deadline covers it all
        ) as response:
            return response.status, response.headers, await response.read()

    def prewarm(self) -> None:
        """See `Backend.prewarm`: the first WebSocket takes over the connection this leaves."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # a connection belongs to an event loop
        if self._prewarming is None:
            self._prewarming = loop.create_task(self._touch(), name="hark_prewarm")

    async def _touch(self) -> None:
        try:
            await self._guard(self._ask_ready(), PREWARM_TIMEOUT_S)
        except APIError as error:
            logger.debug("prewarming failed", extra={"reason": str(error)})

    async def _ask_ready(self) -> None:
        async with self._session().get(
            self._address.ready_url,
            headers=self._headers,
            allow_redirects=False,
            middlewares=(self._send_once,),
        ) as response:
            await response.read()

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        if self._prewarming is not None:
            await utils.aio.cancel_and_wait(self._prewarming)
        if self._own_session is not None:
            await self._own_session.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._http_session is not None:
            if self._http_session.closed:
                raise APIConnectionError("the given http_session is closed", retryable=False)
            return self._http_session
        try:
            return utils.http_context.http_session()
        except RuntimeError:  # not in a job: a script or a test
            if self._own_session is None or self._own_session.closed:
                self._own_session = aiohttp.ClientSession()
            return self._own_session

    async def _guard(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Await `work` with a deadline; whatever goes wrong on the way is an `APIError`."""
        try:
            return await within(timeout_s, work)
        except asyncio.TimeoutError:
            error: APIError = APITimeoutError(
                f"Hark at {self._address.name} did not answer within {timeout_s:g} s"
            )
        except (aiohttp.ClientError, OSError) as cause:
            error = self._explain(cause)
        # Out here it has no context: aiohttp's errors hold the request, and that holds the API key.
        raise error

    async def _send_once(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keep aiohttp from connecting again when a request breaks, which it does unasked."""
        try:
            return await send(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as cause:
            error = self._explain(cause)  # which aiohttp does not know
        raise error  # without a context: see `_guard`

    def _explain(self, cause: aiohttp.ClientError | OSError) -> APIError:
        name = self._address.name
        if isinstance(cause, aiohttp.WSServerHandshakeError):
            return errors.from_http_status(cause.status, cause.headers or {})
        if isinstance(cause, (aiohttp.ClientConnectorCertificateError, ssl.CertificateError)):
            return APIConnectionError(
                f"the TLS certificate of {name} is not trusted here", retryable=False
            )
        if isinstance(cause, ssl.SSLError):  # aiohttp's own, too
            return APIConnectionError(f"TLS with {name} failed; does the server speak it?")
        if isinstance(cause, aiohttp.ClientConnectorError):
            return errors.unreachable(name, _reason(cause))
        if isinstance(cause, (aiohttp.TooManyRedirects, aiohttp.RedirectClientError)):
            return errors.redirected_nowhere()
        return APIConnectionError(f"the connection to Hark at {name} broke ({_reason(cause)})")


class WebSocketLink:
    """One WebSocket and its protocol. Satisfies `Link` once `receive_ready` has returned."""

    ready: Ready

    def __init__(self, has_job_ended: Callable[[], bool]) -> None:
        """Start without a WebSocket: so it can be closed however far its opening got.

        Args:
            has_job_ended: whether that is why the connection is lost.
        """
        self.websocket: aiohttp.ClientWebSocketResponse | None = None
        self.has_job_ended = has_job_ended
        self._connection = Connection(Role.CLIENT)
        self._close_code = CLOSE_NORMAL

    async def receive_ready(self) -> None:
        """Wait for the answer to the first config; see `Link.receive` for what it raises."""
        message = await self.receive()
        assert isinstance(message, Ready)  # the connection allows nothing else first
        self.ready = message

    async def send(self, message: ClientMessage) -> None:
        """See `Link.send`."""
        websocket = self._open_websocket()
        try:
            data = self._connection.send(message)
        except LocalProtocolError as error:
            raise APIError(f"Hark's protocol forbids this: {error}", retryable=False) from None
        try:
            if isinstance(data, bytes):
                await websocket.send_bytes(data)
            else:
                await websocket.send_str(data)
        except (aiohttp.ClientError, OSError) as cause:
            lost: APIError = errors.lost(_reason(cause))
        else:
            return
        raise errors.job_ended() if self.has_job_ended() else lost

    async def receive(self) -> ServerMessage:
        """See `Link.receive`."""
        websocket = self._open_websocket()
        frame = await websocket.receive()
        if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            if self.has_job_ended():
                raise errors.job_ended()
            raise errors.from_close_code(websocket.close_code)
        try:
            message = self._connection.receive(frame.data)
        except RemoteProtocolError as error:
            self._close_code = error.close_code
            was_ready = self._connection.ready is not None
            raise errors.not_hark(str(error), was_ready=was_ready) from None
        if isinstance(message, Error):
            raise errors.from_message(message)
        return message

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        if self.websocket is None:
            return
        connection = _duplicate(self.websocket.get_extra_info("socket"))
        try:
            with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
                await within(GOODBYE_TIMEOUT_S, self.websocket.close(code=self._close_code))
        finally:
            if connection is not None:
                _cut(connection)

    def _open_websocket(self) -> aiohttp.ClientWebSocketResponse:
        assert self.websocket is not None, "used before it was opened"
        return self.websocket


def _duplicate(connection: socket.socket | None) -> socket.socket | None:
    """Another handle of a connection, good for as long as one wants; None if it is closed."""
    try:
        return connection.dup() if connection is not None else None
    except OSError:
        return None


def _cut(connection: socket.socket) -> None:
    """End a connection, with what is unsent: that would keep the socket until somebody reads."""
    with connection, contextlib.suppress(OSError):  # closed in good order
        connection.shutdown(socket.SHUT_RDWR)


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """What an HTTP error means: Hark's own words where the body has them."""
    with contextlib.suppress(msgspec.DecodeError):
        return errors.from_message(msgspec.json.decode(body, type=Error))
    return errors.from_http_status(status, headers)


def _query(options: RecognitionOptions) -> list[tuple[str, str]]:
    """The parameters of docs/protocol.md#transcribing-a-file."""
    query = [("keyterms", term) for term in options.keyterms]
    if options.model is not None:
        query.append(("model", options.model))
    if options.language is not None:
        query.append(("language", options.language))
    if options.words:
        query.append(("words", "true"))
    return query


def _reason(cause: Exception) -> str:
    """Why, without an URL or a header in it."""
    os_error = cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
    text = os_error.strerror if isinstance(os_error, OSError) else None
    return text or type(cause).__name__
