"""The one interface between sessions and models.

A `Recognizer` is a loaded model. It is expensive, shared, and lives in a worker. For each
utterance it opens a cheap `RecognitionStream`, which takes audio as it comes. `Recognizer.decode`
then gives a hypothesis for each of several streams at once. Three kinds of model fit this without
bending:

* re-decoding models (Moonshine, Whisper): `push` only appends; `decode` reads the whole utterance
  again, helped by the stream's previous hypothesis;
* streaming models (transducers): `push` advances the state, `decode` reads it out;
* batching models (on a GPU): `decode` is handed up to `Capabilities.max_batch` streams of
  different callers.

One thread at a time uses a recogniser and its streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hark.audio import PcmArray


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do. What it cannot do is absent from its hypotheses, never invented.

    Attributes:
        languages: BCP 47 codes it recognises; never empty.
        words: gives word times.
        confidence: gives confidences.
        keyterms: can be biased towards terms.
        streaming: its state advances with the audio; False means that each decode reads the
            utterance again.
        language_detection: finds the language itself when none is given.
        context: reads an utterance better together with what was said just before it.
        anchor: where not 0, a decode is cheaper with the hypothesis for the first part of its
            audio, and finals are decoded by way of hypotheses for each whole multiple of so many
            samples: see `Recognizer.decode`.
        max_batch: how many streams one `decode` call may carry.
        threads: on how many one `decode` call can compute.
    """

    languages: tuple[str, ...]
    words: bool = False
    confidence: bool = False
    keyterms: bool = False
    streaming: bool = False
    language_detection: bool = False
    context: bool = False
    anchor: int = 0
    max_batch: int = 1
    threads: int = 1

    def match_language(self, language: str) -> str | None:
        """The model's own code for a language; None if it does not know it.

        Exact, or that of the language's main part: "en" for "en-GB".
        """
        wanted = language.lower()
        known = {code.lower(): code for code in self.languages}
        return known.get(wanted) or known.get(wanted.partition("-")[0])


@dataclass(frozen=True, slots=True)
class RecognitionOptions:
    """What a caller wants of one utterance.

    Attributes:
        language: BCP 47 code; None lets the model decide.
        words: whether word times are wanted.
        keyterms: terms to lean towards.
    """

    language: str | None = None
    words: bool = False
    keyterms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it was said, in samples from the start of the utterance."""

    text: str
    start: int
    end: int
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A model's best text for the audio of an utterance so far.

    Attributes:
        text: without leading or trailing space; empty where there is no speech.
        confidence: 0 to 1; None where the model gives none.
        language: BCP 47 code; None where unknown.
        words: None where the model gives no times or none were asked for.
        tokens: the model's own tokens. They help its next decode of the same utterance; nobody
            else reads them.
    """

    text: str
    confidence: float | None = None
    language: str | None = None
    words: tuple[Word, ...] | None = None
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What was said just before an utterance, for a model that reads on from there.

    Attributes:
        samples: the audio right up to the utterance's first sample, shape (n,), 16 kHz.
        tokens: what the same model made of that audio.
    """

    samples: PcmArray
    tokens: tuple[int, ...]


class RecognitionStream(Protocol):
    """One utterance inside a recogniser."""

    def push(self, samples: PcmArray) -> None:
        """Append audio of this utterance: shape (n,), any n."""
        ...


class Recognizer(Protocol):
    """A loaded model, owned by one worker."""

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        ...

    def warm_up(self) -> None:
        """Decode something, so that the first caller does not pay for lazy initialisation.

        Raises:
            RecognitionError: the model does not work here.
        """
        ...

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> RecognitionStream:
        """Open an utterance. Cheap: no weights are touched.

        Args:
            options: what the caller wants; already checked against `capabilities`.
            previous: a hypothesis for an earlier part of the same utterance, which may help.
            context: None where `capabilities` has no context.
        """
        ...

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        """Give the best hypothesis for all audio pushed so far, one for each stream.

        A final decode depends on nothing but the stream's audio, context and options: not on the
        other streams of the call, nor on earlier hypotheses (design.md, invariant 1), except where
        `Capabilities.anchor` says so. Then `previous` is that of the last anchor, which was
        decoded with that of the anchor before; so it depends on the audio alone, too. An interim
        decode may take any short cut.

        Args:
            streams: at most `Capabilities.max_batch`, all opened by this recogniser.
            final: for each stream, whether this hypothesis is to be the utterance's last.
            threads: on how many it is to compute, at most `Capabilities.threads`. The hypotheses
                are the same.

        Raises:
            RecognitionError: the engine failed; the streams of this call are unusable.
        """
        ...

    def close(self) -> None:
        """Free the model. Idempotent."""
        ...
