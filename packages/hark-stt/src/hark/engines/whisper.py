"""The Whisper engine, on CTranslate2: many languages, word times, and GPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from hark.audio import SAMPLE_RATE, PcmArray
from hark.engines.audio_buffer import AudioBuffer
from hark.engines.log_mel import FRAMES_PER_SECOND, HOP_SAMPLES, log_mel
from hark.engines.repetition import loop_start
from hark.engines.whisper_languages import from_whisper, primary
from hark.engines.whisper_tokenizer import WhisperTokenizer
from hark.errors import ClosedError, ModelFileError, RecognitionError
from hark.recognizer import (
    Capabilities,
    Context,
    Hypothesis,
    RecognitionOptions,
    RecognitionStream,
    Word,
)

WINDOW_S = 30.0
"""What Whisper was trained to read at once: shorter audio was followed by silence up to this
length."""

TAIL_S = 5.0
"""Silence that follows the audio here instead: the encoder's work grows with the window. With
tiny.en, 2 s made it repeat and invent words; from 5 s on the WER was that of the whole window."""

FINAL_WINDOW_S = 15.0
"""The least window of a final. Of 276 spoken commands of a word or three ("stop", "five thirty"),
at 10 dB and better, tiny.en heard 164 in windows of about 6 s, 239 in 12 s, 247 in 16 s and 245 in
30 s."""

MIN_CONFIDENCE = 0.4
DOUBTFUL_NO_SPEECH = 0.3
CERTAIN_NO_SPEECH = 0.6
"""Text is dropped, interim or final, where the probability of no speech is above the last, or above
the second with a confidence below the first. The last is Whisper's own.

