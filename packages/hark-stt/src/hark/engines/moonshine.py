"""The Moonshine engine: small models that read an utterance of any length without padding it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hark.audio import SAMPLE_RATE, PcmArray
from hark.engines import moonshine_model
from hark.engines.audio_buffer import AudioBuffer
from hark.engines.moonshine_model import (
    END_TOKEN,
    MIN_SAMPLES,
    START_TOKEN,
    Logits,
    MoonshineModel,
)
from hark.engines.moonshine_tokenizer import MoonshineTokenizer
from hark.engines.repetition import loop_start
from hark.errors import ClosedError
from hark.recognizer import (
    Capabilities,
    Context,
    Hypothesis,
    RecognitionOptions,
    RecognitionStream,
)

TOKENS_PER_SECOND = 6.5
"""More tokens than this are not speech but the model repeating itself. Moonshine's own limit; twice
as many changed no WER."""

MIN_CONFIDENCE = 0.4
"""Text below this confidence is dropped, interim or final.

Measured with moonshine-tiny-en: no utterance of LibriSpeech test-clean and test-other, nor of their
telephone and 10 dB noise versions, was below 0.5; of 276 spoken commands ("yes", "stop") at 10 dB
and better, three wrong ones were below 0.4 and two right ones. Of 40 files of noise and music, 17
were, and most interims of the first half second, which are guesses.
"""

NOISE_TEXTS = frozenset({"You", "Thank you for watching."})
"""What Moonshine writes for clicks, hum, breath and music, with confidences up to 0.9.

The first came for 15 of 40 files of noise and music (the word itself, spoken alone, comes with a
full stop), the other for one of them and for plain chords.
"""

ANCHOR = 24_000
"""Samples (1.5 s), which is also how long a busy machine leaves a speaker without an interim.

