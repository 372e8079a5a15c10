"""Tests of hark.vad, with the real model on real speech."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from hark import vad
from hark.audio import PcmArray, to_float
from hark.errors import ModelFileError
from hark.vad import WINDOW, SileroDetector, SileroModel, silero_model

Probabilities = NDArray[np.float32]


@pytest.fixture(scope="module")
def expected(speech: PcmArray) -> Probabilities:
    return SileroDetector().push(speech)


def test_there_is_a_probability_for_each_whole_window(
    speech: PcmArray, expected: Probabilities
) -> None:
    assert expected.shape == (len(speech) // WINDOW,)
    assert expected.dtype == np.float32
    assert 0 <= expected.min() <= expected.max() <= 1


def test_speech_is_told_from_silence(expected: Probabilities) -> None:
    # The recording begins with a second of silence, and then somebody reads.
    assert (expected[:36] < 0.2).all()
    assert (expected[38:] > 0.5).mean() > 0.8


def test_noise_and_silence_are_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 300, 32_000).astype(np.int16)
    for audio in (noise, np.zeros(32_000, np.int16)):
        assert (SileroDetector().push(audio)[10:] < 0.2).all()


def test_each_window_is_scored_with_the_64_samples_before_it(
    speech: PcmArray, expected: Probabilities
) -> None:
    model = silero_model()
    state = np.zeros((2, 1, 128), np.float32)
    padded = np.concatenate((np.zeros(64, np.float32), to_float(speech)))
    for i in range(100):
        window = padded[i * WINDOW : (i + 1) * WINDOW + 64]
        probability, state = model.run(window[np.newaxis], state)
        assert expected[i] == np.float32(probability)


@pytest.mark.parametrize("chunk", [1, 160, 511, 512, 513, 1_600, 7_777])
def test_any_chunking_gives_the_very_same_probabilities(
    speech: PcmArray, expected: Probabilities, chunk: int
) -> None:
    detector = SileroDetector()
    length = 16_000 if chunk == 1 else len(speech)
    parts = [detector.push(speech[i : min(i + chunk, length)]) for i in range(0, length, chunk)]
    assert np.array_equal(np.concatenate(parts), expected[: length // WINDOW])


def test_less_than_a_window_gives_nothing_yet(speech: PcmArray) -> None:
    detector = SileroDetector()
    assert detector.push(speech[:0]).shape == (0,)
    assert detector.push(speech[: WINDOW - 1]).shape == (0,)
    assert detector.push(speech[WINDOW - 1 : WINDOW]).shape == (1,)


def test_a_reset_detector_is_like_a_new_one(speech: PcmArray, expected: Probabilities) -> None:
    detector = SileroDetector()
    detector.push(speech[50_000:70_100])  # leaves a part of a window behind, too
    detector.reset()
    assert np.array_equal(detector.push(speech), expected)


def test_two_interleaved_streams_do_not_hear_each_other(
    speech: PcmArray, expected: Probabilities
) -> None:
    other_speech = speech[::-1].copy()
    other_expected = SileroDetector().push(other_speech)
    one, other = SileroDetector(), SileroDetector()
    parts, other_parts = [], []
    for i in range(0, len(speech), 1_000):
        parts.append(one.push(speech[i : i + 1_000]))
        other_parts.append(other.push(other_speech[i : i + 1_000]))
    assert np.array_equal(np.concatenate(parts), expected)
    assert np.array_equal(np.concatenate(other_parts), other_expected)


def test_streams_in_several_threads_do_not_hear_each_other(
    speech: PcmArray, expected: Probabilities
) -> None:
    results: list[Probabilities] = []
    threads = [
        threading.Thread(target=lambda: results.append(SileroDetector().push(speech)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(result, expected) for result in results)


def test_the_model_is_loaded_once() -> None:
    assert silero_model() is silero_model()


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad.SileroModel, "_PACKAGE", "hark_no_such_package")
    with pytest.raises(ModelFileError, match="reinstall hark-stt"):
        SileroModel()
