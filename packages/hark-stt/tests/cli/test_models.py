from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hark.cli import app
from hark.engines import catalogue


@pytest.fixture
def hub() -> Iterator[str]:
    """The URL of a hub that gives everybody the same wrong file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"wrong")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("arguments", [["models"], ["models", "list"]])
def test_the_list_tells_what_is_here(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split() for line in result.output.splitlines()}
    assert set(lines) == {"name"} | {m.name for m in catalogue.CATALOGUE.values() if m.files}
    assert lines["moonshine-tiny-en"][1] == "(default)"
    assert lines["moonshine-tiny-en"][-1] == "yes"
    assert lines["whisper-large-v3-turbo"][-1] == "no"
    assert lines["smart-turn-v3.2"][1:4] == ["end", "of", "turn"]


def test_the_path_of_a_model_is_its_folder() -> None:
    result = CliRunner().invoke(app, ["models", "path", "moonshine-tiny-en"])
    assert result.exit_code == 0
    assert (Path(result.stdout.strip()) / "tokenizer.bin").is_file()


def test_the_path_of_a_model_that_is_not_here_says_how_to_get_it() -> None:
    result = CliRunner().invoke(app, ["models", "path", "whisper-small"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "hark models download whisper-small" in result.stderr


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    for command in ("path", "download"):
        result = CliRunner().invoke(app, ["models", command, "none-such"])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "moonshine-tiny-en" in result.stderr


def test_downloading_what_is_here_prints_where_it_is() -> None:
    downloaded = CliRunner().invoke(app, ["models", "download", "moonshine-tiny-en"])
    located = CliRunner().invoke(app, ["models", "path", "moonshine-tiny-en"])
    assert downloaded.exit_code == 0
    assert downloaded.stdout == located.stdout


def test_a_download_of_the_wrong_files_fails_and_leaves_nothing(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HARK_MODELS_DIR", str(tmp_path))
    result = CliRunner().invoke(app, ["models", "download", "whisper-base"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "SHA-256" in result.stderr
    assert list(tmp_path.iterdir()) == []
