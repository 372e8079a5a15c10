from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hark.audio import SAMPLE_RATE, PcmArray
from hark.engines import catalogue, registry
from hark.engines.whisper import WhisperRecognizer
from hark.errors import ClosedError, ModelFileError
from hark.recognizer import Hypothesis, RecognitionOptions

Decode = Callable[..., Hypothesis]


def test_speech_becomes_text(
    whisper: WhisperRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    hypothesis = decode(whisper, sentence)
    text = hypothesis.text.lower()
    assert text.startswith("it was the best of times")
    assert "it was the worst of times" in text
    assert hypothesis.confidence is not None
    assert 0.7 < hypothesis.confidence < 1
    assert hypothesis.language == "en"


def test_it_declares_what_it_can_do(whisper: WhisperRecognizer) -> None:
    capabilities = whisper.capabilities
    assert capabilities.languages == catalogue.find("whisper-tiny.en").languages
    assert capabilities.words
    assert capabilities.confidence
    assert not capabilities.keyterms
    assert not capabilities.language_detection  # an English model has nothing to detect


def test_words_are_absent_unless_asked_for(
    whisper: WhisperRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    assert decode(whisper, sentence).words is None


def test_words_spell_the_text_and_follow_each_other(
    whisper: WhisperRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    hypothesis = decode(whisper, sentence, words=True)
    assert hypothesis.words is not None
    assert " ".join(word.text for word in hypothesis.words) == hypothesis.text
    starts = [word.start for word in hypothesis.words]
    assert starts == sorted(starts)
    for word in hypothesis.words:
        assert 0 <= word.start <= word.end <= len(sentence)
        assert word.confidence is not None
        assert 0 < word.confidence <= 1


def test_words_are_where_they_were_said(
    whisper: WhisperRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    # The same speech a second later has its words a second later, to within what tiny.en can do.
    later = np.concatenate((np.zeros(SAMPLE_RATE, np.int16), sentence))
    words = decode(whisper, sentence, words=True).words
    moved = decode(whisper, later, words=True).words
    assert words is not None
    assert moved is not None
    shifts = [
        (after.start - before.start) / SAMPLE_RATE
        for before, after in zip(words, moved, strict=False)
    ]
    assert np.median(shifts) == pytest.approx(1, abs=0.1)


def test_a_final_does_not_depend_on_chunks_or_earlier_interims(
    whisper: WhisperRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    stream = whisper.open_stream(RecognitionOptions())
    for i in range(0, len(sentence), 24_000):
        stream.push(sentence[i : i + 24_000])
        whisper.decode([stream], final=[False])
    assert whisper.decode([stream], final=[True]) == [decode(whisper, sentence)]


def test_streams_of_one_call_do_not_affect_each_other(
    whisper: WhisperRecognizer, decode: Decode, speech: PcmArray
) -> None:
    halves = speech[: 5 * SAMPLE_RATE], speech[5 * SAMPLE_RATE : 10 * SAMPLE_RATE]
    streams = [whisper.open_stream(RecognitionOptions()) for _ in halves]
    for stream, half in zip(streams, halves, strict=True):
        stream.push(half)
    together = whisper.decode(streams, final=[True, True])
    assert together == [decode(whisper, half) for half in halves]


def test_sounds_that_are_no_speech_give_no_text(whisper: WhisperRecognizer, decode: Decode) -> None:
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(size=len(t)) * 1_600
    for sound in (np.zeros(len(t)), noise, 6_000 * np.sin(2 * np.pi * 50 * t)):
        hypothesis = decode(whisper, sound.astype(np.int16))
        assert hypothesis.text == ""
        assert hypothesis.confidence is None


def test_a_stream_without_audio_has_no_text(whisper: WhisperRecognizer, decode: Decode) -> None:
    assert decode(whisper).text == ""


def test_any_length_of_audio_can_be_decoded(
    whisper: WhisperRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    for length in (1, 159, 160, 161, 1_600):
        decode(whisper, sentence[SAMPLE_RATE:][:length], final=False, words=True)


def test_audio_up_to_the_whole_window_can_be_decoded(
    whisper: WhisperRecognizer, decode: Decode, speech: PcmArray
) -> None:
    hypothesis = decode(whisper, np.tile(speech, 3)[: 30 * SAMPLE_RATE + 512], words=True)
    assert hypothesis.words is not None
    assert len(hypothesis.words) > 50


def test_a_stream_of_another_recogniser_is_refused(whisper: WhisperRecognizer) -> None:
    stream = registry.load("fake").open_stream(RecognitionOptions())
    with pytest.raises(TypeError, match="another recogniser"):
        whisper.decode([stream], final=[True])


def test_a_closed_recogniser_refuses_to_decode_and_can_be_closed_again() -> None:
    recognizer = registry.load("whisper-tiny.en")
    recognizer.warm_up()
    stream = recognizer.open_stream(RecognitionOptions())
    recognizer.close()
    recognizer.close()
    with pytest.raises(ClosedError):
        recognizer.decode([stream], final=[True])


def test_a_folder_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="CTranslate2 cannot load"):
        WhisperRecognizer(tmp_path)
