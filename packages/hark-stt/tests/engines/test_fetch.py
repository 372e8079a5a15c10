from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.engines import catalogue, fetch, registry, smart_turn
from hark.engines.model_info import HubSource, ModelInfo, PackageSource, UrlSource
from hark.engines.smart_turn import SmartTurn
from hark.errors import ModelFileError
from hark.recognizer import Hypothesis

REVISION = "a" * 40
FILES = {"config.json": b"{}", "model.bin": bytes(range(256)) * 4_096}


class Hub:
    """A server of files, as the Hugging Face hub is for public repositories."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []  # path, Range header
        self.break_off = 0  # how many answers to cut off in the middle
        self.knows_ranges = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                hub.requests.append((self.path, wanted))
                if self.path not in hub.files:
                    self.send_error(404)
                    return
                data = hub.files[self.path]
                start = int(wanted[6:-1]) if wanted and hub.knows_ranges else 0
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                end = len(data)
                if hub.break_off:
                    hub.break_off -= 1
                    end = start + (len(data) - start) // 2
                self.wfile.write(data[start:end])

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(fetch, "_PAUSE_S", 0.0)
    yield hub
    hub.close()


@pytest.fixture
def model(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelInfo:
    """A model of the catalogue whose files the hub has."""
    for name, data in FILES.items():
        hub.files[f"/someone/model/resolve/{REVISION}/{name}"] = data
    info = ModelInfo(
        name="some-model",
        engine="whisper",
        languages=("en",),
        licence="MIT",
        size_bytes=sum(map(len, FILES.values())),
        files={name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()},
        sources=(HubSource("someone/model", REVISION),),
    )
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(catalogue, "CATALOGUE", {info.name: info})
    return info


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_is_downloaded_from_the_hub(model: ModelInfo, tmp_path: Path) -> None:
    folder = catalogue.download("some-model")
    assert folder == tmp_path / "models" / "some-model" == catalogue.locate("some-model")
    assert _contents(folder) == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["some-model"]


def test_a_model_is_downloaded_from_a_web_address(
    model: ModelInfo, hub: Hub, tmp_path: Path
) -> None:
    source = UrlSource(f"{hub.url}/someone/model/resolve/{REVISION}")
    fetch.fetch(source, model, tmp_path / "here", lambda *_: None)
    assert _contents(tmp_path / "here") == FILES


def test_progress_rises_to_the_size_of_all_files(model: ModelInfo) -> None:
    seen: list[tuple[int, int]] = []
    catalogue.download("some-model", lambda done, total: seen.append((done, total)))
    done = [d for d, _ in seen]
    assert len(done) > 3
    assert done == sorted(done)
    assert seen[-1] == (model.size_bytes, model.size_bytes)


def test_a_model_that_is_here_is_not_downloaded_again(model: ModelInfo, hub: Hub) -> None:
    catalogue.download("some-model")
    hub.requests.clear()
    catalogue.download("some-model")
    assert hub.requests == []


def test_a_broken_connection_is_resumed_where_it_broke(model: ModelInfo, hub: Hub) -> None:
    del hub.files[f"/someone/model/resolve/{REVISION}/config.json"]
    only_weights = replace(model, files={"model.bin": model.files["model.bin"]})
    hub.break_off = 2
    folder = catalogue.models_dir() / "m"
    fetch.fetch(model.sources[0], only_weights, folder, lambda *_: None)  # type: ignore[arg-type]
    assert _contents(folder) == {"model.bin": FILES["model.bin"]}
    size = len(FILES["model.bin"])
    ranges = [wanted for _, wanted in hub.requests]
    assert ranges == [None, f"bytes={size // 2}-", f"bytes={size * 3 // 4}-"]


def test_a_server_that_cannot_resume_is_asked_for_the_whole_file(
    model: ModelInfo, hub: Hub
) -> None:
    hub.knows_ranges = False
    hub.break_off = 2
    assert _contents(catalogue.download("some-model")) == FILES


def test_after_some_attempts_it_is_given_up(model: ModelInfo, hub: Hub, tmp_path: Path) -> None:
    hub.break_off = 1_000
    with pytest.raises(ModelFileError, match=r"cannot download .*broke off"):
        catalogue.download("some-model")
    assert len(hub.requests) == 5
    assert list((tmp_path / "models").iterdir()) == []


def test_a_missing_file_is_not_asked_for_again(model: ModelInfo, hub: Hub, tmp_path: Path) -> None:
    hub.files.clear()
    with pytest.raises(ModelFileError, match="404"):
        catalogue.download("some-model")
    assert len(hub.requests) == 1
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_with_another_checksum_leaves_nothing_behind(
    model: ModelInfo, hub: Hub, tmp_path: Path
) -> None:
    hub.files[f"/someone/model/resolve/{REVISION}/model.bin"] = b"a page that asks you to log in"
    with pytest.raises(ModelFileError, match="damaged or another version"):
        catalogue.download("some-model")
    assert list((tmp_path / "models").iterdir()) == []


def test_an_unreachable_server_is_told_with_its_address(
    model: ModelInfo, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelFileError, match=r"cannot download http://127\.0\.0\.1:9/someone"):
        catalogue.download("some-model")


def test_a_disk_that_cannot_be_written_is_told(
    model: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelFileError, match="cannot write to"):
        catalogue.download("some-model")


def test_a_damaged_download_is_replaced(model: ModelInfo, tmp_path: Path) -> None:
    folder = catalogue.download("some-model")
    (folder / "config.json").unlink()
    assert _contents(catalogue.download("some-model")) == FILES


def test_another_version_in_a_package_does_not_stand_in_the_way(
    model: ModelInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "brings_models"
    package.mkdir(parents=True)
    for name in ("__init__.py", *FILES):
        (package / name).write_bytes(b"of another version")
    monkeypatch.syspath_prepend(package.parent)
    sources = (PackageSource("brings-models", "brings_models", "."), *model.sources)
    monkeypatch.setattr(catalogue, "CATALOGUE", {model.name: replace(model, sources=sources)})
    assert _contents(catalogue.download("some-model")) == FILES
    assert catalogue.verify("some-model") == tmp_path / "models" / "some-model"


def test_the_end_of_turn_model_is_downloaded_from_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end_of_turn: SmartTurn
) -> None:
    name = "smart-turn-v3.2-cpu.onnx"
    path = "/pipecat-ai/smart-turn-v3/resolve/f766f81d3cfdf7737ac64aad813d91bbfd56bf93"
    hub.files[f"{path}/{name}"] = (catalogue.locate(smart_turn.NAME) / name).read_bytes()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    assert catalogue.download(smart_turn.NAME) == catalogue.verify(smart_turn.NAME)
    silence = np.zeros(16_000, np.int16)
    downloaded = SmartTurn(catalogue.locate(smart_turn.NAME))
    assert downloaded.finished(silence) == end_of_turn.finished(silence)


def test_a_downloaded_model_recognises(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decode: Callable[..., Hypothesis],
    sentence: PcmArray,
) -> None:
    source = HubSource("someone/model", REVISION)
    info = replace(catalogue.find("whisper-tiny.en"), name="from-the-hub", sources=(source,))
    installed = catalogue.locate("whisper-tiny.en")
    for name in info.files:
        hub.files[f"/someone/model/resolve/{REVISION}/{name}"] = (installed / name).read_bytes()
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    monkeypatch.setattr(catalogue, "CATALOGUE", {info.name: info})
    catalogue.download("from-the-hub")
    assert "best of times" in decode(registry.load("from-the-hub"), sentence).text.lower()
