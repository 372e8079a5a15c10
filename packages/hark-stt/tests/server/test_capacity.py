"""Tests of hark.server.capacity, with the real model: what is measured, kept and used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hark import recording
from hark.audio import SAMPLE_RATE, read_audio
from hark.engines.pool import ModelPool
from hark.errors import AudioError
from hark.server import capacity as module
from hark.server.capacity import Cost, capacity, measure, measured_capacity
from hark.server.settings import SESSIONS_PER_WORKER


@pytest.fixture
def kept_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(module, "_folder", lambda: tmp_path / "capacity")
    return tmp_path / "capacity"


def test_more_workers_and_cores_carry_more_and_a_dearer_model_fewer() -> None:
    cost = Cost(speech_s=0.03, vad_s=0.004)
    assert capacity(cost, workers=2, cores=2) == 33
    assert capacity(cost, workers=4, cores=4) == 66
    assert capacity(Cost(0.3, 0.004), workers=2, cores=2) < 7


def test_workers_without_cores_of_their_own_carry_no_more() -> None:
    cost = Cost(speech_s=0.03, vad_s=0.004)
    assert capacity(cost, workers=8, cores=2) == capacity(cost, workers=2, cores=2)


def test_a_machine_that_is_too_slow_still_takes_one() -> None:
    assert capacity(Cost(10.0, 0.1), workers=1, cores=1) == 1


def test_what_speech_costs_is_measured_with_the_real_model(pool: ModelPool) -> None:
    (scheduler,) = pool.schedulers
    cost = measure(scheduler, read_audio(recording.path())[: 3 * SAMPLE_RATE])
    assert 0 < cost.vad_s < cost.speech_s < 1
    assert scheduler.waiting == 0


def test_a_measurement_is_kept_and_used_again(
    fake_pool: ModelPool, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measured_capacity(fake_pool)
    monkeypatch.setattr(module, "measure", lambda *_: pytest.fail("measured again"))
    assert measured_capacity(fake_pool) == first
    (file,) = kept_in.iterdir()
    assert set(json.loads(file.read_bytes())) == {"speech_s", "vad_s"}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"speech_s": "fast", "vad_s": 1}'])
def test_a_spoiled_measurement_is_made_anew(
    fake_pool: ModelPool, kept_in: Path, content: bytes
) -> None:
    measured_capacity(fake_pool)
    (file,) = kept_in.iterdir()
    file.write_bytes(content)
    assert measured_capacity(fake_pool) is not None
    assert json.loads(file.read_bytes())


def test_a_machine_where_nothing_can_be_kept_measures_every_time(
    fake_pool: ModelPool, kept_in: Path
) -> None:
    kept_in.write_text("not a folder")
    assert measured_capacity(fake_pool) is not None


def test_a_server_admits_what_was_measured(
    run_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.server.service.measured_capacity", lambda models: 17)
    assert run_server().service.max_sessions == 17
    assert run_server(max_sessions=3).service.max_sessions == 3


def test_without_speech_to_measure_with_a_server_is_cautious(
    run_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Path:
        raise AudioError("missing")

    monkeypatch.setattr(recording, "path", missing)
    server = run_server()
    assert server.service.max_sessions % SESSIONS_PER_WORKER == 0
