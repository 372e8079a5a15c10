"""`hark serve` as a process: flags, variables, signals, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import typer
from websockets.asyncio.client import connect

from hark.cli.serve import serve
from hark.server.settings import SETTING_NAMES, flag, variable
from hark_protocol import (
    PROTOCOL_VERSION,
    Audio,
    Close,
    Closed,
    Config,
    Connection,
    Draining,
    Final,
    Ready,
    Role,
)

DEADLINE_S = 30


class Command:
    """A running `hark serve` with JSON logs."""

    def __init__(self, *arguments, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HARK_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hark", "serve", *arguments],
            env={**environment, "HARK_LOG_FORMAT": "json", **variables},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def wait_for(self, message):
        """Read the log up to a message and give its entry."""
        for line in self.process.stderr:
            entry = json.loads(line)
            if entry["message"] == message:
                return entry
        raise AssertionError(f"ended without {message!r}")

    def finish(self):
        """Wait for the end; give the exit code and the rest of standard error."""
        _, rest = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, rest


@pytest.fixture
def start():
    commands = []

    def start_(*arguments, **variables):
        commands.append(Command(*arguments, **variables))
        return commands[-1]

    yield start_
    for command in commands:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


async def test_sigterm_drains_and_exits_with_0(start, recording):
    command = start("--models", "fake", "--workers", "1", "--port", "0")
    port = command.wait_for("listening")["port"]
    command.wait_for("ready")
    connection = Connection(Role.CLIENT)
    async with connect(f"ws://127.0.0.1:{port}/ws/transcribe") as websocket:
        await websocket.send(connection.send(Config(version=PROTOCOL_VERSION)))
        await until(websocket, connection, Ready)
        await websocket.send(connection.send(Audio(recording[:48_000].tobytes())))
        command.process.send_signal(signal.SIGTERM)
        kinds = await until(websocket, connection, Draining)
        await websocket.send(connection.send(Close()))
        kinds += await until(websocket, connection, Closed)
        assert kinds.count(Final) == 1
        await asyncio.wait_for(websocket.wait_closed(), DEADLINE_S)
        assert websocket.close_code == 1000
    exit_code, log = await asyncio.to_thread(command.finish)
    assert exit_code == 0
    assert '"session ended"' in log
    assert '"reason": "closed"' in log


async def until(websocket, connection, kind):
    kinds = []
    while kind not in kinds:
        data = await asyncio.wait_for(websocket.recv(), DEADLINE_S)
        kinds.append(type(connection.receive(data)))
    return kinds


def test_sigint_without_sessions_exits_with_0(start):
    command = start("--models", "fake", "--workers", "1", "--port", "0")
    command.wait_for("ready")
    command.process.send_signal(signal.SIGINT)
    assert command.finish()[0] == 0


def test_sigterm_while_the_models_load_exits_soon(start):
    command = start("--workers", "1", "--port", "0")
    command.wait_for("listening")
    started = time.monotonic()
    command.process.send_signal(signal.SIGTERM)
    assert command.finish()[0] == 0
    assert time.monotonic() - started < 10


def test_a_model_that_is_not_there_is_named_before_anybody_connects(start):
    exit_code, log = start("--models", "nothing-of-the-kind", "--port", "0").finish()
    assert exit_code == 2
    assert "--models (HARK_MODELS) has 'nothing-of-the-kind'" in log
    assert "listening" not in log
    assert "Traceback" not in log


def test_a_port_that_is_taken_ends_the_command_with_its_number(start, server):
    exit_code, log = start("--models", "fake", "--port", str(server.port)).finish()
    assert exit_code == 1
    assert f"port {server.port}" in log
    assert "--port (HARK_PORT)" in log.replace("\n", " ")


def test_a_setting_out_of_range_is_named_and_ends_the_command_with_2(start):
    exit_code, log = start(HARK_MAX_SESSIONS="0").finish()
    assert exit_code == 2
    assert "--max-sessions (HARK_MAX_SESSIONS) must be between 1 and 100000, not 0" in log


def test_a_server_open_to_the_network_without_keys_does_not_start(start):
    exit_code, log = start("--host", "0.0.0.0").finish()
    assert exit_code == 2
    assert "HARK_API_KEYS" in log
    assert "--allow-anonymous" in log


def test_keys_come_from_flags_variables_and_files(start, tmp_path):
    file = tmp_path / "keys"
    file.write_text("# the agents\nkey-from-file\n")
    command = start(
        "--api-keys-file",
        str(file),
        "--models",
        "fake",
        "--workers",
        "1",
        HARK_API_KEYS="key-one, key-two",
        HARK_PORT="0",
    )
    assert command.wait_for("listening")["api_keys"] == 3


def test_every_setting_has_its_flag_and_its_variable():
    app = typer.Typer(add_completion=False)
    app.command()(serve)
    options = {option.name: option for option in typer.main.get_command(app).params}
    assert set(options) == {*SETTING_NAMES, "api_keys_file"}
    for name, option in options.items():
        assert option.opts == [flag(name)]
        assert option.envvar == variable(name)
