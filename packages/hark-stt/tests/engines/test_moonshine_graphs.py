"""Tests of hark.engines.moonshine_graphs and ort_format, with the weights of the default model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hark import inference
from hark.audio import SAMPLE_RATE, PcmArray, to_float
from hark.engines import catalogue, moonshine_graphs, moonshine_model, ort_format
from hark.engines.moonshine_model import (
    END_TOKEN,
    START_TOKEN,
    ExportedModel,
    LeanModel,
    Logits,
    MoonshineModel,
    Tensors,
)
from hark.errors import ModelFileError, RecognitionError

DECODER = "decoder_model_merged.ort"
ENCODER = "encoder_model.ort"

TO_A_PAUSE = 76_160
"""Samples of the speech up to a pause: half a word may be read in two ways."""


@pytest.fixture(scope="module")
def folder() -> Path:
    return catalogue.verify("moonshine-tiny-en")


@pytest.fixture(scope="module")
def lean(folder: Path) -> LeanModel:
    model = moonshine_model.load(folder)
    assert isinstance(model, LeanModel)
    return model


@pytest.fixture(scope="module")
def exported(folder: Path) -> ExportedModel:
    return ExportedModel(folder / ENCODER, folder / DECODER)


def _written(model: MoonshineModel, encoded: Tensors) -> list[int]:
    tokens = [START_TOKEN]
    rows, state = model.begin(encoded, tokens)
    while tokens[-1] != END_TOKEN and len(tokens) < 200:
        tokens.append(int(rows[-1].argmax()))
        rows = model.extend(state, tokens[-1:])
    return tokens


@pytest.mark.parametrize("seconds", [1, 4, 12])
def test_the_built_encoder_hears_what_the_exported_one_hears(
    lean: LeanModel, exported: ExportedModel, speech: PcmArray, seconds: int
) -> None:
    audio = to_float(speech[: seconds * SAMPLE_RATE])
    expected = exported.encode(audio)["encoder_hidden_states"]
    difference = np.abs(lean.hear(audio) - expected).mean()
    # Both are some 5 % away from what weights that are not quantised give.
    assert difference < 0.1 * np.abs(expected).mean()


@pytest.fixture
def threads_used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of threads of each run of a graph."""
    used: list[int] = []
    run = inference.run

    def noting(session: Any, outputs: Any, feeds: Any) -> Any:
        used.append(session.get_session_options().intra_op_num_threads)
        return run(session, outputs, feeds)

    monkeypatch.setattr(inference, "run", noting)
    return used


@pytest.mark.parametrize("kind", ["built", "exported"])
@pytest.mark.parametrize("samples", [1_600, TO_A_PAUSE, 12 * SAMPLE_RATE + 77])
def test_on_two_threads_an_encoder_hears_the_same_to_the_last_bit(
    folder: Path, speech: PcmArray, kind: str, samples: int, threads_used: list[int]
) -> None:
    model: MoonshineModel = (
        moonshine_model.load(folder, threads=2)
        if kind == "built"
        else ExportedModel(folder / ENCODER, folder / DECODER, threads=2)
    )
    audio = to_float(speech[:samples])
    expected = model.encode(audio)
    assert set(threads_used) == {1}
    heard = model.encode(audio, threads=2)
    assert threads_used.count(2) == 1  # the encoder's
    assert heard.keys() == expected.keys()
    assert all(np.array_equal(heard[name], expected[name]) for name in expected)


@pytest.mark.parametrize("samples", [SAMPLE_RATE, TO_A_PAUSE])
def test_the_built_decoder_writes_what_the_exported_one_writes(
    lean: LeanModel, exported: ExportedModel, speech: PcmArray, samples: int
) -> None:
    encoded = exported.encode(to_float(speech[:samples]))
    expected = _written(exported, encoded)
    assert expected[-1] == END_TOKEN
    assert len(expected) > 2
    assert _written(lean, lean.cross(encoded["encoder_hidden_states"])) == expected