With 2 s, three sets of LibriSpeech (test-clean, test-other, turns) had 239 errors, and 238 without
any draft; finals took 0.6 of the time. With 1.5 s, `benchmarks/wer.py` gives 266 errors for those
and telephone speech, where batch decoding has 269."""

DRAFT_TOKENS = 12
"""How many tokens of the previous hypothesis are proposed again after a mismatch. A token more in a
pass costs a twentieth of a pass of its own, so most may be wrong."""

_DRAFT_DRIFT = 8  # tokens by which words added or lost since may have moved the rest


class MoonshineStream:
    """The audio of one utterance, after its context's, and the tokens of the last hypothesis."""

    def __init__(self, language: str, previous: Hypothesis | None, context: Context | None) -> None:
        self.audio = AudioBuffer()
        self.language = language
        self.draft = previous.tokens if previous else ()
        self.context_tokens = context.tokens if context else ()
        if context:
            self.audio.append(context.samples)
        self.context_samples = len(self.audio.samples)

    def push(self, samples: PcmArray) -> None:
        """Append audio, shape (n,)."""
        self.audio.append(samples)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A decoded utterance.

    Attributes:
        tokens: without the start and end tokens.
        is_ended: whether the model wrote the end token itself.
        confidence: exp(mean log p).
    """

    tokens: tuple[int, ...]
    is_ended: bool
    confidence: float


class MoonshineRecognizer:
    """A Moonshine model, decoded greedily.

    A decode takes the stream's previous hypothesis as a draft: the decoder reads several of its
    tokens in one pass and keeps those that it would have written itself. With dynamically quantised
    weights such a pass is not exactly the same arithmetic as one token at a time: so what a draft
    was decoded from must be fixed where the same audio has to give the same text, hence the
    anchors.

    A hypothesis' confidence is the geometric mean of its tokens' probabilities, the end token's
    counted: exp(mean log p).
    """

    def __init__(self, folder: Path, *, language: str = "en", threads: int = 1) -> None:
        """Load the model.

        Args:
            folder: holds the encoder, the merged decoder and `tokenizer.bin`.
            language: BCP 47 code of what the model was trained on.
            threads: on how many a decode can compute.

        Raises:
            ModelFileError: a file is missing or unusable.
        """
        self._model: MoonshineModel | None = moonshine_model.load(folder, threads=threads)
        self._tokenizer = MoonshineTokenizer(folder / "tokenizer.bin")
        self._language = language
        self._threads = threads

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        return Capabilities(
            languages=(self._language,),
            confidence=True,
            context=True,
            anchor=ANCHOR,
            threads=self._threads,
        )

    def warm_up(self) -> None:
        """Decode a second of silence, so that onnxruntime has allocated what it needs.

        Raises:
            RecognitionError: the model does not work here.
        """
        for threads in {1, self._threads}:
            stream = self.open_stream(RecognitionOptions())
            stream.push(np.zeros(SAMPLE_RATE, np.int16))
            self.decode([stream], final=[True], threads=threads)

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> MoonshineStream:
        """Open an utterance."""
        return MoonshineStream(options.language or self._language, previous, context)

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        """Give the best hypothesis for all audio pushed so far, one for each stream.

        Raises:
            ClosedError: the recogniser is closed.
            RecognitionError: onnxruntime failed.
        """
        return [self._decode_stream(stream, threads) for stream in streams]

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._model = None

    def _decode_stream(self, stream: RecognitionStream, threads: int) -> Hypothesis:
        if self._model is None:
            raise ClosedError("this recogniser is closed")
        if not isinstance(stream, MoonshineStream):
            raise TypeError("the stream was opened by another recogniser")
        if len(stream.audio.samples) == stream.context_samples:
            return Hypothesis("", language=stream.language)
        decoded = _decode_audio(self._model, stream, threads)
        stream.draft = decoded.tokens
        if not decoded.is_ended:
            stream.draft = decoded.tokens[: loop_start(decoded.tokens)]
        text = self._speech(stream.draft, decoded.confidence)
        return Hypothesis(
            text=text,
            confidence=decoded.confidence if text else None,
            language=stream.language,
            tokens=stream.draft,
        )

    def _speech(self, tokens: tuple[int, ...], confidence: float) -> str:
        """The text, as far as it is likely to be what somebody said."""
        if confidence < MIN_CONFIDENCE:
            return ""
        text = self._tokenizer.decode(tokens)
        is_noise = text in NOISE_TEXTS or not any(map(str.isalnum, text))
        return "" if is_noise else text


def _decode_audio(model: MoonshineModel, stream: MoonshineStream, threads: int) -> _Decoded:
    """Decode greedily from the end of the context on, reading along in a draft while it agrees.

    Args:
        model: what decodes.
        stream: with audio of its own, at least a sample. Without a draft it is decoded token by
            token.
        threads: to read the audio with.
    """
    draft: Sequence[int] = stream.draft
    audio = stream.audio.samples
    if len(audio) < MIN_SAMPLES:
        audio = np.pad(audio, (0, MIN_SAMPLES - len(audio)))
    limit = math.ceil(TOKENS_PER_SECOND * (len(audio) - stream.context_samples) / SAMPLE_RATE)
    tokens: list[int] = []
    log_probabilities: list[float] = []
    proposal = draft[: limit - 1]
    known = [START_TOKEN, *stream.context_tokens]
    tokens_read = [*known, *proposal]
    encoded = model.encode(audio, threads=threads)
    rows, state = model.begin(encoded, tokens_read, known=len(known) - 1)
    while True:
        choices = rows.argmax(axis=-1)
        kept = _agreement(choices, proposal)
        chosen = [*proposal[:kept], int(choices[kept])]
        log_probabilities += map(_log_probability, rows, chosen)
        tokens += chosen
        is_ended = tokens[-1] == END_TOKEN
        if is_ended or len(tokens) >= limit:
            break
        state.cut(len(known) + len(tokens) - 1)  # all but the last token, which comes now
        proposal = _proposal(draft, tokens)[: limit - len(tokens) - 1]
        rows = model.extend(state, [tokens[-1], *proposal])
    if is_ended:
        tokens.pop()
    return _Decoded(tuple(tokens), is_ended, math.exp(float(np.mean(log_probabilities))))


def _agreement(choices: NDArray[np.int64], proposal: Sequence[int]) -> int:
    """How many tokens of the proposal, from the start, the model would have chosen itself."""
    for i, token in enumerate(proposal):
        if choices[i] != token:
            return i
    return len(proposal)


def _proposal(draft: Sequence[int], tokens: Sequence[int]) -> Sequence[int]:
    """What followed the last token in the draft, if it is there at about the same place."""
    last = len(tokens) - 1
    first = max(0, last - _DRAFT_DRIFT)
    end = min(len(draft), last + _DRAFT_DRIFT + 1)
    places = [i for i in range(first, end) if draft[i] == tokens[last]]
    if not places:
        return ()
    nearest = min(places, key=lambda i: abs(i - last))
    return draft[nearest + 1 : nearest + 1 + DRAFT_TOKENS]


def _log_probability(row: Logits, token: int) -> float:
    top = row.max()
    return float(row[token] - top) - math.log(float(np.exp(row - top).sum()))
