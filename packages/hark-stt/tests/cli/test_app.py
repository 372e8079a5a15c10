from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hark.cli import app
from hark.version import __version__

COMMANDS = ("demo", "transcribe", "serve", "doctor", "models")

HEAVY = ("numpy", "onnxruntime", "soundfile", "livekit", "aiohttp", "starlette", "uvicorn", "jiwer")


def test_help_lists_every_command_and_documents_exit_codes_and_variables() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for word in (*COMMANDS, "HARK_API_URL", "HARK_API_KEY", "Exit codes", "130"):
        assert word in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_command_line_imports_nothing_heavy_before_a_command_runs() -> None:
    script = f"import sys, hark.cli; print(*(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"hark {__version__}\n")


def test_the_module_runs_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hark", "--version"], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, f"hark {__version__}\n")


@pytest.mark.parametrize("arguments", [["listen"], ["transcribe"], ["--loud"], ["models", "burn"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2
