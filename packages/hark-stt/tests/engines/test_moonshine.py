from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hark.audio import SAMPLE_RATE, PcmArray
from hark.engines import catalogue, registry
from hark.engines.moonshine import MIN_CONFIDENCE, MoonshineRecognizer
from hark.engines.moonshine_model import DecoderState, LeanModel, Logits, Tensors
from hark.errors import ClosedError, ModelFileError
from hark.recognizer import Context, Hypothesis, RecognitionOptions

Decode = Callable[..., Hypothesis]

_T = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE


def _sines(*frequencies_hz: float) -> NDArray[np.float64]:
    waves = [np.sin(2 * np.pi * hz * _T) for hz in frequencies_hz]
    return np.mean(waves, axis=0) / 4


SOUNDS = {
    "silence": np.zeros(len(_T)),
    "white noise": np.random.default_rng(0).normal(size=len(_T)) * 0.05,
    "mains hum": _sines(50),
    "a dial tone": _sines(350, 440),
    "a chord": _sines(261.6, 329.6, 392) * (1 + np.sin(2 * np.pi * 2 * _T)) / 2,
    "clicks": np.where(np.arange(len(_T)) % 5_333 == 0, 0.8, 0),
}


TO_A_PAUSE = 76_160
"""Samples of the sentence up to a pause: half a word may be read in two ways."""


def _pcm(audio: NDArray[np.float64]) -> PcmArray:
    return (audio * 32767).astype(np.int16)


