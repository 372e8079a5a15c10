"""What can be wrong with a protocol message, told apart by whose fault it is.

    ProtocolError
    ├── LocalProtocolError    we tried to send what is not legal now: a bug on our side
    └── RemoteProtocolError   the peer sent what is not legal now, or not a message at all

No text of these exceptions holds anything that the peer sent: it could be speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

CLOSE_NORMAL = 1000
"""`closed` was the last message."""

CLOSE_GOING_AWAY = 1001
"""The server ends the session in good order; it may go on over a new connection."""

CLOSE_UNSUPPORTED_DATA = 1003
"""The client speaks another version of the protocol."""

CLOSE_INVALID_DATA = 1007
"""A message could not be decoded."""

CLOSE_POLICY = 1008
"""A message came at the wrong time, or asked for what is not to be had."""

CLOSE_TOO_BIG = 1009
"""A message was larger than `max_message_bytes`."""

CLOSE_INTERNAL = 1011
"""Something broke in the server."""

CLOSE_TRY_AGAIN_LATER = 1013
"""No room at the moment."""

ErrorCode = Literal[
    "invalid_message",
    "invalid_audio",
    "unexpected_message",
    "unsupported_version",
    "message_too_large",
    "unauthorized",
    "model_not_found",
    "language_not_supported",
    "option_not_supported",
    "too_many_sessions",
    "loading",
    "session_too_long",
    "idle_timeout",
    "slow_reader",
    "draining",
    "internal",
]


class ErrorKind(NamedTuple):
    """What follows from an error code.

    Attributes:
        retryable: whether the same session may succeed on a new connection.
        close_code: the WebSocket close code that comes after the `error` message. It alone tells a
            retryable error from another: 1001, 1011 and 1013 are retryable, the rest are not.
    """

    retryable: bool
    close_code: int


ERROR_KINDS: Mapping[ErrorCode, ErrorKind] = MappingProxyType(
    {
        "invalid_message": ErrorKind(False, CLOSE_INVALID_DATA),
        "invalid_audio": ErrorKind(False, CLOSE_INVALID_DATA),
        "unexpected_message": ErrorKind(False, CLOSE_POLICY),
        "unsupported_version": ErrorKind(False, CLOSE_UNSUPPORTED_DATA),
        "message_too_large": ErrorKind(False, CLOSE_TOO_BIG),
        "unauthorized": ErrorKind(False, CLOSE_POLICY),
        "model_not_found": ErrorKind(False, CLOSE_POLICY),
        "language_not_supported": ErrorKind(False, CLOSE_POLICY),
        "option_not_supported": ErrorKind(False, CLOSE_POLICY),
        "too_many_sessions": ErrorKind(True, CLOSE_TRY_AGAIN_LATER),
        "loading": ErrorKind(True, CLOSE_TRY_AGAIN_LATER),
        "session_too_long": ErrorKind(True, CLOSE_GOING_AWAY),
        "idle_timeout": ErrorKind(True, CLOSE_GOING_AWAY),
        "slow_reader": ErrorKind(True, CLOSE_TRY_AGAIN_LATER),
        "draining": ErrorKind(True, CLOSE_GOING_AWAY),
        "internal": ErrorKind(True, CLOSE_INTERNAL),
    }
)
"""The table of docs/protocol.md#errors."""


class ProtocolError(Exception):
    """Base of both; never raised itself."""


class LocalProtocolError(ProtocolError):
    """The caller asked for a message that is illegal in the present state, or not a message."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    Attributes:
        code: what a server answers, in an `error` message.
    """

    def __init__(self, message: str, *, code: ErrorCode) -> None:
        super().__init__(message)
        self.code = code

    @property
    def close_code(self) -> int:
        """The WebSocket close code that answers this error (docs/protocol.md#close-codes)."""
        return ERROR_KINDS[self.code].close_code
