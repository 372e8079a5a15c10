"""Tests of hark.engines.pool and hark.engines.worker_main."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hark.engines.fake import FakeRecognizer
from hark.engines.pool import ModelPool
from hark.errors import (
    ClosedError,
    LanguageNotSupportedError,
    ModelError,
    ModelNotFoundError,
)
from hark.recognizer import Capabilities, RecognitionOptions
from hark.scheduler import Priority


class _German(FakeRecognizer):
    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(languages=("de", "de-CH"))


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelPool]:
    """An English model and a German one."""
    recognizers: dict[str, Any] = {"english": FakeRecognizer, "german": _German}
    monkeypatch.setattr("hark.engines.pool.load", lambda name: recognizers[name]())
    pool = ModelPool(["english", "german"], workers=1, kind="thread")
    pool.start()
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("model", "language", "selected"),
    [
        (None, None, "english"),
        (None, "en", "english"),
        (None, "en-GB", "english"),
        (None, "de", "german"),
        (None, "DE-ch", "german"),
        (None, "de-AT", "german"),
        ("german", None, "german"),
        ("german", "de", "german"),
        ("english", "en-US", "english"),
    ],
)
def test_a_model_is_found_by_name_or_by_language(
    models: ModelPool, model: str | None, language: str | None, selected: str
) -> None:
    assert models.select(model, language).model == selected


def test_an_unknown_model_is_an_error_that_lists_those_there_are(models: ModelPool) -> None:
    with pytest.raises(ModelNotFoundError, match="available: english, german") as caught:
        models.select("french", None)
    assert caught.value.available == ("english", "german")


def test_an_unknown_language_is_an_error_that_lists_those_there_are(models: ModelPool) -> None:
    with pytest.raises(LanguageNotSupportedError, match="it knows: de, de-CH, en"):
        models.select(None, "fr")


def test_a_language_that_the_named_model_lacks_is_an_error(models: ModelPool) -> None:
    with pytest.raises(LanguageNotSupportedError, match="'english' does not recognise 'de'"):
        models.select("english", "de")


def test_the_models_are_told_in_order(models: ModelPool) -> None:
    assert models.models == ("english", "german")
    assert [scheduler.model for scheduler in models.schedulers] == ["english", "german"]


def test_a_pool_is_ready_from_its_start_to_its_end() -> None:
    pool = ModelPool(["fake"], workers=1, kind="thread")
    assert not pool.is_ready
    pool.start()
    assert pool.is_ready
    pool.close()
    pool.close()
    assert not pool.is_ready
    with pytest.raises(ClosedError):
        pool.select(None, None).open_stream(RecognitionOptions())


def test_nothing_is_selected_before_the_start() -> None:
    with pytest.raises(ClosedError):
        ModelPool(["fake"], workers=1, kind="thread").select(None, "en")


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_if_one_model_does_not_start_none_is_left_running(kind: Any) -> None:
    threads = set(threading.enumerate())
    children = set(psutil.Process().children())
    pool = ModelPool(["fake", "no-such-model"], workers=2, kind=kind)
    with pytest.raises(ModelError, match="no-such-model"):
        pool.start()
    assert not pool.is_ready
    assert set(threading.enumerate()) <= threads
    assert set(psutil.Process().children()) <= children


def test_each_model_has_so_many_worker_processes_and_all_of_them_end() -> None:
    children = set(psutil.Process().children())
    pool = ModelPool(["fake"], workers=2)
    pool.start()
    workers = set(psutil.Process().children()) - children
    assert len(workers) == 2
    stream = pool.select("fake", None).open_stream(RecognitionOptions())
    stream.push(np.zeros(16_000, np.int16))
    assert stream.decode(Priority.FINAL, final=True).result(10).hypothesis.text == "one two three"
    pool.close()
    assert not any(worker.is_running() for worker in workers)


def test_a_folder_with_a_model_is_a_model_too(recording_path: Path) -> None:
    folder = str(recording_path.parent / "tiny-en")
    pool = ModelPool([folder], workers=1, kind="thread")
    pool.start()
    assert pool.select(folder, "en").capabilities.confidence
    pool.close()


@pytest.mark.parametrize("arguments", [[], ["fake", "fake"]])
def test_a_worker_process_wants_one_model(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "hark.engines.worker_main", *arguments]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert run.returncode != 0
