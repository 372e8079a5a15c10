from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hark import recording
from hark.cli import app, extras

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]
REFERENCE = "It was the best of times."
FINAL = re.compile(r"^ +(\d+\.\d\d) - +(\d+\.\d\d) +(\d+) ms  (\S.*)$", re.MULTILINE)


def test_the_demo_shows_finals_latencies_and_the_word_error_rate(
    run_hark: Run, short_speech_file: Path
) -> None:
    done = run_hark("demo", "--audio", short_speech_file, "--reference", REFERENCE)
    assert (done.returncode, done.stderr) == (0, "")
    finals = FINAL.findall(done.stdout)
    assert finals
    assert all(float(start) < float(end) <= 3.0 for start, end, _, _ in finals)
    assert re.search(r"^WER +\d+\.\d% \(\d errors in 6 words; whisper-normal", done.stdout, re.M)
    assert re.search(rf"^utterances +{len(finals)} *$", done.stdout, re.M)
    assert re.search(r"^final latency +median \d+ ms, p95 \d+ ms", done.stdout, re.M)
    assert re.search(r"^interim latency +median \d+ ms, p95 \d+ ms", done.stdout, re.M)
    assert re.search(r"^model +moonshine-tiny-en *$", done.stdout, re.M)
    assert re.search(r"^mode +embedded *$", done.stdout, re.M)
    assert "\x1b" not in done.stdout


def test_the_demo_on_a_server_is_the_same(
    run_hark: Run, server: str, api_key: str, short_speech_file: Path, tmp_path: Path
) -> None:
    text = tmp_path / "said.txt"
    text.write_text(REFERENCE)
    done = run_hark(
        "demo",
        "--audio",
        short_speech_file,
        "--reference",
        text,
        "--url",
        server,
        HARK_API_KEY=api_key,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert FINAL.findall(done.stdout)
    assert "errors in 6 words" in done.stdout
    assert re.search(rf"^mode +server {server} *$", done.stdout, re.M)


def test_a_terminal_also_sees_interims_and_progress(
    start_hark: Start, short_speech_file: Path
) -> None:
    ours, theirs = pty.openpty()
    command = start_hark(
        "demo", "--audio", short_speech_file, terminal=theirs, TERM="xterm", COLUMNS="120"
    )
    os.close(theirs)
    seen = _read_all(ours)
    assert command.wait()[0] == 0
    assert "/ 3.0 s" in seen
    interims = set(re.findall(r"- \.\.\..*?ms\S* +(.*?)\r\n", seen))
    assert len(interims) > 1


def _read_all(terminal: int) -> str:
    chunks = []
    with open(terminal, "rb", buffering=0) as file:
        while True:
            try:
                chunk = file.read(65536)
            except OSError:  # how Linux reports that the other side of a terminal is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
    return b"".join(chunks).decode()


def test_a_server_that_is_not_there_ends_the_demo(url_of_nobody: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--url", url_of_nobody])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no Hark server at {url_of_nobody}: Connection refused" in result.stderr


def test_a_wrong_key_ends_the_demo_and_is_not_repeated(run_hark: Run, server: str) -> None:
    done = run_hark("demo", "--url", server, "--api-key", "wr0ng")
    assert done.returncode == 1
    assert "HARK_API_KEY" in done.stderr
    assert "wr0ng" not in done.stdout + done.stderr


def test_a_missing_extra_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "missing", lambda extra: ["jiwer"])
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert "pip install 'hark-stt[demo]'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--reference", "text"], ["--audio", "missing.wav"], ["--speed", "0"], ["--url", "ftp://x"]],
)
def test_what_does_not_fit_together_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["demo", *arguments]).exit_code == 2


@pytest.mark.faults
def test_ctrl_c_ends_the_demo_and_leaves_no_process(start_hark: Start, still_alive: Any) -> None:
    command = start_hark("demo")
    assert command.process.stdout.readline().startswith(recording.TITLE)
    children = command.wait_for_children()
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait() == (130, "")
    assert still_alive(children) == []
