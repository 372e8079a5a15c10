"""Saying no: a request that is not served gets a status, a reason for people, a code for programs.

The body of every HTTP error is the protocol's `error` message: clients know one shape only.
"""

from __future__ import annotations

import math

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from hark.errors import (
    AudioError,
    HarkError,
    LanguageNotSupportedError,
    ModelNotFoundError,
    OptionNotSupportedError,
    OverloadedError,
)
from hark_protocol import (
    CLOSE_POLICY,
    CLOSE_TRY_AGAIN_LATER,
    Error,
    ErrorCode,
    encode,
)


class Refused(Exception):
    """A request that is not served.

    Attributes:
        status: the HTTP status; also for WebSockets, which are refused during their handshake.
        error: what the client is told.
    """

    def __init__(self, status: int, error: Error) -> None:
        super().__init__(f"{status} {error.code}")
        self.status = status
        self.error = error

    def response(self) -> Response:
        """The refusal as an HTTP response."""
        headers = {}
        if self.error.retry_after_s is not None:
            headers["Retry-After"] = str(math.ceil(self.error.retry_after_s))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(encode(self.error), self.status, headers, media_type="application/json")

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal, whichever kind the request is.

        A WebSocket is refused before it is accepted. Closing it there instead would be a 403,
        which clients take for good, so where the ASGI server cannot send a response it is accepted,
        told and closed.
        """
        if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
            await self.response()(scope, receive, send)
            return
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await websocket.send_text(str(encode(self.error)))
        await websocket.close(CLOSE_TRY_AGAIN_LATER if self.error.retryable else CLOSE_POLICY)


def unauthorized() -> Refused:
    """No valid API key."""
    message = (
        "send a valid API key: `Authorization: Bearer KEY`, or from a browser the WebSocket "
        "subprotocols `hark.v1, hark.key.KEY_IN_BASE64URL`"
    )
    return Refused(401, Error.from_code("unauthorized", message))


def loading() -> Refused:
    """The models are not ready yet."""
    message = "the models are still loading"
    return Refused(503, Error.from_code("loading", message, retry_after_s=1))


def not_found() -> Refused:
    """Nothing is at this path."""
    return Refused(404, Error("not_found", "nothing is at this path", retryable=False))


def draining() -> Refused:
    """This server is about to end."""
    message = "this server is about to end; connect again"
    return Refused(503, Error.from_code("draining", message, retry_after_s=1))


def too_many(what: str, limit: int) -> Refused:
    """No room for one more. `what` is what there are too many of, in the plural."""
    message = f"this server takes {limit} {what} at a time; try again later or elsewhere"
    return Refused(503, Error.from_code("too_many_sessions", message, retry_after_s=2))


def invalid(message: str) -> Refused:
    """The request makes no sense; `message` says what is wrong with it."""
    return Refused(400, Error.from_code("invalid_message", message))


def too_large(limit_bytes: int) -> Refused:
    """The uploaded file is larger than the server takes."""
    message = f"an uploaded file may have {limit_bytes} bytes"
    return Refused(413, Error.from_code("message_too_large", message))


def too_slow() -> Refused:
    """The upload does not come in."""
    return Refused(408, Error.from_code("idle_timeout", "the upload took too long"))


def too_slow_head() -> Refused:
    """The request does not come in."""
    return Refused(408, Error.from_code("idle_timeout", "the head of the request took too long"))


def failed() -> Refused:
    """Something broke in the server."""
    return Refused(500, Error.from_code("internal", "the server failed on this request"))


_ANSWERS: tuple[tuple[type[HarkError], int, ErrorCode], ...] = (
    (ModelNotFoundError, 404, "model_not_found"),
    (LanguageNotSupportedError, 400, "language_not_supported"),
    (OptionNotSupportedError, 400, "option_not_supported"),
    (AudioError, 415, "invalid_audio"),
)
"""Errors that are the client's to mend, and what it is told."""


def from_error(error: HarkError) -> Refused:
    """The answer to a request that raised `error`."""
    for kind, status, code in _ANSWERS:
        if isinstance(error, kind):
            return Refused(status, Error.from_code(code, str(error)))
    if isinstance(error, OverloadedError):
        return Refused(503, Error.from_code("too_many_sessions", str(error), retry_after_s=2))
    return failed()
