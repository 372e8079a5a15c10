from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.engines import registry
from hark.engines.fake import WORD_SAMPLES, FakeRecognizer
from hark.errors import ClosedError
from hark.recognizer import Hypothesis, RecognitionOptions, Word


def _audio(count: float) -> PcmArray:
    return np.zeros(round(count * WORD_SAMPLES), np.int16)


def _decode(recognizer: FakeRecognizer, count: float, **options: Any) -> Hypothesis:
    stream = recognizer.open_stream(RecognitionOptions(**options))
    stream.push(_audio(count))
    return recognizer.decode([stream], final=[True])[0]


def test_it_is_loaded_by_name() -> None:
    assert isinstance(registry.load("fake"), FakeRecognizer)


@pytest.mark.parametrize(
    ("words", "text"),
    [(0, ""), (0.99, ""), (1, "one"), (2.5, "one two"), (4, "one two three four")],
)
def test_it_says_a_number_for_each_300_ms(words: float, text: str) -> None:
    assert _decode(FakeRecognizer(), words).text == text


def test_every_number_is_one_word() -> None:
    words = _decode(FakeRecognizer(), 101).text.split()
    assert words[9:12] == ["ten", "eleven", "twelve"]
    assert words[19:22] == ["twenty", "twentyone", "twentytwo"]
    assert words[98:] == ["ninetynine", "zero", "one"]
    assert len(set(words[:100])) == 100


def test_words_have_times_and_confidences_when_asked_for() -> None:
    assert _decode(FakeRecognizer(), 2).words is None
    assert _decode(FakeRecognizer(), 2, words=True).words == (
        Word("one", 0, 4_800, 0.5),
        Word("two", 4_800, 9_600, 0.5),
    )


def test_a_keyterm_takes_the_place_of_the_first_word() -> None:
    assert _decode(FakeRecognizer(), 3, keyterms=("Aldgate", "Bow")).text == "Aldgate two three"


def test_streams_of_one_call_have_their_own_text() -> None:
    recognizer = FakeRecognizer(max_batch=3)
    streams = [recognizer.open_stream(RecognitionOptions()) for _ in range(3)]
    for count, stream in enumerate(streams):
        stream.push(_audio(count))
    texts = [h.text for h in recognizer.decode(streams, final=[False, True, False])]
    assert texts == ["", "one", "one two"]


def test_it_declares_what_it_can_do() -> None:
    capabilities = FakeRecognizer(max_batch=8).capabilities
    assert capabilities.words
    assert capabilities.confidence
    assert capabilities.keyterms
    assert capabilities.max_batch == 8


def test_a_decode_takes_as_long_as_it_is_told_to() -> None:
    recognizer = FakeRecognizer(decode_delay_s=0.05)
    started = time.perf_counter()
    _decode(recognizer, 1)
    assert time.perf_counter() - started >= 0.05


def test_a_closed_one_refuses_to_decode() -> None:
    recognizer = FakeRecognizer()
    recognizer.close()
    recognizer.close()
    with pytest.raises(ClosedError):
        _decode(recognizer, 1)
