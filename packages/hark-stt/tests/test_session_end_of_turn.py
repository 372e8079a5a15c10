"""Tests of hark.session with an end-of-turn model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.ear import EndOfTurnModel
from hark.engines.pool import ModelPool
from hark.engines.smart_turn import SmartTurn
from hark.scheduler import Scheduler
from hark_protocol import Config, Endpointing, Final, Ready, SpeechStarted

Connect = Callable[..., Any]

OFF = Endpointing(silence_ms=320, min_speech_ms=0)
ON = Endpointing(silence_ms=320, max_silence_ms=1_000, min_speech_ms=0)
ADAPTIVE = Endpointing(silence_ms=240, max_silence_ms=700)

PAUSE_S = 0.7
"""An utterance's end with OFF; with ON it depends."""


class _Models:
    """A pool with another end-of-turn model. Satisfies `hark.session.Models`."""

    def __init__(self, pool: ModelPool, model: EndOfTurnModel) -> None:
        self.loads = 0
        self._pool = pool
        self._model = model

    def select(self, model: str | None, language: str | None) -> Scheduler:
        return self._pool.select(model, language)

    def end_of_turn(self) -> EndOfTurnModel:
        self.loads += 1
        return self._model


class _Certain:
    """Satisfies `EndOfTurnModel`."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def finished(self, audio: PcmArray) -> float:
        return self._probability


class _Slow(_Certain):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def finished(self, audio: PcmArray) -> float:
        self.asked.set()
        assert self.may_answer.wait(30)
        return super().finished(audio)


def _sounds(count: int) -> PcmArray:
    sound, silence = np.full(16_000, 1_000, np.int16), np.zeros(int(PAUSE_S * 16_000), np.int16)
    return np.concatenate([sound, silence] * count)


@pytest.mark.parametrize(
    ("endpointing", "probability", "utterances"),
    [(ON, 0.0, 1), (ON, 1.0, 2), (OFF, 0.0, 2)],
)
async def test_the_model_decides_which_pauses_are_bridged(
    connect: Connect,
    fake_pool: ModelPool,
    loudness_detector: Any,
    endpointing: Endpointing,
    probability: float,
    utterances: int,
) -> None:
    client = connect(_Models(fake_pool, _Certain(probability)), detector=loudness_detector)
    await client.configure(endpointing=endpointing)
    await client.say(_sounds(2))
    await client.hang_up()
    assert len(client.of(Final)) == utterances


async def test_the_model_is_loaded_once_and_only_when_it_is_wanted(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    models = _Models(fake_pool, _Certain(0.0))
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=OFF)
    two_and_silence = np.concatenate([_sounds(2), np.zeros(16_000, np.int16)])
    await client.say(two_and_silence)
    assert models.loads == 0
    for max_silence_ms in (1_000, 0, 1_000):
        await client.send(Config(endpointing=Endpointing(max_silence_ms=max_silence_ms)))
        await client.say(two_and_silence)
    assert models.loads == 1
    await client.hang_up()
    assert len(client.of(Final)) == 2 + 1 + 2 + 1


async def test_without_the_model_it_is_said_how_to_get_it(
    connect: Connect, fake_pool: ModelPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("hark.engines.smart_turn._model", None)
    client = connect(fake_pool)
    await client.configure(endpointing=ON)
    await client.until_over()
    assert client.error.code == "option_not_supported"
    assert "hark models download smart-turn-v3.2" in client.error.message


async def test_a_session_that_is_closed_while_the_model_loads_is_not_opened(
    connect: Connect, fake_pool: ModelPool
) -> None:
    loading, may_load = threading.Event(), threading.Event()

    class Loading(_Models):
        def end_of_turn(self) -> EndOfTurnModel:
            loading.set()
            assert may_load.wait(30)
            return super().end_of_turn()

    client = connect(Loading(fake_pool, _Certain(0.0)))
    opening = asyncio.create_task(client.configure(endpointing=ON))
    await asyncio.to_thread(loading.wait, 30)
    await client.aclose()
    may_load.set()
    await opening
    assert client.of(Ready) == []


async def test_others_do_not_wait_for_the_model(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    model = _Slow()
    patient = connect(_Models(fake_pool, model), detector=loudness_detector)
    await patient.configure(endpointing=ON)
    saying = asyncio.create_task(patient.say(_sounds(1)))
    await asyncio.to_thread(model.asked.wait, 30)
    other = connect(fake_pool, detector=loudness_detector)
    await other.configure(endpointing=OFF)
    await other.say(_sounds(2))
    await other.hang_up()
    assert len(other.of(Final)) == 2
    assert not patient.of(Final)
    model.may_answer.set()
    await saying
    await patient.hang_up()
    assert len(patient.of(Final)) == 1


# --- the same audio, the same finals


async def _finals(
    connect: Connect, models: _Models, speech: PcmArray, chunk: int
) -> list[tuple[int, int, str]]:
    client = connect(models)
    await client.configure(endpointing=ADAPTIVE)
    await client.say(speech, chunk)
    await client.hang_up()
    transcripts: list[tuple[int, int, str]] = client.transcripts
    return transcripts


def _waits_for_one_final_at_most(client: Any) -> bool:
    return len(client.of(Final)) >= len(client.of(SpeechStarted)) - 1


async def _finals_over_lost_connections(
    connect: Connect, models: _Models, speech: PcmArray
) -> list[tuple[int, int, str]]:
    finals: list[tuple[int, int, str]] = []
    position = context = 0
    for end in range(30_000, len(speech), 30_000):
        client = connect(models)
        await client.configure(start_sample=position, context_sample=context, endpointing=ADAPTIVE)
        await client.say(speech[context:end])
        await client.until(partial(_waits_for_one_final_at_most, client))
        await client.aclose()
        finals += client.transcripts
        position, context = client.finalized, client.context
    client = connect(models)
    await client.configure(start_sample=position, context_sample=context, endpointing=ADAPTIVE)
    await client.say(speech[context:])
    await client.hang_up()
    return [*finals, *client.transcripts]


async def _assert_finals_depend_on_the_audio_alone(
    connect: Connect, models: _Models, speech: PcmArray
) -> None:
    expected = await _finals(connect, models, speech, 1_600)
    assert await _finals(connect, models, speech, 7_777) == expected
    assert await _finals_over_lost_connections(connect, models, speech) == expected


async def test_finals_depend_on_the_audio_alone(
    connect: Connect, fake_pool: ModelPool, speech: PcmArray, guess: Any
) -> None:
    await _assert_finals_depend_on_the_audio_alone(connect, _Models(fake_pool, guess), speech)


async def test_finals_depend_on_the_audio_alone_with_the_real_model(
    connect: Connect, pool: ModelPool, speech: PcmArray, end_of_turn: SmartTurn
) -> None:
    await _assert_finals_depend_on_the_audio_alone(connect, _Models(pool, end_of_turn), speech)