def _differences(
    lean: LeanModel, exported: ExportedModel, audio: PcmArray, tokens: Sequence[int]
) -> Iterator[float]:
    """How far logits are apart, in parts of their size, for runs of tokens of several lengths."""
    encoded = exported.encode(to_float(audio))
    expected, expected_state = exported.begin(encoded, tokens[:1])
    found, state = lean.begin(lean.cross(encoded["encoder_hidden_states"]), tokens[:1])
    yield _difference(found, expected)
    for start, end in ((1, 5), (5, 6), (6, 9)):
        found = lean.extend(state, tokens[start:end])
        yield _difference(found, exported.extend(expected_state, tokens[start:end]))
    for one in (state, expected_state):
        one.cut(3)
        assert one.length == 3
    found = lean.extend(state, tokens[3:])
    yield _difference(found, exported.extend(expected_state, tokens[3:]))


def _difference(found: Logits, expected: Logits) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).mean() / np.abs(expected).mean())


def test_the_built_decoder_gives_the_logits_of_the_exported_one(
    lean: LeanModel, exported: ExportedModel, speech: PcmArray
) -> None:
    tokens = [START_TOKEN, 5, 77, 300, 1_000, 20_000, 9, 31_000, 2]
    cases = [
        list(_differences(lean, exported, speech[start : start + 2 * SAMPLE_RATE], tokens))
        for start in range(0, 10 * SAMPLE_RATE, 2 * SAMPLE_RATE)
    ]
    # A number that is rounded the other way moves all after it, in one case or another. Graphs that
    # differ do so always.
    assert all(min(step) < 1e-3 for step in zip(*cases, strict=True)), cases
    assert np.max(cases) < 0.25


@pytest.mark.parametrize("known", [1, 3])
def test_what_is_known_is_read_without_logits(
    lean: LeanModel, exported: ExportedModel, speech: PcmArray, known: int
) -> None:
    tokens = [START_TOKEN, 5, 77, 300, 1_000]
    for model in (lean, exported):
        encoded = model.encode(to_float(speech[: 2 * SAMPLE_RATE]))
        rows, state = model.begin(encoded, tokens, known=known)
        all_rows, _ = model.begin(encoded, tokens)
        assert state.length == len(tokens)
        # Not to the last bit: fewer rows are quantised together.
        assert _difference(rows, all_rows[known:]) < 0.1


def test_too_many_tokens_are_refused(lean: LeanModel, speech: PcmArray) -> None:
    tokens = [START_TOKEN] * (moonshine_graphs.DECODER_POSITIONS + 1)
    with pytest.raises(RecognitionError, match="tokens"):
        lean.begin(lean.encode(to_float(speech[:SAMPLE_RATE])), tokens)


def test_another_export_is_run_as_it_is(folder: Path, tmp_path: Path) -> None:
    assert moonshine_graphs.build(folder / DECODER, folder / DECODER) is None
    assert moonshine_graphs.build(folder / ENCODER, folder / ENCODER) is None
    (tmp_path / ENCODER).write_bytes((folder / DECODER).read_bytes())
    (tmp_path / DECODER).write_bytes((folder / DECODER).read_bytes())
    assert isinstance(moonshine_model.load(tmp_path), ExportedModel)


def test_reading_a_model_imports_none_of_onnxruntimes_tools(folder: Path) -> None:
    # They import PyTorch where that is installed: hundreds of megabytes for each worker.
    program = (
        "import sys; from pathlib import Path; from hark.engines import ort_format; "
        f"ort_format.read(Path({str(folder / ENCODER)!r})); "
        "sys.exit('onnxruntime.tools' in sys.modules or any('ort_format' in p for p in sys.path))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", bytes(10_000)])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ort"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="no model in onnxruntime's format"):
        ort_format.read(path)


def test_a_model_that_is_cut_off_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / ENCODER).read_bytes()
    path = tmp_path / "cut.ort"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError):
        ort_format.read(path)
