"""The messages of the Hark protocol, version 1 (docs/protocol.md says what each one means).

Every position is a count of samples at the session's `sample_rate`, from the start of the stream: a
resumed stream goes on counting where the lost connection was (`Config.start_sample`).

Client messages refuse unknown fields, so that a misspelt option is an error and not a silence.
Server messages let unknown fields pass, so that an old client can talk to a newer server.

A constraint (`Meta`) is checked whenever a message is encoded or decoded, not when it is made.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from .errors import ERROR_KINDS, ErrorCode

PROTOCOL_VERSION = 1

PCM16_BYTES_PER_SAMPLE = 2

MIN_SAMPLE_RATE = 8_000
"""Hz; telephone speech. Below it no engine is of use."""

MAX_SAMPLE_RATE = 48_000
"""Hz; the rate of WebRTC's Opus. Above it there is no more speech to hear."""

DEFAULT_SAMPLE_RATE = 16_000
"""Hz; the rate at which speech models hear."""

MAX_POSITION = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

MAX_KEYTERMS = 100
"""Terms in one config."""

MAX_KEYTERM_LENGTH = 64
"""Characters in one term."""

DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024
"""What a peer takes in one message unless told otherwise; no server message is larger."""

LEAST_MAX_MESSAGE_BYTES = 64 * 1024
"""What every server takes in one message, so what a client may send before `ready` tells it more.

The longest legal config (`MAX_KEYTERMS` terms, every character escaped) is smaller.
"""

Position = Annotated[int, Meta(ge=0, le=MAX_POSITION)]
"""Samples at the session's rate, from the start of the stream."""

Identifier = Annotated[int, Meta(ge=0, le=MAX_POSITION)]
"""Rises within a connection."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]

Language = Annotated[str, Meta(max_length=35, pattern=r"\A[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*\Z")]
"""A BCP 47 tag. 35 characters is the least that its readers must take (RFC 5646, section 4.4.1)."""

Keyterm = Annotated[str, Meta(min_length=1, max_length=MAX_KEYTERM_LENGTH)]

Confidence = Annotated[float, Meta(ge=0, le=1)]


class Endpointing(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How utterances are told apart. Every field left out keeps its value.

    Attributes:
        silence_ms: silence that ends an utterance, in milliseconds.
        max_silence_ms: the same where the end-of-turn model is sure that the speaker will go on,
            in milliseconds. No such model is asked where it is not above `silence_ms`.
        threshold: speech probability from which a window counts as speech.
        min_speech_ms: speech needed to open an utterance, in milliseconds.
        max_utterance_ms: an utterance longer than this is cut, at a pause where there is one.
    """

    silence_ms: Annotated[int, Meta(ge=160, le=10_000)] | UnsetType = UNSET
    max_silence_ms: Annotated[int, Meta(ge=0, le=10_000)] | UnsetType = UNSET
    threshold: Annotated[float, Meta(ge=0.05, le=0.95)] | UnsetType = UNSET
    min_speech_ms: Annotated[int, Meta(ge=0, le=1_000)] | UnsetType = UNSET
    max_utterance_ms: Annotated[int, Meta(ge=2_000, le=30_000)] | UnsetType = UNSET


class Config(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag="config"):
    """The first client message, and again at any time to change options in-band.

    A field left out means the server's default in the first config, and "as before" in a later one.
    `FIRST_CONFIG_FIELDS` may stand in the first only, where `version` is required.

    Attributes:
        version: `PROTOCOL_VERSION`.
        model: a model of the server.
        language: what is spoken; None lets the model decide.
        sample_rate: Hz; `DEFAULT_SAMPLE_RATE` when left out.
        interim_results: whether interims and preflights are wanted.
        words: whether word times are wanted.
        keyterms: terms to lean towards; an empty tuple takes them back.
        endpointing: how utterances are told apart.
        start_sample: position of the first audio that is new; 0 when left out.
        context_sample: position of the first audio that will follow, where that is not
            `start_sample` but before it: audio that was finalized, as context for what is new.
    """

    version: int | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    language: Language | UnsetType | None = UNSET
    sample_rate: Annotated[int, Meta(ge=MIN_SAMPLE_RATE, le=MAX_SAMPLE_RATE)] | UnsetType = UNSET
    interim_results: bool | UnsetType = UNSET
    words: bool | UnsetType = UNSET
    keyterms: Annotated[tuple[Keyterm, ...], Meta(max_length=MAX_KEYTERMS)] | UnsetType = UNSET
    endpointing: Endpointing | UnsetType = UNSET
    start_sample: Position | UnsetType = UNSET
    context_sample: Position | UnsetType = UNSET


FIRST_CONFIG_FIELDS = ("version", "model", "sample_rate", "start_sample", "context_sample")
"""What is fixed for a session: a later config that has one of these is refused."""


class Audio(Struct, frozen=True):
    """A binary message: little-endian PCM16 mono samples. Not JSON, hence no tag.

    Attributes:
        pcm: whole samples, so an even number of bytes; may be empty.
    """

    pcm: bytes


class Flush(Struct, frozen=True, forbid_unknown_fields=True, tag="flush"):
    """Finalise all audio sent so far, now. Ids are chosen by the client and must rise."""

    id: Identifier


class Close(Struct, frozen=True, forbid_unknown_fields=True, tag="close"):
    """No more audio will come: finalise everything, then answer `closed`."""


