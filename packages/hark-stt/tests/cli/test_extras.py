from __future__ import annotations

import pytest
import typer

from hark.cli import extras


def test_requirements_are_those_of_the_distribution() -> None:
    found = {requirement.name: requirement for requirement in extras.requirements()}
    assert found["onnxruntime"].extra is None
    assert found["onnxruntime"].version
    assert found["livekit-plugins-hark"].extra == "demo"


def test_a_distribution_that_is_not_installed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "numpy>=1.26",
        "Surely.Not_Installed>=2; extra == 'imaginary'",
        'numpy>=1.26; python_version >= "3.10" and extra == "imaginary"',
    ]
    monkeypatch.setattr(extras.metadata, "requires", lambda distribution: declared)
    assert extras.missing("imaginary") == ["Surely.Not_Installed"]
    assert extras.missing("other") == []


def test_what_is_missing_ends_the_command_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "missing", lambda extra: ["uvicorn"])
    with pytest.raises(typer.Exit) as caught:
        extras.require("server", "hark serve")
    assert caught.value.exit_code == 1
    expected = "hark: hark serve needs uvicorn: pip install 'hark-stt[server]'\n"
    assert capsys.readouterr().err == expected
