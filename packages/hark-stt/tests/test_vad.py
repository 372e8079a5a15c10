"""Tests of hark.vad, with the real model on real speech."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hark import inference, silero_graph, vad
from hark.audio import SAMPLE_RATE, PcmArray, to_float
from hark.errors import ModelFileError
from hark.vad import MOST_AT_ONCE, WINDOW, SileroModel, silero_model

Probabilities = NDArray[np.float32]


def _score(*streams: PcmArray) -> list[Probabilities]:
    """Score streams of one length side by side, window by window."""
    model = silero_model()
    audio = np.stack(streams)
    memories = np.stack([model.unheard] * len(streams))
    columns = []
    for i in range(audio.shape[1] // WINDOW):
        probabilities, memories = model.score(audio[:, i * WINDOW :][:, :WINDOW], memories)
        columns.append(probabilities)
    return list(np.stack(columns, axis=1))


def _turned(speech: PcmArray, count: int) -> list[PcmArray]:
    """The speech from so many places on."""
    return [np.roll(speech, -i * len(speech) // count) for i in range(count)]


@pytest.fixture(scope="module")
def expected(speech: PcmArray) -> Probabilities:
    (probabilities,) = _score(speech)
    return probabilities


def test_each_window_gets_a_probability(speech: PcmArray, expected: Probabilities) -> None:
    assert expected.shape == (len(speech) // WINDOW,)
    assert expected.dtype == np.float32
    assert 0 <= expected.min() <= expected.max() <= 1


def test_speech_is_told_from_silence(expected: Probabilities) -> None:
    # The recording begins with a second of silence, and then somebody reads.
    assert (expected[:36] < 0.2).all()
    assert (expected[38:] > 0.5).mean() > 0.8


def test_noise_and_silence_are_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 300, 32_000).astype(np.int16)
    for probabilities in _score(noise, np.zeros(32_000, np.int16)):
        assert (probabilities[10:] < 0.2).all()


def test_the_probabilities_are_those_of_the_published_graph_with_64_samples_of_context(
    speech: PcmArray, expected: Probabilities
) -> None:
    session = inference.load(SileroModel._path())
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(16_000)
    padded = np.concatenate((np.zeros(64, np.float32), to_float(speech)))
    for i in range(100):
        window = padded[i * WINDOW : (i + 1) * WINDOW + 64]
        probability, state = session.run(
            None, {"input": window[np.newaxis], "state": state, "sr": rate}
        )
        assert expected[i] == pytest.approx(probability.item(), abs=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8, MOST_AT_ONCE, MOST_AT_ONCE + 1, 16, 40])
def test_a_stream_gets_the_very_same_probabilities_by_itself_and_in_company(
    speech: PcmArray, expected: Probabilities, count: int
) -> None:
    streams = _turned(speech[: 6 * SAMPLE_RATE], count)
    alone = [_score(stream)[0] for stream in streams]
    assert np.array_equal(alone[0], expected[: len(alone[0])])
    assert np.array_equal(_score(*streams), alone)


def test_streams_in_several_threads_do_not_hear_each_other(
    speech: PcmArray, expected: Probabilities
) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(_score, [speech] * 4))
    assert all(np.array_equal(result, expected) for (result,) in results)


def test_what_is_remembered_of_a_stream_that_begins_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        silero_model().unheard[0] = 1


def test_the_model_is_loaded_once() -> None:
    assert silero_model() is silero_model()


def test_a_file_that_is_no_such_model_is_named(tmp_path: Path) -> None:
    file = tmp_path / "silero.onnx"
    file.write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"silero\.onnx is no Silero VAD v6"):
        silero_graph.build(file)


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad.SileroModel, "_PACKAGE", "hark_no_such_package")
    with pytest.raises(ModelFileError, match="reinstall hark-stt"):
        SileroModel()
