"""What the server writes about itself."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from hark.server.logs import JsonFormatter, TextFormatter


def record(**extra):
    made = logging.LogRecord("hark.server", logging.INFO, __file__, 1, "request", None, None)
    made.__dict__.update(extra)
    return made


def test_json_has_one_object_a_line_with_all_fields():
    line = JsonFormatter().format(record(path="/a\nb", status=200, models=["fake"]))
    assert "\n" not in line
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "info",
        "logger": "hark.server",
        "message": "request",
        "path": "/a\nb",
        "status": 200,
        "models": ["fake"],
    }


def test_json_takes_values_that_are_no_json():
    entry = json.loads(JsonFormatter().format(record(reason=ValueError("odd"))))
    assert entry["reason"] == "odd"


def test_text_keeps_hostile_values_in_their_field():
    line = TextFormatter().format(record(path="/a\nINFO forged status=200", status=404))
    assert "\n" not in line
    assert line.endswith(r'path="/a\nINFO forged status=200" status=404')


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_tracebacks_are_kept(formatter):
    try:
        raise ValueError("odd")
    except ValueError as error:
        made = record()
        made.exc_info = (ValueError, error, error.__traceback__)
    assert "Traceback" in formatter.format(made)


def test_a_log_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    chatty = """
import logging, sys
from pathlib import Path
from hark.server import logs
logs.MAX_FILE_BYTES = 10_000
logs.configure_logging("info", "text", file=Path(sys.argv[1]))
for number in range(1_000):
    logging.getLogger("hark").info("chatter", extra={"number": number})
"""
    subprocess.run([sys.executable, "-c", chatty, tmp_path / "log"], check=True)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"log", "log.1"}
    assert max(sizes.values()) <= 10_000
    assert "number=999" in (tmp_path / "log").read_text()


async def test_the_access_log_has_no_query(server, http, caplog):
    with caplog.at_level(logging.DEBUG):
        await http.get(server, "/v1/models?key=secret")
        server.wait_until(lambda: any(r.message == "request" for r in caplog.records))
    entry = next(r for r in caplog.records if r.message == "request")
    assert (entry.method, entry.path, entry.status) == ("GET", "/v1/models", 200)
    server_records = [r for r in caplog.records if r.name.startswith(("hark", "uvicorn"))]
    assert "secret" not in " ".join(str(vars(r)) for r in server_records)


async def test_the_access_log_tells_how_a_websocket_was_answered(run_server, open_client, caplog):
    server = run_server()
    with caplog.at_level(logging.INFO, logger="hark.server.access"):
        async with open_client(server):
            pass
        server.wait_until(lambda: any(r.message == "request" for r in caplog.records))
    entry = next(r for r in caplog.records if r.message == "request")
    assert (entry.method, entry.path, entry.status) == ("WEBSOCKET", "/ws/transcribe", 101)
