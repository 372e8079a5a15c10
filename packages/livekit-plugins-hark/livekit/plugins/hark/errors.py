"""What goes wrong, as LiveKit's errors: the one place that decides kind, retryability and wording.

    APIError                      from livekit.agents; nothing else leaves the plugin
    ├── APIConnectionError        no connection, or it was lost
    │   ├── APITimeoutError       the other side did not answer in time
    │   └── JobEndedError         ours; it ends a stream, and nobody is told
    └── APIStatusError
        └── RefusedError          the other side said no; may say when to come back

No message holds an API key: an error is built from a status, a code or a type, never from a
request.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from livekit.agents import APIConnectionError, APIError, APIStatusError

from hark_protocol import (
    CLOSE_INVALID_DATA,
    CLOSE_POLICY,
    CLOSE_TOO_BIG,
    CLOSE_UNSUPPORTED_DATA,
    Error,
)

_STATUS_OF_CODE: Mapping[str, int] = {
    "invalid_message": 400,
    "invalid_audio": 400,
    "unexpected_message": 400,
    "unsupported_version": 400,
    "unauthorized": 401,
    "model_not_found": 404,
    "language_not_supported": 400,
    "option_not_supported": 400,
    "too_many_sessions": 503,
    "loading": 503,
    "session_too_long": 503,
    "message_too_large": 413,
    "idle_timeout": 408,
    "slow_reader": 408,
    "draining": 503,
    "internal": 500,
}

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "pass a valid api_key, or set HARK_API_KEY",
    HTTPStatus.FORBIDDEN: "this api_key may not use the server, or a proxy is in the way",
    HTTPStatus.NOT_FOUND: "no Hark server at this path; check api_url",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests; they are tried again",
    HTTPStatus.SERVICE_UNAVAILABLE: "the server is starting, full or about to end",
}

_PASSING_STATUSES = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)

# docs/protocol.md#close-codes: what the server found wrong with us, which a new connection would
# not change.
_PERMANENT_CLOSE_CODES = frozenset(
    {CLOSE_UNSUPPORTED_DATA, CLOSE_INVALID_DATA, CLOSE_POLICY, CLOSE_TOO_BIG}
)


class RefusedError(APIStatusError):
    """The recogniser said no.

    Attributes:
        code: Hark's error code (docs/protocol.md#errors); None where only an HTTP status came.
        retry_after_s: seconds after which trying again makes sense; 0 where the recogniser did not
            say.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        retryable: bool,
        code: str | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, status_code=status_code, retryable=retryable)
        self.code = code
        self.retry_after_s = retry_after_s


class JobEndedError(APIConnectionError):
    """LiveKit has closed the HTTP session of its job, so nobody waits for more."""


def job_ended() -> JobEndedError:
    """The HTTP session of the job that a connection belonged to is closed."""
    return JobEndedError("the LiveKit job has ended", retryable=False)


def unreachable(name: str, reason: str) -> APIConnectionError:
    """No connection to a server.

    Args:
        name: host and port.
        reason: why.
    """
    return APIConnectionError(f"no Hark server reachable at {name} ({reason}); is it running?")


def redirected_nowhere() -> APIConnectionError:
    """A server that sent a recording on and on, or to what is no address."""
    return APIConnectionError(
        "no Hark server here, but something that redirects to no end; check api_url",
        retryable=False,
    )


def from_http_status(status: int, headers: Mapping[str, str]) -> RefusedError:
    """A server that answered a request with an HTTP error.

    Args:
        status: of the response.
        headers: of the response; `Retry-After` tells when to come back, `Location` where else.
    """
    if status < 400:
        return RefusedError(
            f"no Hark server here, but something that answers HTTP {status}{_elsewhere(headers)}; "
            "check api_url",
            status_code=status,
            retryable=False,
        )
    return RefusedError(
        f"Hark refused the request with HTTP {status}: {_ADVICE.get(status, _phrase(status))}",
        status_code=status,
        retryable=status >= 500 or status in _PASSING_STATUSES,
        retry_after_s=_retry_after_s(headers),
    )


def _elsewhere(headers: Mapping[str, str]) -> str:
    """Where a redirect leads: scheme and host, for the rest may hold a key."""
    try:
        url = urlsplit(headers.get("Location", ""))
    except ValueError:
        return ""
    return f" and points to {url.scheme}://{url.hostname}" if url.hostname else ""


def from_message(error: Error) -> RefusedError:
    """The protocol's own `error` message."""
    # A newer server may have codes that are not known here.
    status = _STATUS_OF_CODE.get(error.code, 500 if error.retryable else 400)
    return RefusedError(
        f"Hark refused: {error.message} ({error.code})",
        status_code=status,
        retryable=error.retryable,
        code=error.code,
        retry_after_s=error.retry_after_s or 0.0,
    )


def from_close_code(code: int | None) -> APIConnectionError:
    """A WebSocket that ended before the session was over, without an `error`."""
    return APIConnectionError(
        f"the connection to Hark ended early (close code {code})",
        retryable=code not in _PERMANENT_CLOSE_CODES,
    )


def not_recognised() -> APIError:
    """Audio that the recogniser failed on; trying it again would not help."""
    return APIError("Hark failed to recognise an utterance; its final is empty", retryable=False)


def lost(reason: str) -> APIConnectionError:
    """A connection that broke while it was used."""
    return APIConnectionError(f"the connection to Hark was lost ({reason})")


def not_hark(problem: str, *, was_ready: bool) -> APIConnectionError:
    """A peer that broke the protocol.

    Args:
        problem: what is wrong.
        was_ready: whether it spoke the protocol at first; if it never did, trying again is of no
            use.
    """
    if was_ready:
        return APIConnectionError(f"Hark's server broke the protocol: {problem}")
    return APIConnectionError(
        f"this is not a Hark server, or one of another version: {problem}; check api_url",
        retryable=False,
    )


def retry_after_s(error: APIError) -> float:
    """How long the error asks to wait before the next attempt; 0 where it does not ask."""
    return error.retry_after_s if isinstance(error, RefusedError) else 0.0


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds that `Retry-After` asks for: it is a number of them, or a date (RFC 9110, 10.2.3)."""
    retry_after = headers.get("Retry-After", "").strip()
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    then = _date(retry_after)
    if then is None:
        return 0.0
    # By the sender's own clock: ours may differ.
    now = _date(headers.get("Date", "")) or datetime.now(timezone.utc)
    return max(0.0, (then - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no standard meaning"
