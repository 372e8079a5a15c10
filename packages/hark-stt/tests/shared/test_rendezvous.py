"""Tests of hark.shared.rendezvous."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from hark import shared
from hark.errors import SettingsError
from hark.shared import rendezvous
from hark.shared.rendezvous import Rendezvous, SharedSettings, users_folder

SETTINGS = SharedSettings("fake", workers=2)


def the_folder(parent: Path) -> Path:
    return parent / f"hark-{os.getuid()}"


def test_who_wants_the_same_meets_at_the_same_place(runtime_folder: Path) -> None:
    assert Rendezvous.of(SETTINGS) == Rendezvous.of(SharedSettings("fake", workers=2))


@pytest.mark.parametrize(
    "other",
    [
        SharedSettings("moonshine-tiny-en", workers=2),
        SharedSettings("fake", workers=3),
        SharedSettings("fake", workers=2, linger_s=1),
    ],
)
def test_who_wants_something_else_meets_elsewhere(
    runtime_folder: Path, other: SharedSettings
) -> None:
    assert Rendezvous.of(other).lock.parent != Rendezvous.of(SETTINGS).lock.parent


def test_another_version_meets_elsewhere(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Rendezvous.of(SETTINGS)
    monkeypatch.setattr(rendezvous, "__version__", "0.0.0")
    assert Rendezvous.of(SETTINGS) != place


def test_other_files_of_a_named_model_meet_elsewhere(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Rendezvous.of(SETTINGS)
    monkeypatch.setenv("HARK_MODELS_DIR", "/elsewhere")
    assert Rendezvous.of(SETTINGS) != place


def test_the_working_folder_matters_to_relative_paths_only(
    runtime_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SharedSettings("models/mine", workers=2)
    named, relative = SETTINGS.key(), folder.key()
    monkeypatch.chdir(tmp_path)
    assert SETTINGS.key() == named
    assert folder.key() != relative


def test_the_folders_are_the_users_alone(runtime_folder: Path) -> None:
    place = Rendezvous.of(SETTINGS)
    for folder in (place.lock.parent, the_folder(runtime_folder)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_enter_is_refused(runtime_folder: Path) -> None:
    the_folder(runtime_folder).mkdir(mode=0o750)
    with pytest.raises(SettingsError, match="not a folder of this user's alone"):
        users_folder()


def test_a_folder_of_another_user_is_refused(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users_folder()
    other = os.getuid() + 1
    the_folder(runtime_folder).rename(runtime_folder / f"hark-{other}")
    monkeypatch.setattr(rendezvous.os, "getuid", lambda: other)
    with pytest.raises(SettingsError, match=r"this user's alone|belongs to another user"):
        users_folder()


def test_a_link_in_the_place_of_the_folder_is_refused(runtime_folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    the_folder(runtime_folder).symlink_to(tmp_path)
    with pytest.raises(SettingsError, match="not a folder of this user's alone"):
        users_folder()


def test_a_file_in_the_place_of_the_folder_is_refused(runtime_folder: Path) -> None:
    the_folder(runtime_folder).touch()
    with pytest.raises(SettingsError, match="cannot be made"):
        users_folder()


def test_a_place_of_another_user_is_refused(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() == 0:  # who may give a folder away, but whose own are good for everyone
        os.chown(runtime_folder, 4711, -1)
    else:
        monkeypatch.setattr(rendezvous.os, "getuid", lambda: 4711)
    with pytest.raises(SettingsError, match="belongs to another user"):
        users_folder()


def test_a_path_too_long_for_a_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(SettingsError, match="too long"):
        users_folder()


@pytest.mark.parametrize("runtime", ["", "/no/such/folder"])
def test_without_a_runtime_folder_they_meet_where_temporary_files_go(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    monkeypatch.setattr(tempfile, "tempdir", str(runtime_folder))
    assert users_folder() == the_folder(runtime_folder)


def test_nothing_is_in_the_way_of_sharing_here(runtime_folder: Path) -> None:
    assert shared.obstacle() is None


def test_an_unsafe_folder_is_in_the_way(runtime_folder: Path) -> None:
    the_folder(runtime_folder).mkdir(mode=0o755)
    assert "this user's alone" in (shared.obstacle() or "")


@pytest.mark.parametrize(
    ("absent", "told"), [("fcntl", "Unix domain sockets"), ("uvicorn", r"hark-stt[server]")]
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, absent: str, told: str) -> None:
    find_spec = shared.importlib.util.find_spec
    monkeypatch.setattr(
        shared.importlib.util, "find_spec", lambda name: None if name == absent else find_spec(name)
    )
    assert told in (shared.obstacle() or "")
