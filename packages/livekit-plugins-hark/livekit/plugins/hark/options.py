"""What a caller asks of the recogniser and of the connection to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from livekit.agents.language import LanguageCode
from msgspec import UNSET

from hark_protocol import (
    DEFAULT_SAMPLE_RATE,
    MAX_KEYTERM_LENGTH,
    MAX_KEYTERMS,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    PROTOCOL_VERSION,
    Config,
    Endpointing,
    LocalProtocolError,
    encode,
)

_ENDPOINTING_FIELDS = {
    "endpointing_silence_ms": "silence_ms",
    "max_endpointing_silence_ms": "max_silence_ms",
    "vad_threshold": "threshold",
    "min_speech_ms": "min_speech_ms",
    "max_utterance_ms": "max_utterance_ms",
}

_CONNECTION_RANGES = {
    "sample_rate": (MIN_SAMPLE_RATE, MAX_SAMPLE_RATE),
    "replay_s": (1, 3_600),
    "liveness_timeout_s": (0.1, 600),
    "reconnect_budget_s": (0, 86_400),
}


class OptionChanges(TypedDict, total=False):
    """What `update_options` takes: the fields of `RecognitionOptions` that are to change."""

    model: str
    language: str | None
    interim_results: bool
    words: bool
    keyterms: tuple[str, ...]
    endpointing_silence_ms: int
    max_endpointing_silence_ms: int
    vad_threshold: float
    min_speech_ms: int
    max_utterance_ms: int


@dataclass(frozen=True, slots=True)
class RecognitionOptions:
    """What is asked of the recogniser, on the wire in `config`. None leaves it to the recogniser.

    Attributes:
        model: name of a model.
        language: BCP 47 code; English names are taken too and turned into codes.
        interim_results: whether hypotheses of open utterances are wanted.
        words: whether word times are wanted; a model without them refuses.
        keyterms: terms to lean towards; a model without them refuses.
        endpointing_silence_ms: silence that ends an utterance.
        max_endpointing_silence_ms: the same where the end-of-turn model is sure that the speaker
            will go on; not above the other, no such model is asked.
        vad_threshold: speech probability, 0 to 1, from which a window counts as speech.
        min_speech_ms: speech needed to open an utterance.
        max_utterance_ms: an utterance longer than this is cut.

    Raises:
        ValueError: a value is out of range; the message names the option and its range.
    """

    model: str | None = None
    language: str | None = None
    interim_results: bool = True
    words: bool = False
    keyterms: tuple[str, ...] = ()
    endpointing_silence_ms: int | None = None
    max_endpointing_silence_ms: int | None = None
    vad_threshold: float | None = None
    min_speech_ms: int | None = None
    max_utterance_ms: int | None = None

    def __post_init__(self) -> None:
        """Let the protocol check everything, so that nothing wrong goes on the wire."""
        if self.language is not None:
            object.__setattr__(self, "language", str(LanguageCode(self.language)))
        object.__setattr__(self, "keyterms", tuple(self.keyterms))
        try:
            first = self.first_config(
                sample_rate=DEFAULT_SAMPLE_RATE, start_sample=0, context_sample=0
            )
            encode(first)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from None

    def updated(self, changes: OptionChanges) -> RecognitionOptions:
        """These options with some changed.

        Raises:
            TypeError: a name is not that of an option.
            ValueError: a value is out of range, or None where that is not a value but a default.
        """
        for name, value in changes.items():
            if value is None and name != "language":
                raise ValueError(f"{name} cannot go back to its default; name a value")
        return replace(self, **changes)

    def biased_to(self, keyterms: Iterable[str]) -> RecognitionOptions:
        """These options with more keyterms; those that the protocol does not take are left out."""
        fitting = [term for term in keyterms if 0 < len(term) <= MAX_KEYTERM_LENGTH]
        terms = tuple(dict.fromkeys((*self.keyterms, *fitting)))
        return replace(self, keyterms=terms[:MAX_KEYTERMS])

    def first_config(self, *, sample_rate: int, start_sample: int, context_sample: int) -> Config:
        """The message that opens a connection.

        Args:
            sample_rate: Hz.
            start_sample: where the audio goes on.
            context_sample: where what is sent begins: there, or before it with context.
        """
        context = {"context_sample": context_sample} if context_sample < start_sample else {}
        return self._config(
            {field.name for field in fields(self) if getattr(self, field.name) is not None},
            version=PROTOCOL_VERSION,
            sample_rate=sample_rate,
            start_sample=start_sample,
            **context,
        )

    def config_after(self, before: RecognitionOptions) -> Config:
        """The message that changes the options of a live connection from `before` to these."""
        return self._config(
            {
                field.name
                for field in fields(self)
                if getattr(self, field.name) != getattr(before, field.name)
            }
        )

    def _config(self, names: set[str], **others: int) -> Config:
        values: dict[str, Any] = {name: getattr(self, name) for name in names} | others
        endpointing = {
            _ENDPOINTING_FIELDS[name]: values.pop(name)
            for name in names & _ENDPOINTING_FIELDS.keys()
        }
        return Config(**values, endpointing=Endpointing(**endpointing) if endpointing else UNSET)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How the connection is held; the same for all streams and fixed at construction.

    Attributes:
        sample_rate: Hz; the rate at which audio goes to the recogniser.
        replay_s: seconds of audio kept until they are finalised, to be sent again on a new
            connection.
        liveness_timeout_s: a connection that has audio and says nothing for this long is dead.
        reconnect_budget_s: how long a lost connection is tried again before the stream fails.

    Raises:
        ValueError: a value is out of range; the message names the option and its range.
    """

    sample_rate: int = 16_000
    replay_s: float = 60.0
    liveness_timeout_s: float = 4.0
    reconnect_budget_s: float = 60.0

    def __post_init__(self) -> None:
        """Check every range."""
        for name, (least, most) in _CONNECTION_RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must be between {least:g} and {most:g}, not {value!r}")
