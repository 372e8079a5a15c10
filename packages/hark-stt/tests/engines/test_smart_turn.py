from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.engines.smart_turn import SmartTurn
from hark.errors import ModelFileError

REFERENCE = [
    (0, 16_000, 0.9836),
    (0, 32_000, 0.1889),
    (0, 48_000, 0.8498),
    (13_056, 76_160, 0.9647),
    (134_656, 168_320, 0.8286),
    (0, 160_000, 0.0146),
    (16_000, 200_000, 0.0411),
]
"""What pipecat-ai 1.14.0 makes of parts of the speech, from sample to sample."""


@pytest.mark.parametrize(("start", "end", "probability"), REFERENCE)
def test_the_model_is_given_what_it_was_trained_on(
    end_of_turn: SmartTurn, speech: PcmArray, start: int, end: int, probability: float
) -> None:
    # It is quantised, and processors round differently: 0.02 apart with VNNI, 0.05 without.
    assert end_of_turn.finished(speech[start:end]) == pytest.approx(probability, abs=0.06)


def test_only_the_last_eight_seconds_are_heard(end_of_turn: SmartTurn, speech: PcmArray) -> None:
    assert len(speech) > 8 * 16_000
    assert end_of_turn.finished(speech) == end_of_turn.finished(speech[-8 * 16_000 :])


@pytest.mark.parametrize("length", [1, 100, 200_000])
def test_any_silence_has_a_probability(end_of_turn: SmartTurn, length: int) -> None:
    assert 0 <= end_of_turn.finished(np.zeros(length, np.int16)) <= 1


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "smart-turn-v3.2-cpu.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="cannot load"):
        SmartTurn(tmp_path)
