from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hark import recording
from hark.cli import app
from hark.cli.transcribe import Format
from hark.formats import FORMATS

WORD_S = 0.3
"""How long the fake model takes to say a word."""

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]

BOTH_MODES = pytest.mark.parametrize(
    "mode", [[], ["--realtime"]], ids=["fast as can be", "real time"]
)


def _transcribe(*arguments: object, **variables: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["transcribe", *map(str, arguments)], env=variables)


def test_the_formats_offered_are_those_there_are() -> None:
    assert tuple(format.value for format in Format) == FORMATS


def test_a_file_becomes_text_on_standard_output_and_nothing_else(
    run_hark: Run, speech_file: Path
) -> None:
    done = run_hark("transcribe", speech_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("It was the best of times")
    assert done.stdout.count("\n") == 1


def test_a_failing_file_is_reported_and_the_others_are_done(
    run_hark: Run, speech_file: Path, short_speech_file: Path, tmp_path: Path
) -> None:
    noise = tmp_path / "noise.wav"
    noise.write_text("no audio at all")
    done = run_hark("transcribe", noise, speech_file, tmp_path / "missing.wav", short_speech_file)
    assert done.returncode == 1
    headings = [line for line in done.stdout.splitlines() if line.startswith("==>")]
    assert headings == [f"==> {speech_file} <==", f"==> {short_speech_file} <=="]
    assert "age of wisdom" in done.stdout
    complaints = done.stderr.splitlines()
    assert len(complaints) == 2
    assert "noise.wav: not a readable audio file" in complaints[0]
    assert "missing.wav: No such file" in complaints[1]


def test_standard_input_is_read_for_a_dash(run_hark: Run, short_speech_file: Path) -> None:
    done = run_hark("transcribe", "-", "--format", "json", stdin=short_speech_file.read_bytes())
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["model"] == "moonshine-tiny-en"
    assert document["duration_s"] == pytest.approx(3.0, abs=0.01)
    assert "best of times" in document["text"]


def test_transcripts_of_several_files_go_into_a_folder(
    server: str, api_key: str, speech_file: Path, short_speech_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    files = (speech_file, short_speech_file)
    result = _transcribe(
        *files, "-f", "srt", "-o", folder, HARK_API_URL=server, HARK_API_KEY=api_key
    )
    assert (result.exit_code, result.output) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["short.srt", "speech.srt"]
    assert (folder / "speech.srt").read_text().startswith("1\n00:00:0")


def test_a_transcript_that_cannot_be_written_is_a_failure(
    server: str, api_key: str, short_speech_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "inside.txt"
    result = _transcribe(short_speech_file, "-o", target, HARK_API_URL=server, HARK_API_KEY=api_key)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"hark: {short_speech_file}: ")


def test_real_time_prints_finals(run_hark: Run, short_speech_file: Path) -> None:
    done = run_hark("transcribe", "--realtime", short_speech_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("It was the best of times")


@BOTH_MODES
def test_word_times_that_the_model_does_not_have_are_refused(
    short_speech_file: Path, mode: list[str]
) -> None:
    result = _transcribe("--words", *mode, short_speech_file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no word times" in result.stderr


@pytest.mark.parametrize("where", ["here", "on a server"])
@BOTH_MODES
def test_subtitles_are_cut_at_word_times_where_the_model_has_them(
    server: str, api_key: str, middling_speech_file: Path, mode: list[str], where: str
) -> None:
    url = ["--url", server] if where == "on a server" else []
    result = _transcribe(
        "--model", "fake", "-f", "srt", *mode, *url, middling_speech_file, HARK_API_KEY=api_key
    )
    assert (result.exit_code, result.stderr) == (0, "")
    found = re.findall(r"00:00:(\d\d,\d{3}) --> ", result.stdout)
    starts = [float(seconds.replace(",", ".")) for seconds in found]
    assert len(starts) > 1
    words = [(start - starts[0]) / WORD_S for start in starts]
    assert words == pytest.approx([round(word) for word in words], abs=0.01)


def test_an_unknown_model_is_reported_once(
    run_hark: Run, speech_file: Path, short_speech_file: Path
) -> None:
    done = run_hark("transcribe", "--model", "none-such", speech_file, short_speech_file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("no model 'none-such' here") == 1


@BOTH_MODES
def test_a_server_gives_the_transcript(
    server: str, api_key: str, short_speech_file: Path, mode: list[str]
) -> None:
    url = server.replace("http://", "ws://") + "/ws/transcribe"
    result = _transcribe(*mode, "--url", url, short_speech_file, HARK_API_KEY=api_key)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("It was the best of times")


def test_the_server_can_be_named_by_the_environment(
    server: str, api_key: str, short_speech_file: Path
) -> None:
    result = _transcribe("-f", "json", short_speech_file, HARK_API_URL=server, HARK_API_KEY=api_key)
    assert result.exit_code == 0
    assert "best of times" in json.loads(result.stdout)["text"]


@BOTH_MODES
def test_a_wrong_key_is_refused_and_not_repeated(
    server: str, short_speech_file: Path, mode: list[str]
) -> None:
    result = _transcribe(*mode, "--url", server, "--api-key", "wr0ng", short_speech_file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "HARK_API_KEY" in result.stderr
    assert "wr0ng" not in result.stderr


@BOTH_MODES
def test_what_the_server_refuses_is_told_in_its_words(
    server: str, api_key: str, short_speech_file: Path, mode: list[str]
) -> None:
    result = _transcribe(*mode, "--url", server, "--words", short_speech_file, HARK_API_KEY=api_key)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no word times" in result.stderr


@BOTH_MODES
def test_a_server_that_is_not_there_is_named(
    url_of_nobody: str, short_speech_file: Path, mode: list[str]
) -> None:
    result = _transcribe(*mode, "--url", url_of_nobody, short_speech_file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"no Hark server at {url_of_nobody}: Connection refused" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.wav", "b.wav", "--format", "vtt"],
        ["one/a.wav", "two/a.wav", "--output", "folder"],
        ["-", "-"],
        ["a.wav", "--format", "doc"],
        ["a.wav", "--url", "ftp://host"],
    ],
    ids=["subtitles of several", "one destination", "standard input twice", "format", "url"],
)
def test_what_does_not_fit_together_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["transcribe", *arguments]).exit_code == 2


@pytest.mark.faults
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_command_leaves_no_process(
    start_hark: Start, still_alive: Any, number: signal.Signals, code: int
) -> None:
    command = start_hark("transcribe", "--realtime", recording.path())
    children = command.wait_for_children()
    os.killpg(command.process.pid, number)
    assert command.wait() == (code, "")
    assert still_alive(children) == []