class Capabilities(Struct, frozen=True):
    """What the model of this session can do; what it cannot do is never invented.

    Attributes:
        languages: BCP 47 tags it recognises.
        words: gives word times.
        confidence: gives confidences.
        keyterms: can be biased towards terms.
        streaming: its state advances with the audio, rather than decoding the utterance again.
        language_detection: can be left to find the language itself.
    """

    languages: tuple[Language, ...]
    words: bool
    confidence: bool
    keyterms: bool
    streaming: bool
    language_detection: bool


class Limits(Struct, frozen=True):
    """What the server will put up with; beyond it the session ends with an error.

    Attributes:
        max_message_bytes: largest message that the server takes; text counts as UTF-8.
        max_session_s: longest session, in seconds of audio; 0 for no limit.
        idle_timeout_s: longest time with neither audio nor another message, in seconds.
    """

    max_message_bytes: Annotated[int, Meta(ge=LEAST_MAX_MESSAGE_BYTES)]
    max_session_s: Annotated[int, Meta(ge=0)]
    idle_timeout_s: Annotated[float, Meta(gt=0)]


class Ready(Struct, frozen=True, tag="ready"):
    """The answer to the first config.

    Attributes:
        session: names the session in the server's logs.
        model: the model in use.
        language: the language in use; None where the model decides.
        capabilities: what the model can do.
        limits: what the server will put up with.
    """

    session: Name
    model: Name
    language: Language | None
    capabilities: Capabilities
    limits: Limits


class SpeechStarted(Struct, frozen=True, tag="speech_started"):
    """An utterance was opened. `start` includes the padding before the first speech."""

    utterance: Identifier
    start: Position


class Word(Struct, frozen=True, omit_defaults=True):
    """One word and where it was said, inside its utterance and not before the word before it."""

    text: str
    start: Position
    end: Position
    confidence: Confidence | None = None


class Interim(Struct, frozen=True, omit_defaults=True, tag="interim"):
    """The present hypothesis of the open utterance; the next one replaces it.

    Attributes:
        utterance: the open one.
        start: where the utterance starts.
        end: how far the audio was decoded.
        text: the hypothesis.
        stable: the leading characters (Unicode code points) of `text` that are not expected to
            change any more.
        confidence: None where the model gives none.
        language: None where it is not known.
        words: None where the model gives no times or none were asked for.
    """

    utterance: Identifier
    start: Position
    end: Position
    text: str
    stable: Annotated[int, Meta(ge=0)] = 0
    confidence: Confidence | None = None
    language: Language | None = None
    words: tuple[Word, ...] | None = None


class Preflight(Struct, frozen=True, omit_defaults=True, tag="preflight"):
    """A hypothesis good enough to start replying on. If speech goes on, an interim takes it back.

    The fields are those of `Interim`, but for `stable`.
    """

    utterance: Identifier
    start: Position
    end: Position
    text: str
    confidence: Confidence | None = None
    language: Language | None = None
    words: tuple[Word, ...] | None = None


class Final(Struct, frozen=True, omit_defaults=True, tag="final"):
    """The text of an utterance, for good: exactly one for each utterance, even when it is empty.

    The fields are those of `Interim`, but for `stable`; `end` is where the utterance ends, and all
    audio before it is done with.

    Attributes:
        failed: whether the model failed on the utterance: `text` is empty then, whatever was said.
    """

    utterance: Identifier
    start: Position
    end: Position
    text: str
    confidence: Confidence | None = None
    language: Language | None = None
    words: tuple[Word, ...] | None = None
    failed: bool = False


class SpeechEnded(Struct, frozen=True, tag="speech_ended"):
    """The utterance is closed; it follows the utterance's final.

    Attributes:
        utterance: the one that was open.
        end: where its last speech was: not after the final's `end`, which has padding.
    """

    utterance: Identifier
    end: Position


class Progress(Struct, frozen=True, omit_defaults=True, tag="progress"):
    """How far the server is; at least once a second while audio flows, and after each final.

    Attributes:
        received: all samples before this position have been received and looked at.
        finalized: all samples before this position are done with: the client may forget them.
        context: the samples from here to `finalized` help to recognise what follows; left out
            where none do.
    """

    received: Position
    finalized: Position
    context: Position | UnsetType = UNSET


class Flushed(Struct, frozen=True, tag="flushed"):
    """The answer to the oldest unanswered `flush`, after all finals it caused."""

    id: Identifier


class Draining(Struct, frozen=True, tag="draining"):
    """This server is about to end: please move to another at the next utterance boundary."""


class Closed(Struct, frozen=True, tag="closed"):
    """The answer to `close`: all finals have been sent. The WebSocket is then closed with 1000."""


class Error(Struct, frozen=True, omit_defaults=True, tag="error"):
    """The session is over.

    Attributes:
        code: what is wrong, for programs: an `ErrorCode`, or one that a newer server knows.
        message: what is wrong and what to do, for people; never speech text, never a credential.
        retryable: whether the same session may succeed on a new connection.
        retry_after_s: seconds to wait before that, where the server knows.
    """

    code: Name
    message: str
    retryable: bool
    retry_after_s: Annotated[float, Meta(ge=0)] | None = None

    @classmethod
    def from_code(
        cls, code: ErrorCode, message: str, *, retry_after_s: float | None = None
    ) -> Error:
        """Make an error whose `retryable` is what docs/protocol.md#errors says of its code."""
        return cls(code, message, ERROR_KINDS[code].retryable, retry_after_s)


ClientMessage = Config | Audio | Flush | Close
ClientTextMessage = Config | Flush | Close
ServerMessage = (
    Ready
    | SpeechStarted
    | Interim
    | Preflight
    | Final
    | SpeechEnded
    | Progress
    | Flushed
    | Draining
    | Closed
    | Error
)
Message = ClientMessage | ServerMessage
