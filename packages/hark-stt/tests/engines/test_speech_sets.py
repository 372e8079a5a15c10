"""What the engines reach on recorded speech, so that a change that costs accuracy is seen.

The bounds leave room for other processors: int8 arithmetic is not the same on all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
from whisper_normalizer.english import EnglishTextNormalizer

from hark.audio import SAMPLE_RATE, read_audio
from hark.engines.moonshine import MoonshineRecognizer
from hark.engines.whisper import WhisperRecognizer
from hark.recognizer import Hypothesis, Recognizer

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        "HARK_SPEECH_DIR" not in os.environ,
        reason="needs recorded speech: set HARK_SPEECH_DIR to a folder with a manifest.jsonl",
    ),
]

Decode = Callable[..., Hypothesis]
_normalize = EnglishTextNormalizer()


def _recordings(name: str, count: int | None = None) -> Iterator[tuple[Path, dict[str, object]]]:
    root = Path(os.environ["HARK_SPEECH_DIR"])
    rows = map(json.loads, (root / "manifest.jsonl").read_text().splitlines())
    chosen = [row for row in rows if row["set"] == name]
    assert chosen, f"the speech folder has no set {name}"
    for row in chosen[:count]:
        yield root / row["path"], row


def _wer(recognizer: Recognizer, decode: Decode, name: str, count: int | None = None) -> float:
    references, hypotheses = [], []
    for path, row in _recordings(name, count):
        references.append(_normalize(row["text"]))
        hypotheses.append(_normalize(decode(recognizer, read_audio(path)).text))
    return float(jiwer.wer(references, hypotheses))


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("librispeech_test_clean", 0.065),  # measured 0.048
        ("librispeech_test_other", 0.16),  # 0.134
        ("sim_telephone_8k", 0.10),  # 0.072
        ("sim_noisy_music_10dB", 0.08),  # 0.051
    ],
)
def test_moonshine_stays_as_accurate_as_it_was(
    moonshine: MoonshineRecognizer, decode: Decode, name: str, bound: float
) -> None:
    assert _wer(moonshine, decode, name) < bound


@pytest.mark.parametrize(
    ("name", "bound"),
    [("librispeech_test_clean", 0.09), ("sim_telephone_8k", 0.09), ("speechocean762_test", 0.15)],
)
def test_whisper_stays_as_accurate_as_it_was(
    whisper: WhisperRecognizer, decode: Decode, name: str, bound: float
) -> None:
    assert _wer(whisper, decode, name, 20) < bound


def _silenced(recognizer: Recognizer, decode: Decode) -> float:
    texts = [decode(recognizer, read_audio(path)).text for path, _ in _recordings("noise_music")]
    return texts.count("") / len(texts)


def test_moonshine_finds_no_words_in_most_noise_and_music(
    moonshine: MoonshineRecognizer, decode: Decode
) -> None:
    assert _silenced(moonshine, decode) >= 0.75  # measured 33 of 40


def test_whisper_finds_no_words_in_most_noise_and_music(
    whisper: WhisperRecognizer, decode: Decode
) -> None:
    assert _silenced(whisper, decode) >= 0.8  # measured 38 of 40


def test_whisper_times_words_to_within_a_fifth_of_a_second(
    whisper: WhisperRecognizer, decode: Decode
) -> None:
    errors = []
    for path, row in _recordings("ls_word_aligned", 8):
        words = decode(whisper, read_audio(path), words=True).words
        assert words is not None
        times = {_normalize(word.text): word.start / SAMPLE_RATE for word in words}
        aligned = row["words"]
        assert isinstance(aligned, list)
        counts = [word for word, _, _ in aligned]
        errors += [
            abs(times[word] - start)
            for word, start, _ in aligned
            if counts.count(word) == 1 and word in times
        ]
    assert len(errors) > 100
    assert np.median(errors) < 0.2  # measured 0.11