def test_speech_becomes_text(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    hypothesis = decode(moonshine, sentence)
    assert "It was the best of times" in hypothesis.text
    assert "it was the worst of times" in hypothesis.text.lower()


def test_a_hypothesis_has_a_confidence_and_the_language_and_no_word_times(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    hypothesis = decode(moonshine, sentence)
    assert hypothesis.confidence is not None
    assert 0.8 < hypothesis.confidence < 1
    assert hypothesis.language == "en"
    assert hypothesis.words is None


def test_it_declares_what_it_can_do(moonshine: MoonshineRecognizer) -> None:
    capabilities = moonshine.capabilities
    assert capabilities.languages == catalogue.find("moonshine-tiny-en").languages
    assert capabilities.confidence
    assert not capabilities.words
    assert not capabilities.keyterms
    assert not capabilities.streaming
    assert capabilities.max_batch == 1


def test_unclear_speech_is_given_less_confidence(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    noise = np.random.default_rng(0).normal(size=len(sentence)) * 200
    noisy = np.clip(sentence + noise, -32768, 32767).astype(np.int16)
    clear, unclear = decode(moonshine, sentence), decode(moonshine, noisy)
    assert unclear.confidence < clear.confidence


@pytest.mark.parametrize("chunk", [997, 1_600, 16_000])
def test_a_final_does_not_depend_on_the_chunks_of_the_audio(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray, chunk: int
) -> None:
    chunks = [sentence[i : i + chunk] for i in range(0, len(sentence), chunk)]
    assert decode(moonshine, *chunks) == decode(moonshine, sentence)


def test_an_utterance_is_read_on_from_its_context(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    cut = 2 * SAMPLE_RATE + 1_600  # "It was the best | of times"
    before, after = sentence[:cut], sentence[cut:]
    stream = moonshine.open_stream(
        RecognitionOptions(), context=Context(before, decode(moonshine, before).tokens)
    )
    stream.push(after)
    (hypothesis,) = moonshine.decode([stream], final=[True])
    assert hypothesis.text.startswith("of times.")
    assert not decode(moonshine, after).text.startswith("of times.")


def test_context_without_audio_after_it_has_no_text(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray
) -> None:
    context = Context(sentence, decode(moonshine, sentence).tokens)
    stream = moonshine.open_stream(RecognitionOptions(), context=context)
    assert moonshine.decode([stream], final=[True]) == [Hypothesis("", language="en")]


def test_the_audio_is_read_on_as_many_threads_as_a_decode_is_given(
    moonshine: MoonshineRecognizer, sentence: PcmArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, given = LeanModel.encode, []

    def noting(self: LeanModel, audio: NDArray[np.float32], *, threads: int = 1) -> Tensors:
        given.append(threads)
        return encode(self, audio, threads=threads)

    monkeypatch.setattr(LeanModel, "encode", noting)
    stream = moonshine.open_stream(RecognitionOptions())
    stream.push(sentence)
    moonshine.decode([stream], final=[True])
    moonshine.decode([stream], final=[True], threads=2)
    assert given == [1, 2]


def test_streams_of_one_call_do_not_affect_each_other(
    moonshine: MoonshineRecognizer, decode: Decode, speech: PcmArray
) -> None:
    halves = speech[: 5 * SAMPLE_RATE], speech[5 * SAMPLE_RATE : 10 * SAMPLE_RATE]
    streams = [moonshine.open_stream(RecognitionOptions()) for _ in halves]
    for stream, half in zip(streams, halves, strict=True):
        stream.push(half)
    together = moonshine.decode(streams, final=[True, True])
    assert together == [decode(moonshine, half) for half in halves]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of tokens of each pass of the decoder after the first."""
    counted: list[int] = []
    extend = LeanModel.extend

    def counting(self: LeanModel, state: DecoderState, tokens: Sequence[int]) -> Logits:
        counted.append(len(tokens))
        return extend(self, state, tokens)

    monkeypatch.setattr(LeanModel, "extend", counting)
    return counted


def test_an_interim_that_repeats_the_previous_hypothesis_takes_one_pass(
    moonshine: MoonshineRecognizer, passes: list[int], sentence: PcmArray
) -> None:
    stream = moonshine.open_stream(RecognitionOptions())
    stream.push(sentence[:TO_A_PAUSE])
    (first,) = moonshine.decode([stream], final=[False])
    steps = len(passes)
    (second,) = moonshine.decode([stream], final=[False])
    assert second.text == first.text
    assert steps == len(first.tokens)
    assert len(passes) == steps


def test_interims_take_far_fewer_passes_than_decoding_afresh(
    moonshine: MoonshineRecognizer, passes: list[int], sentence: PcmArray
) -> None:
    def decode_growing(*, afresh: bool) -> int:
        passes.clear()
        stream = moonshine.open_stream(RecognitionOptions())
        for i in range(4_800, len(sentence), 4_800):
            if afresh:
                stream = moonshine.open_stream(RecognitionOptions())
            stream.push(sentence[0 if afresh else i - 4_800 : i])
            moonshine.decode([stream], final=[False])
        return len(passes)

    assert decode_growing(afresh=False) < decode_growing(afresh=True) / 2


def test_a_draft_goes_on_after_a_word_that_changed(
    moonshine: MoonshineRecognizer, passes: list[int], sentence: PcmArray
) -> None:
    stream = moonshine.open_stream(RecognitionOptions())
    stream.push(sentence[:TO_A_PAUSE])
    (hypothesis,) = moonshine.decode([stream], final=[False])
    passes.clear()
    wrong = list(hypothesis.tokens)
    wrong[3] += 1
    moved = moonshine.open_stream(
        RecognitionOptions(), previous=Hypothesis("", tokens=tuple(wrong))
    )
    moved.push(sentence[:TO_A_PAUSE])
    assert moonshine.decode([moved], final=[False])[0].text == hypothesis.text
    assert len(passes) < len(hypothesis.tokens) / 2


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_that_are_no_speech_give_no_text(
    moonshine: MoonshineRecognizer, decode: Decode, name: str
) -> None:
    hypothesis = decode(moonshine, _pcm(SOUNDS[name]))
    assert hypothesis.text == ""
    assert hypothesis.confidence is None


def test_a_stream_without_audio_has_no_text(moonshine: MoonshineRecognizer, decode: Decode) -> None:
    assert decode(moonshine) == Hypothesis("", language="en")


@pytest.mark.parametrize("length", [1, 100, 1_599, 1_600, 1_601])
def test_any_length_of_audio_can_be_decoded(
    moonshine: MoonshineRecognizer, decode: Decode, sentence: PcmArray, length: int
) -> None:
    hypothesis = decode(moonshine, sentence[3 * SAMPLE_RATE :][:length])
    assert hypothesis.text == "" or hypothesis.confidence >= MIN_CONFIDENCE


def test_text_has_at_most_the_tokens_that_can_be_said_in_the_time(
    moonshine: MoonshineRecognizer, decode: Decode
) -> None:
    hypothesis = decode(moonshine, _pcm(SOUNDS["mains hum"]))
    assert len(hypothesis.tokens) <= 20  # 3 s at 6.5 tokens a second


def test_a_stream_of_another_recogniser_is_refused(moonshine: MoonshineRecognizer) -> None:
    stream = registry.load("fake").open_stream(RecognitionOptions())
    with pytest.raises(TypeError, match="another recogniser"):
        moonshine.decode([stream], final=[True])


def test_a_closed_recogniser_refuses_to_decode_and_can_be_closed_again(sentence: PcmArray) -> None:
    recognizer = registry.load("moonshine-tiny-en")
    recognizer.warm_up()
    stream = recognizer.open_stream(RecognitionOptions())
    stream.push(sentence)
    recognizer.close()
    recognizer.close()
    with pytest.raises(ClosedError):
        recognizer.decode([stream], final=[True])


def test_a_folder_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="encoder_model"):
        MoonshineRecognizer(tmp_path)


def test_a_damaged_graph_is_refused(tmp_path: Path) -> None:
    folder = catalogue.locate("moonshine-tiny-en")
    (tmp_path / "tokenizer.bin").symlink_to(folder / "tokenizer.bin")
    (tmp_path / "decoder_model_merged.ort").symlink_to(folder / "decoder_model_merged.ort")
    (tmp_path / "encoder_model.ort").write_bytes(b"not a graph")
    with pytest.raises(ModelFileError, match=r"encoder_model\.ort is no model"):
        MoonshineRecognizer(tmp_path)
