"""One recogniser for several processes, as LiveKit's jobs have it."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from fake_hark import frames
from listening import START, Errors, Listener, assert_order, eventually, texts
from livekit.agents import APIStatusError
from livekit.agents.stt import SpeechEvent
from test_with_hark import ENDPOINTING, reading, spans, told, transcript

from hark.cores import usable_cores
from livekit.plugins import hark
from livekit.plugins.hark.link.inprocess import EmbeddedBackend
from livekit.plugins.hark.link.shared import SharedBackend

DEADLINE_S = 30.0
JOBS = Path(__file__).with_name("job_processes.py")


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where servers meet in this test. Not `tmp_path`: that is too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="hark-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    left = servers(folder)
    for server in left:
        server.kill()
    psutil.wait_procs(left, DEADLINE_S)
    shutil.rmtree(folder)


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process look like one that multiprocessing started."""
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)


def servers(folder: Path) -> list[psutil.Process]:
    """The servers that meet their clients somewhere below a folder."""

    def is_server(process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
        except psutil.Error:  # it has just ended, or is not ours to look at
            return False
        return "hark.shared.server" in " ".join(command) and f'"{folder}/' in command[-1]

    return [*filter(is_server, psutil.process_iter())]


def workers(processes: list[psutil.Process]) -> list[psutil.Process]:
    """The processes below these that have loaded a model."""
    below = {child for process in processes for child in process.children(recursive=True)}
    return [p for p in below if "hark.engines.worker_main" in " ".join(p.cmdline())]


def push_at(stream: hark.SpeechStream, samples: np.ndarray, rate: int) -> None:
    for frame in frames(samples, rate=rate):
        stream.push_frame(frame)


def words(events: list[SpeechEvent]) -> list[str]:
    """Those of the finals."""
    return re.findall(r"\w+", " ".join(texts(events)).lower())


def test_a_plain_process_has_a_recogniser_of_its_own(runtime_folder: Path) -> None:
    assert isinstance(hark.STT()._backend, EmbeddedBackend)


def test_a_job_process_shares_one(runtime_folder: Path, in_a_job: None) -> None:
    assert isinstance(hark.STT()._backend, SharedBackend)


def test_share_says_otherwise(runtime_folder: Path, in_a_job: None) -> None:
    assert isinstance(hark.STT(share=False)._backend, EmbeddedBackend)


def test_a_plain_process_may_share_too(runtime_folder: Path) -> None:
    assert isinstance(hark.STT(share=True)._backend, SharedBackend)


def test_where_sharing_is_not_possible_a_job_has_its_own_and_says_so(
    runtime_folder: Path, in_a_job: None, caplog: pytest.LogCaptureFixture
) -> None:
    (runtime_folder / f"hark-{os.getuid()}").mkdir(mode=0o755)
    with caplog.at_level(logging.WARNING, "livekit.plugins.hark"):
        assert isinstance(hark.STT()._backend, EmbeddedBackend)
    (record,) = caplog.records
    assert "alone" in vars(record)["reason"]


def test_where_sharing_is_not_possible_it_cannot_be_asked_for(runtime_folder: Path) -> None:
    (runtime_folder / f"hark-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(ValueError, match="share=True"):
        hark.STT(share=True)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_two_job_processes_share_one_server_and_its_workers(
    runtime_folder: Path, tmp_path: Path, method: str
) -> None:
    samples, rate = reading(5)
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    command = [sys.executable, JOBS, method, "2", tmp_path / "speech.wav"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            check_two_jobs(program, runtime_folder)
        finally:
            program.kill()


def check_two_jobs(program: subprocess.Popen[str], runtime_folder: Path) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    for _ in range(2):
        result = json.loads(program.stdout.readline())
        assert result["backend"] == "SharedBackend"
        assert "best of times" in result["streamed"]
        assert result["whole"] == result["streamed"]
    (server,) = servers(runtime_folder)
    mine, everyones = workers([server]), workers([server, psutil.Process(program.pid)])
    assert len(mine) == usable_cores()
    assert set(mine) == set(everyones)
    server.terminate()  # it shall not linger
    program.stdin.close()
    assert program.wait(DEADLINE_S) == 0
    assert not psutil.wait_procs([server, *mine], DEADLINE_S)[1]


async def test_shared_and_in_process_the_same_audio_gives_the_same_events(
    runtime_folder: Path,
) -> None:
    async with hark.STT(share=True, **ENDPOINTING) as stt:
        shared = await transcript(stt, *reading(9))
    async with hark.STT(share=False, **ENDPOINTING) as stt:
        own = await transcript(stt, *reading(9))
    assert told(shared) == told(own)
    assert len(texts(own)) >= 2
    assert_order(shared)


@pytest.mark.faults
async def test_no_word_is_lost_when_the_shared_server_is_killed(runtime_folder: Path) -> None:
    samples, rate = reading(9)
    async with hark.STT(share=False, **ENDPOINTING) as stt:
        expected = await transcript(stt, samples, rate)
    in_the_second_utterance = int(sum(spans(expected)[1]) / 2 * rate)
    async with hark.STT(share=True, **ENDPOINTING) as stt:
        errors = Errors(stt)
        stream = stt.stream()
        listener = Listener(stream)
        push_at(stream, samples[:in_the_second_utterance], rate)
        await listener.until(START, 2)
        (server,) = servers(runtime_folder)
        server.kill()
        push_at(stream, samples[in_the_second_utterance:], rate)
        stream.end_input()
        events = await listener.end()
    # What is heard anew from the middle may come out with other punctuation.
    assert words(events) == words(expected)
    assert_order(events)
    assert errors.reported
    assert all(errors.recoverable)


async def test_an_unknown_model_is_a_clear_error(runtime_folder: Path) -> None:
    async with hark.STT(share=True, model="no-such-model") as stt, stt.stream() as stream:
        with pytest.raises(APIStatusError, match="no-such-model") as error:
            await Listener(stream).end()
    assert error.value.status_code == 404


async def test_prewarming_starts_the_server_and_closing_ends_it(runtime_folder: Path) -> None:
    async with hark.STT(share=True, model="fake") as stt:
        assert servers(runtime_folder) == []
        stt.prewarm()
        await eventually(lambda: len(servers(runtime_folder)) == 1)
        await transcript(stt, *reading(1))
        (server,) = servers(runtime_folder)
        server.terminate()  # it shall not linger
    assert not (await asyncio.to_thread(psutil.wait_procs, [server], DEADLINE_S))[1]


async def test_another_model_is_another_server(runtime_folder: Path) -> None:
    async with hark.STT(share=True, model="fake") as stt:
        assert texts(await transcript(stt, *reading(4)))[0].startswith("one two")
        stt.update_options(model="moonshine-tiny-en")
        assert "best of times" in texts(await transcript(stt, *reading(4)))[0]
        assert len(servers(runtime_folder)) == 2