Measured with tiny.en: no utterance of LibriSpeech test-clean and test-other, nor of their telephone
and babble versions, was dropped, and one of 276 spoken commands; of 40 files of noise and music, 38
were. Confidence alone would not do: single words, said well, have as little.
"""

TOKENS_PER_SECOND = 10
"""More tokens than this are the model repeating itself. English, German, French and Chinese have up
to 5; scripts that need several tokens for a character have more."""

_SPARE_TOKENS = 8
_FRAME_S = 0.02  # of the encoder's output, by which words are timed

Device = Literal["auto", "cpu", "cuda"]


class WhisperStream:
    """The audio of one utterance."""

    def __init__(self, options: RecognitionOptions) -> None:
        self.options = options
        self.audio = AudioBuffer()

    def push(self, samples: PcmArray) -> None:
        """Append audio, shape (n,)."""
        self.audio.append(samples)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """One pass over the audio.

    Attributes:
        encoded: CTranslate2's encoder output.
        language: BCP 47 code.
        no_speech: probability that there is no speech.
    """

    encoded: Any
    language: str
    tokens: tuple[int, ...]
    confidence: float
    no_speech: float

    @property
    def is_looping(self) -> bool:
        return loop_start(self.tokens) is not None

    @property
    def speech(self) -> tuple[int, ...]:
        """The tokens, as far as they are likely to be what somebody said."""
        return () if self.is_noise else self.tokens[: loop_start(self.tokens)]

    @property
    def is_noise(self) -> bool:
        doubtful = self.confidence < MIN_CONFIDENCE and self.no_speech > DOUBTFUL_NO_SPEECH
        return doubtful or self.no_speech > CERTAIN_NO_SPEECH


class WhisperRecognizer:
    """A Whisper model, decoded greedily.

    The encoder reads the audio and some silence; a final that looks wrong is read again in the
    whole window, and the better text kept. An utterance has at most `WINDOW_S` of audio: more is
    not heard.

    A hypothesis' confidence is the geometric mean of its tokens' probabilities, the end token's
    counted: exp(mean log p). Word times come from the decoder's attention; on LibriSpeech half of
    them are within 0.06 s of a forced alignment with a base model, within 0.11 s with tiny.en.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: Device = "auto",
        compute_type: str | None = None,
    ) -> None:
        """Load the model.

        Args:
            folder: a model converted for CTranslate2, with its `tokenizer.json`.
            device: "auto" takes a GPU where there is one.
            compute_type: CTranslate2's; by default int8 on a CPU and float16 on a GPU.

        Raises:
            ModelFileError: a file is missing or unusable.
        """
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        try:
            self._model: Any = ctranslate2.models.Whisper(
                str(folder),
                device=device,
                compute_type=compute_type or ("int8" if device == "cpu" else "float16"),
                inter_threads=1,
                intra_threads=1,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"CTranslate2 cannot load {folder}: {error}") from error
        self._is_multilingual: bool = self._model.is_multilingual
        self._bands: int = self._model.n_mels
        self._tokenizer = WhisperTokenizer(
            folder / "tokenizer.json", is_multilingual=self._is_multilingual
        )

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        return Capabilities(
            languages=self._tokenizer.languages,
            words=True,
            confidence=True,
            language_detection=self._is_multilingual,
        )

    def warm_up(self) -> None:
        """Decode a second of silence, so that CTranslate2 has allocated what it needs.

        Raises:
            RecognitionError: the model does not work here.
        """
        stream = self.open_stream(RecognitionOptions())
        stream.push(np.zeros(SAMPLE_RATE, np.int16))
        self.decode([stream], final=[False])

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> WhisperStream:
        """Open an utterance; the previous hypothesis makes no difference."""
        return WhisperStream(options)

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        """Give the best hypothesis for all audio pushed so far, one for each stream.

        CTranslate2's threads are not a matter of one decode.

        Raises:
            ClosedError: the recogniser is closed.
            RecognitionError: CTranslate2 failed.
        """
        if self._model is None:
            raise ClosedError("this recogniser is closed")
        try:
            return [
                self._decode_stream(stream, is_final)
                for stream, is_final in zip(streams, final, strict=True)
            ]
        except RuntimeError as error:
            raise RecognitionError(f"CTranslate2 failed: {type(error).__name__}") from error

    def close(self) -> None:
        """Free the model. Idempotent."""
        self._model = None

    def _decode_stream(self, stream: RecognitionStream, is_final: bool) -> Hypothesis:
        if not isinstance(stream, WhisperStream):
            raise TypeError("the stream was opened by another recogniser")
        audio, options = stream.audio.samples, stream.options
        if len(audio) == 0:
            return Hypothesis("", language=options.language)
        window_s = stream.audio.duration_s + TAIL_S
        if is_final:
            decoded = self._decode_audio(audio, options, max(window_s, FINAL_WINDOW_S))
            if decoded.is_looping or decoded.confidence < MIN_CONFIDENCE:
                again = self._decode_audio(audio, options, WINDOW_S)
                decoded = max(decoded, again, key=lambda d: (not d.is_looping, d.confidence))
        else:
            decoded = self._decode_audio(audio, options, window_s)
        text = self._tokenizer.decode(decoded.speech)
        if not any(map(str.isalnum, text)):
            return Hypothesis("", language=decoded.language)
        words = self._words(decoded, len(audio)) if options.words else None
        return Hypothesis(text, decoded.confidence, decoded.language, words)

    def _decode_audio(
        self, audio: NDArray[np.float32], options: RecognitionOptions, window_s: float
    ) -> _Decoded:
        """Decode audio, shape (n,), n at least 1, followed by silence to fill the window."""
        encoded = self._encode(audio, window_s)
        language = self._language(encoded, options)
        prompt = self._tokenizer.prompt(language)
        limit = math.ceil(TOKENS_PER_SECOND * len(audio) / SAMPLE_RATE) + _SPARE_TOKENS
        (result,) = self._model.generate(
            encoded,
            [prompt],
            beam_size=1,
            max_length=len(prompt) + limit,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return _Decoded(
            encoded=encoded,
            language=language,
            tokens=tuple(result.sequences_ids[0]),
            confidence=min(1.0, math.exp(result.scores[0])),
            no_speech=result.no_speech_prob,
        )

    def _encode(self, audio: NDArray[np.float32], window_s: float) -> Any:
        # An even number of frames, because the encoder halves it.
        frames = 2 * math.ceil(min(window_s, WINDOW_S) * FRAMES_PER_SECOND / 2)
        features = log_mel(audio, bands=self._bands, frames=frames)
        return self._model.encode(ctranslate2.StorageView.from_array(features[np.newaxis]))

    def _language(self, encoded: Any, options: RecognitionOptions) -> str:
        """The language asked for, or the likeliest one, as BCP 47."""
        if not self._is_multilingual:
            return "en"
        if options.language is not None:
            return primary(options.language)
        ((likeliest, _), *_) = self._model.detect_language(encoded)[0]
        return from_whisper(likeliest.strip("<|>"))

    def _words(self, decoded: _Decoded, length: int) -> tuple[Word, ...]:
        """Time the words by the decoder's attention to the audio, `length` samples."""
        tokens = list(decoded.speech)
        (alignment,) = self._model.align(
            decoded.encoded,
            self._tokenizer.task(decoded.language),
            [tokens],
            num_frames=min(3_000, math.ceil(length / HOP_SAMPLES)),
        )
        starts = _token_starts(alignment.alignments, len(tokens))
        return tuple(
            Word(
                span.text,
                start=min(starts[span.start], length),
                end=min(starts[span.end], length),
                confidence=float(np.mean(alignment.text_token_probs[span.start : span.end])),
            )
            for span in self._tokenizer.words(tokens, decoded.language)
        )


def _token_starts(alignments: Sequence[tuple[int, int]], count: int) -> list[int]:
    """The sample at which each token, and the end token after them, first has the attention."""
    starts: dict[int, int] = {}
    for token, frame in alignments:
        starts.setdefault(token, round(frame * _FRAME_S * SAMPLE_RATE))
    return [starts[token] for token in range(count + 1)]
