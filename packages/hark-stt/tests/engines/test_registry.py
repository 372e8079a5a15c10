from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hark.audio import PcmArray
from hark.engines import catalogue, registry
from hark.errors import ModelError, ModelFileError, ModelNotFoundError
from hark.recognizer import Hypothesis

Decode = Callable[..., Hypothesis]


def _link(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def test_the_default_model_is_in_the_catalogue_and_installed() -> None:
    assert registry.DEFAULT_MODEL in catalogue.installed()


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(ModelNotFoundError, match=r"available: .*moonshine-tiny-en"):
        registry.load("whisper-gigantic")


def test_a_model_that_is_not_here_is_refused_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    with pytest.raises(ModelFileError, match="hark models download whisper-base"):
        registry.load("whisper-base")


def test_a_model_that_recognises_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match="hears the end of a turn"):
        registry.load("smart-turn-v3.2")


def test_a_moonshine_model_is_loaded_from_a_folder(
    tmp_path: Path, decode: Decode, sentence: PcmArray
) -> None:
    folder = _link(catalogue.locate("moonshine-tiny-en"), tmp_path / "mine")
    recognizer = registry.load(str(folder))
    assert "best of times" in decode(recognizer, sentence).text
    assert recognizer.capabilities.languages == ("en",)


def test_a_whisper_model_is_loaded_from_a_folder(
    tmp_path: Path, decode: Decode, sentence: PcmArray
) -> None:
    folder = _link(catalogue.locate("whisper-tiny.en"), tmp_path / "mine")
    assert "best of times" in decode(registry.load(str(folder)), sentence).text


def test_the_folder_of_a_moonshine_model_may_name_its_language(tmp_path: Path) -> None:
    folder = _link(catalogue.locate("moonshine-tiny-en"), tmp_path / "tiny-es")
    assert registry.load(str(folder)).capabilities.languages == ("es",)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model that Hark can run"):
        registry.load(str(tmp_path))


def test_damaged_files_of_a_named_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _link(catalogue.locate("moonshine-tiny-en"), tmp_path / "moonshine-tiny-en")
    (folder / "tokenizer.bin").unlink()
    (folder / "tokenizer.bin").write_bytes(b"\x01a")
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    with pytest.raises(ModelFileError, match=r"tokenizer\.bin is damaged"):
        registry.load("moonshine-tiny-en")


def test_without_the_whisper_extra_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "hark.engines.whisper", raising=False)
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ModelError, match=r"ctranslate2: pip install 'hark-stt\[whisper\]'"):
        registry.load("whisper-tiny.en")
