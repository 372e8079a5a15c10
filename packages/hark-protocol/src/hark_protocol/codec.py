"""Text and binary WebSocket messages to and from message objects. Strict in both directions.

What a peer sent may be speech, so no error text repeats it. Nor does the context of an exception:
all are raised outside the handlers of the exceptions that caused them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar, get_args

import msgspec
from msgspec import Struct

from .errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    PCM16_BYTES_PER_SAMPLE,
    PROTOCOL_VERSION,
    Audio,
    ClientMessage,
    ClientTextMessage,
    Endpointing,
    Message,
    ServerMessage,
)

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


def encode(message: Message) -> str | bytes:
    """Encode a message: `str` for a WebSocket text message, `bytes` for a binary one.

    Raises:
        LocalProtocolError: a field has the wrong type or is out of range; says which.
    """
    if isinstance(message, Audio):
        if problem := _audio_problem(message.pcm):
            raise LocalProtocolError(problem)
        return message.pcm
    try:
        text = _encoder.encode(message).decode()
        problem = _text_problem(message, text)
    except (TypeError, ValueError):  # a foreign object; a string with half a surrogate pair
        problem = f"{name_of(message)} has a field that JSON cannot hold"
    if problem:
        raise LocalProtocolError(problem)
    return text


def decode_client(data: str | bytes) -> ClientMessage:
    """Decode what a client sent.

    Args:
        data: `str` for a WebSocket text message, `bytes` for a binary one.

    Raises:
        RemoteProtocolError: not a client message; names the field at fault.
    """
    if isinstance(data, str):
        return _CLIENT.decode(data)
    if problem := _audio_problem(data):
        raise RemoteProtocolError(problem, code="invalid_audio")
    return Audio(data)


def decode_server(data: str | bytes) -> ServerMessage:
    """Decode what a server sent. See `decode_client`."""
    if isinstance(data, str):
        return _SERVER.decode(data)
    raise RemoteProtocolError("a server sends no binary messages", code="invalid_message")


def name_of(message: Message) -> str:
    """What a message is called on the wire; "audio" for a binary one."""
    tag = message.__struct_config__.tag
    return tag if isinstance(tag, str) else "audio"


def _audio_problem(pcm: bytes) -> str | None:
    if len(pcm) % PCM16_BYTES_PER_SAMPLE == 0:
        return None
    return "audio ends inside a sample: a binary message has an even number of bytes"


def _text_problem(message: Message, text: str) -> str | None:
    """Why a peer would not understand our text as that message, if so."""
    codec: _TextCodec[ClientTextMessage] | _TextCodec[ServerMessage]
    codec = _CLIENT if isinstance(message, get_args(ClientTextMessage)) else _SERVER
    try:
        decoded = codec.decode(text)
    except RemoteProtocolError as error:
        return str(error)
    if decoded != message:  # NaN becomes null; a list comes back as a tuple
        return f"{name_of(message)} has a field of the wrong type or a number not finite"
    return None


class _Envelope(Struct):
    """As much of a message as can be read when the whole cannot."""

    type: str
    version: object = None


_envelope_decoder = msgspec.json.Decoder(_Envelope)


class _TextCodec(Generic[T]):
    """Decodes the text messages of one role, and says what is wrong with those it cannot."""

    def __init__(self, union: object, types: tuple[type[Struct], ...]) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(union)
        self._types: Mapping[str, type[Struct]] = {str(t.__struct_config__.tag): t for t in types}

    def decode(self, text: str) -> T:
        code: ErrorCode = "invalid_message"
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            code, problem = self._explain(str(error), text)
        except msgspec.DecodeError:
            problem = "text message is not JSON"
        except UnicodeEncodeError:
            problem = "text message is not Unicode"
        except RecursionError:
            problem = "text message is nested too deeply"
        raise RemoteProtocolError(problem, code=code)

    def _explain(self, complaint: str, text: str) -> tuple[ErrorCode, str]:
        """Say what a `msgspec.ValidationError` says, without what it quotes of the message."""
        envelope = _read_envelope(text)
        if envelope is None:
            return "invalid_message", "text message is not an object with a string `type`"
        if envelope.type not in self._types:
            return "invalid_message", f"`type` must be one of: {', '.join(self._types)}"
        if isinstance(envelope.version, int) and envelope.version != PROTOCOL_VERSION:
            # Another version has other fields: say what is wrong, not what follows from it.
            return "unsupported_version", f"config.version must be {PROTOCOL_VERSION}"
        if complaint.startswith("Object contains unknown field"):
            nested = complaint.endswith(" - at `$.endpointing`")
            fields = Endpointing if nested else self._types[envelope.type]
            path = envelope.type + ".endpointing" * nested
            names = ", ".join(fields.__struct_fields__) or "none"
            return "invalid_message", f"{path} has an unknown field; its fields are: {names}"
        return "invalid_message", _describe(envelope.type, complaint)


def _read_envelope(text: str) -> _Envelope | None:
    try:
        return _envelope_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


_COMPLAINT = re.compile(
    r"(?P<what>(Expected|Object missing required field|Integer value) .*?)"
    r"( - at `\$(?P<path>[\w.\[\]]*)`)?"
)
"""The complaints that are made of our own field names, types and ranges only."""


def _describe(name: str, complaint: str) -> str:
    match = _COMPLAINT.fullmatch(complaint)
    if match is None:
        return f"{name} is not valid"
    return f"{name}{match['path'] or ''}: {match['what']}"


_CLIENT: _TextCodec[ClientTextMessage] = _TextCodec(ClientTextMessage, get_args(ClientTextMessage))
_SERVER: _TextCodec[ServerMessage] = _TextCodec(ServerMessage, get_args(ServerMessage))
