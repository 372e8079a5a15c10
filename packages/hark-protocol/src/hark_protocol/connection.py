"""One session as either of its ends sees it: which messages are legal now, in both directions.

`_Conversation` holds the rules and does not know which role is ours: it takes the messages of both
sides in the order in which one end sees them. `Connection` adds the role: what we send wrongly is a
`LocalProtocolError`, what the peer sends wrongly is a `RemoteProtocolError`.

Messages cross on their way, so the two ends see them in different orders. Every rule about what one
side sends therefore holds however many of the other side's messages are still on their way: the
same rules serve both ends, and no legal peer is ever refused because of a crossing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Generic, Literal, TypeVar, cast, overload

from msgspec import UNSET

from .codec import decode_client, decode_server, encode, name_of
from .errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DEFAULT_SAMPLE_RATE,
    FIRST_CONFIG_FIELDS,
    LEAST_MAX_MESSAGE_BYTES,
    PCM16_BYTES_PER_SAMPLE,
    PROTOCOL_VERSION,
    Audio,
    ClientMessage,
    Close,
    Closed,
    Config,
    Draining,
    Error,
    Final,
    Flush,
    Flushed,
    Interim,
    Message,
    Preflight,
    Progress,
    Ready,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
)


class Role(Enum):
    """Which end of the connection one is."""

    CLIENT = "client"
    SERVER = "server"


class _Client(Enum):
    """What the client has said so far."""

    NEW = "before the first config"
    STREAMING = "after config"
    DONE = "after close"


class _Server(Enum):
    """What the server has said so far."""

    NEW = "before ready"
    IDLE = "while no utterance is open"
    SPEECH = "while an utterance is open"
    FINALIZED = "between final and speech_ended"
    CLOSED = "after closed"
    FAILED = "after error"


_State = _Client | _Server

_LEGAL: Mapping[_State, Mapping[type[Message], _State]] = {
    _Client.NEW: {
        Config: _Client.STREAMING,
    },
    _Client.STREAMING: {
        Config: _Client.STREAMING,
        Audio: _Client.STREAMING,
        Flush: _Client.STREAMING,
        Close: _Client.DONE,
    },
    _Client.DONE: {},
    _Server.NEW: {
        Ready: _Server.IDLE,
        Error: _Server.FAILED,
    },
    _Server.IDLE: {
        SpeechStarted: _Server.SPEECH,
        Progress: _Server.IDLE,
        Flushed: _Server.IDLE,
        Draining: _Server.IDLE,
        Closed: _Server.CLOSED,
        Error: _Server.FAILED,
    },
    _Server.SPEECH: {
        Interim: _Server.SPEECH,
        Preflight: _Server.SPEECH,
        Final: _Server.FINALIZED,
        Progress: _Server.SPEECH,
        Draining: _Server.SPEECH,
        Error: _Server.FAILED,
    },
    _Server.FINALIZED: {
        SpeechEnded: _Server.IDLE,
        Progress: _Server.FINALIZED,
        Draining: _Server.FINALIZED,
        Error: _Server.FAILED,
    },
    _Server.CLOSED: {},
    _Server.FAILED: {},
}
"""The messages that each state allows, and the state that follows (docs/protocol.md#order)."""


class _Illegal(Exception):
    """A message that breaks a rule. Its text is made of names and positions only."""

    def __init__(self, problem: str, code: ErrorCode = "unexpected_message") -> None:
        super().__init__(problem)
        self.code = code


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _Illegal(problem)


class _Conversation:
    """The messages of both sides so far, as far as they decide about the next.

    A message that breaks a rule changes nothing.
    """

    def __init__(self) -> None:
        self.client = _Client.NEW
        self.server = _Server.NEW
        self.ready: Ready | None = None
        self.is_draining = False
        self.sample_rate = DEFAULT_SAMPLE_RATE
        self.start_sample = 0
        self.audio_end = 0  # position after the last audio
        self.received = 0
        self.finalized = 0  # by progress, or by a final
        self.context = 0  # audio before this is of no more use
        self._utterance = -1  # the last one opened
        self._utterance_start = 0
        self._utterance_end = 0  # once it has its final
        self._flushes: deque[int] = deque()  # unanswered
        self._last_flush = -1

    def take(self, sender: Role, message: Message) -> None:
        """Take the next message, as seen at one end.

        Raises:
            _Illegal: it may not be sent now.
        """
        if sender is Role.CLIENT and self.server is _Server.FAILED:
            return  # it crossed the error on its way, and nobody is going to act on it
        state = self.client if sender is Role.CLIENT else self.server
        following = _LEGAL[state].get(type(message))
        if following is None:
            raise _Illegal(f"{name_of(message)} is not legal {state.value}")
        self._apply_rule(message)
        if isinstance(following, _Client):
            self.client = following
        else:
            self.server = following

    def _apply_rule(self, message: Message) -> None:
        match message:
            case Audio():
                self.audio_end += len(message.pcm) // PCM16_BYTES_PER_SAMPLE
            case Config():
                self._config(message)
            case Flush():
                self._flush(message)
            case Ready():
                self._ready(message)
            case SpeechStarted():
                self._speech_started(message)
            case Interim() | Preflight() | Final():
                self._transcript(message)
            case SpeechEnded():
                self._speech_ended(message)
            case Progress():
                self._progress(message)
            case Flushed():
                self._flushed(message)
            case Draining():
                _require(not self.is_draining, "draining comes once")
                self.is_draining = True
            case Closed():
                _require(self.client is _Client.DONE, "closed answers close, which has not come")
                _require(not self._flushes, "closed comes after every flush is answered")
            case Close() | Error():
                pass

    def _config(self, config: Config) -> None:
        if self.client is not _Client.NEW:
            for name in FIRST_CONFIG_FIELDS:
                is_set = getattr(config, name) is not UNSET
                _require(not is_set, f"config.{name} may stand in the first config only")
            return
        if config.version != PROTOCOL_VERSION:
            raise _Illegal(f"config.version must be {PROTOCOL_VERSION}", "unsupported_version")
        start = 0 if config.start_sample is UNSET else config.start_sample
        first = start if config.context_sample is UNSET else config.context_sample
        _require(first <= start, "config.context_sample is after its start_sample")
        if config.sample_rate is not UNSET:
            self.sample_rate = config.sample_rate
        self.start_sample = start
        self.audio_end = self.received = self.context = first
        self.finalized = self.start_sample

    def _flush(self, flush: Flush) -> None:
        _require(flush.id > self._last_flush, "flush.id must rise")
        self._last_flush = flush.id
        self._flushes.append(flush.id)

    def _ready(self, ready: Ready) -> None:
        _require(self.client is not _Client.NEW, "ready answers config, which has not come")
        self.ready = ready

    def _speech_started(self, message: SpeechStarted) -> None:
        _require(message.utterance > self._utterance, "speech_started.utterance must rise")
        _require(
            message.start >= self.finalized, "speech_started.start is in audio that was finalized"
        )
        _require(message.start <= self.audio_end, "speech_started.start is after the audio")
        self._utterance = message.utterance
        self._utterance_start = message.start

    def _transcript(self, message: Interim | Preflight | Final) -> None:
        name = name_of(message)
        _require(message.utterance == self._utterance, f"{name}.utterance is not the open one")
        _require(
            message.start == self._utterance_start,
            f"{name}.start differs from that of speech_started",
        )
        _require(message.end >= message.start, f"{name}.end is before its start")
        _require(message.end <= self.audio_end, f"{name}.end is after the audio")
        _check_words(name, message.words or (), message.start, message.end)
        if isinstance(message, Interim):
            _require(message.stable <= len(message.text), "interim.stable is more than its text")
        if isinstance(message, Final):
            self._utterance_end = self.finalized = message.end

    def _speech_ended(self, message: SpeechEnded) -> None:
        _require(message.utterance == self._utterance, "speech_ended.utterance is not the open one")
        _require(
            self._utterance_start <= message.end <= self._utterance_end,
            "speech_ended.end is outside its utterance",
        )

    def _progress(self, message: Progress) -> None:
        _require(message.received >= self.received, "progress.received went back")
        _require(message.received <= self.audio_end, "progress.received is after the audio")
        _require(message.finalized >= self.finalized, "progress.finalized went back")
        _require(
            message.finalized <= max(message.received, self.start_sample),
            "progress.finalized is after received",
        )
        context = message.finalized if message.context is UNSET else message.context
        _require(context <= message.finalized, "progress.context is after finalized")
        _require(context >= self.context, "progress.context went back")
        _require(
            self.server is not _Server.SPEECH or message.finalized <= self._utterance_start,
            "progress.finalized is inside an utterance that has no final yet",
        )
        self.received = message.received
        self.finalized = message.finalized
        self.context = context

    def _flushed(self, message: Flushed) -> None:
        oldest = self._flushes[0] if self._flushes else None
        _require(message.id == oldest, "flushed.id is not that of the oldest unanswered flush")
        self._flushes.popleft()


def _check_words(name: str, words: tuple[Word, ...], start: int, end: int) -> None:
    earliest = start
    for word in words:
        _require(
            earliest <= word.start <= word.end <= end,
            f"{name}.words are not in order inside the utterance",
        )
        earliest = word.start


Sent = TypeVar("Sent", bound=Message)
Received = TypeVar("Received", bound=Message)


class Connection(Generic[Sent, Received]):
    """One end of a session: encodes what is sent, decodes what is received, and checks both.

    It does no I/O, reads no clock and starts nothing: the caller hands what `send` gives to the
    WebSocket, and what the WebSocket gives to `receive`. Not safe for use by several threads.
    A message that raises changes nothing, so a server can still send an `error` after the client's
    mistake. A WebSocket that ends before `is_closed` was a lost connection.
    """

    @overload
    def __init__(
        self: Connection[ClientMessage, ServerMessage],
        role: Literal[Role.CLIENT],
        *,
        max_message_bytes: int = ...,
    ) -> None: ...

    @overload
    def __init__(
        self: Connection[ServerMessage, ClientMessage],
        role: Literal[Role.SERVER],
        *,
        max_message_bytes: int = ...,
    ) -> None: ...

    def __init__(self, role: Role, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        """Start before the first config.

        Args:
            role: which end this is.
            max_message_bytes: largest message to receive. A server announces it in `ready.limits`;
                what a client sends is held to what was announced.
        """
        self._role = role
        self._peer = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self._max_message_bytes = max_message_bytes
        self._conversation = _Conversation()

    def send(self, message: Sent) -> str | bytes:
        """Encode a message of ours: `str` for a WebSocket text message, `bytes` for a binary one.

        A client may go on sending after `error` came: it can learn of it too late to stop.

        Raises:
            LocalProtocolError: the message is illegal now, has a field out of range or is too
                large; it must not be sent, and nothing has changed.
        """
        data = encode(message)
        limit = self._send_limit()
        if _size(data) > limit:
            raise LocalProtocolError(f"{name_of(message)} is larger than {limit} bytes")
        problem = self._take(self._role, message)
        if problem is not None:
            raise LocalProtocolError(str(problem))
        return data

    def receive(self, data: str | bytes) -> Received:
        """Decode a message of the peer's.

        After a server has sent `error`, whatever the client still had on its way is decoded and
        returned without a look at its order; ignore it.

        Args:
            data: `str` from a WebSocket text message, `bytes` from a binary one.

        Raises:
            RemoteProtocolError: not a message, or illegal now; says with which code to close.
        """
        if _size(data) > self._max_message_bytes:
            raise RemoteProtocolError(
                f"message is larger than {self._max_message_bytes} bytes", code="message_too_large"
            )
        message = decode_server(data) if self._role is Role.CLIENT else decode_client(data)
        problem = self._take(self._peer, message)
        if problem is not None:
            raise RemoteProtocolError(str(problem), code=problem.code)
        return cast(Received, message)

    def _take(self, sender: Role, message: Message) -> _Illegal | None:
        try:
            self._conversation.take(sender, message)
        except _Illegal as problem:
            return problem
        return None

    def _send_limit(self) -> int:
        if self._role is Role.SERVER:
            return DEFAULT_MAX_MESSAGE_BYTES
        ready = self._conversation.ready
        return ready.limits.max_message_bytes if ready is not None else LEAST_MAX_MESSAGE_BYTES

    @property
    def role(self) -> Role:
        """Which end this is."""
        return self._role

    @property
    def ready(self) -> Ready | None:
        """The server's answer to the first config; None before it."""
        return self._conversation.ready

    @property
    def is_open(self) -> bool:
        """Whether `ready` was seen and the session is not over yet."""
        return self.ready is not None and not self.is_closed

    @property
    def is_closing(self) -> bool:
        """Whether the client has sent `close`: it may send nothing more."""
        return self._conversation.client is _Client.DONE

    @property
    def is_closed(self) -> bool:
        """Whether the session is over: `closed` or `error` was seen."""
        return self._conversation.server in (_Server.CLOSED, _Server.FAILED)

    @property
    def is_draining(self) -> bool:
        """Whether the server has asked the client to move."""
        return self._conversation.is_draining

    @property
    def has_open_utterance(self) -> bool:
        """Whether an utterance was started that has not ended."""
        return self._conversation.server in (_Server.SPEECH, _Server.FINALIZED)

    @property
    def sample_rate(self) -> int:
        """Hz; of the audio and of all positions."""
        return self._conversation.sample_rate

    @property
    def start_sample(self) -> int:
        """Position of the session's first sample."""
        return self._conversation.start_sample

    @property
    def audio_end(self) -> int:
        """Position after the last audio that the client has sent, as far as this end knows."""
        return self._conversation.audio_end

    @property
    def context(self) -> int:
        """Position from which on audio helps to recognise what is not finalised."""
        return self._conversation.context

    @property
    def finalized(self) -> int:
        """Position before which the client may forget the audio; a resumed session starts here.

        It is the `finalized` of the last progress, or the end of the last final if that came later.
        """
        return self._conversation.finalized


def _size(data: str | bytes) -> int:
    """Bytes on the wire; half a surrogate pair, which has none, is left to the codec to refuse."""
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode("utf-8", "surrogatepass"))
