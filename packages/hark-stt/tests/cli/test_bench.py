"""`hark bench` as users run it: a real server, the real model, real time."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from hark.cli import app

DEADLINE_S = 30.0

SEGMENTS = [
    {"start": 1.2, "end": 4.5, "text": "it was the best of times it was the worst of times"},
    {"start": 5.0, "end": 8.2, "text": "it was the age of wisdom it was the age of foolishness"},
]


@pytest.fixture
def labelled_file(speech_file: Path, tmp_path: Path) -> Path:
    """The first utterances of the recording, with a manifest beside it."""
    path = tmp_path / "speech.wav"
    path.write_bytes(speech_file.read_bytes())
    text = " ".join(str(segment["text"]) for segment in SEGMENTS)
    row = {"path": path.name, "set": "turns", "text": text, "segments": SEGMENTS}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row), encoding="utf-8")
    return path


def test_bench_measures_what_was_played(
    run_hark: Callable[..., Any], labelled_file: Path, tmp_path: Path
) -> None:
    done = run_hark(
        *("bench", labelled_file, "--streams", "1", "--seconds", "6", "--workers", "1"),
        *("--format", "json", "--output", tmp_path / "results"),
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["problem"] is None
    (step,) = result["steps"]
    measures, usage = step["measures"], step["usage"]
    assert measures["failures"] == []
    assert measures["utterances"] == 2
    assert measures["lost"] == 0
    assert measures["ends_are_known"]
    assert measures["final"]["count"] == 2
    assert measures["final"]["p95_s"] > 0.2  # the endpointing silence is in it
    assert measures["interval"]["count"] > 2
    assert measures["wer"] < 0.3
    assert usage["server_cores"] > usage["client_cores"] > 0
    assert usage["peak_mb"] > 100
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names >= {"bench.json", "bench.md", "final-latency.png"}


def test_an_interrupted_bench_leaves_no_process_behind(
    start_hark: Callable[..., Any], still_alive: Callable[..., list[psutil.Process]]
) -> None:
    command = start_hark("bench", "--streams", "2", "--workers", "1")
    family: list[psutil.Process] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(family) < 3 and time.monotonic() < deadline:  # player, server, worker
        family = command.wait_for_children()
        time.sleep(0.05)
    assert len(family) >= 3
    command.process.send_signal(signal.SIGINT)
    code, complaints = command.wait()
    assert code == 130, complaints
    assert still_alive(family) == []


def _bench(*arguments: object, folder: Path | None = None) -> Result:
    """Run the command in this process, as what is refused needs no other; name a folder of sets."""
    named = None if folder is None else str(folder)
    return CliRunner().invoke(app, ["bench", *map(str, arguments)], env={"HARK_SPEECH_DIR": named})


def test_recordings_that_do_not_exist_are_wrong_usage() -> None:
    assert _bench("nothing.wav").exit_code == 2


def test_a_set_needs_the_folder_with_the_manifest() -> None:
    result = _bench("--set", "turns")
    assert result.exit_code == 2
    assert "HARK_SPEECH_DIR" in result.stderr


def test_an_unknown_set_is_told_before_anything_is_measured(labelled_file: Path) -> None:
    result = _bench("--set", "other", folder=labelled_file.parent)
    assert result.exit_code == 1
    assert "has no set 'other'" in result.stderr


@pytest.mark.parametrize("streams", ["0", "1,x", ""])
def test_numbers_of_streams_that_make_no_sense_are_wrong_usage(streams: str) -> None:
    result = _bench("--streams", streams)
    assert result.exit_code == 2
    assert "--streams" in result.stderr


def test_an_unknown_peer_is_answered_with_those_there_are() -> None:
    result = _bench("--against", "everybody")
    assert result.exit_code == 2
    assert "whisperlivekit" in result.stderr
