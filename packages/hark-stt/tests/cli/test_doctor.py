from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hark.cli import app, diagnosis
from hark.cli.diagnosis import RecognitionFacts

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_good_installation_recognises_speech(run_hark: Run, server: str, api_key: str) -> None:
    done = run_hark("doctor", HARK_API_URL=server, HARK_API_KEY=api_key)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Hark can recognise speech here." in done.stdout
    assert "RTF 0." in done.stdout
    assert f"{server} is ready" in done.stdout


def test_json_has_everything_that_a_program_needs(run_hark: Run) -> None:
    done = run_hark("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["server"] is None
    assert found["system"]["cores"] >= 1
    assert found["recognition"]["words"] > 30
    assert 0 < found["recognition"]["rtf"] < 10
    packages = {package["name"]: package["version"] for package in found["packages"]}
    assert packages["onnxruntime"]
    models = {model["name"]: model for model in found["models"]}
    default = models["moonshine-tiny-en"]
    assert (default["is_installed"], default["is_intact"], default["licence"]) == (
        True,
        True,
        "MIT",
    )
    assert "fake" not in models


def test_a_damaged_model_is_found_and_the_exit_code_is_1(run_hark: Run, tmp_path: Path) -> None:
    folder = tmp_path / "moonshine-tiny-en"  # downloaded models come before packaged ones
    folder.mkdir()
    for name in ("encoder_model.ort", "decoder_model_merged.ort", "tokenizer.bin"):
        (folder / name).write_bytes(b"damaged")
    done = run_hark("doctor", "--json", HARK_MODELS_DIR=str(tmp_path))
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["recognition"] is None
    assert "SHA-256" in found["problems"][0]
    models = {model["name"]: model for model in found["models"]}
    assert models["moonshine-tiny-en"]["is_intact"] is False


@pytest.fixture
def without_recognition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes seconds and is not what the test is about."""

    async def found() -> RecognitionFacts:
        return RecognitionFacts("moonshine-tiny-en", 1.0, 9.0, 0.9, 40)

    monkeypatch.setattr(diagnosis, "_recognition", found)


@pytest.mark.usefixtures("without_recognition")
def test_a_named_server_that_is_not_there_is_a_problem(url_of_nobody: str) -> None:
    result = CliRunner().invoke(app, ["doctor"], env={"HARK_API_URL": url_of_nobody})
    assert result.exit_code == 1
    assert f"PROBLEM: HARK_API_URL: no Hark server at {url_of_nobody}" in result.stdout
    assert "Hark can recognise speech here." not in result.stdout


@pytest.mark.usefixtures("without_recognition")
@pytest.mark.parametrize("key", ["", "wr0ng"])
def test_a_server_that_does_not_take_the_key_is_a_problem(server: str, key: str) -> None:
    variables = {"HARK_API_URL": server, "HARK_API_KEY": key}
    result = CliRunner().invoke(app, ["doctor"], env=variables)
    assert result.exit_code == 1
    assert "PROBLEM: HARK_API_URL: the server wants a valid key: set HARK_API_KEY" in result.stdout
    assert "wr0ng" not in result.output


@pytest.mark.usefixtures("without_recognition")
def test_a_url_with_a_password_in_it_is_not_repeated() -> None:
    result = CliRunner().invoke(
        app, ["doctor", "--json"], env={"HARK_API_URL": "ftp://me:s3cret@host"}
    )
    assert result.exit_code == 1
    assert "must look like http://" in result.stdout
    assert "s3cret" not in result.output
