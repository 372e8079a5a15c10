"""What the tests of the command line share: the real command, speech for it, a server for it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import soundfile

from hark import recording

DEADLINE_S = 30.0
"""Nothing here takes as long, so a wait that does is a hang."""


def _environment(variables: dict[str, str]) -> dict[str, str]:
    """This process's environment, without what would steer Hark."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HARK_")}
    return {**own, **variables}


def _command(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "hark", *map(str, arguments)]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command run in this process sets the levels of Hark's loggers, which others' tests read."""
    loggers = [logging.getLogger(name) for name in ("hark", "livekit.plugins.hark")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def run_hark() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command in a process of its own, to its end."""

    def run(
        *arguments: object, stdin: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            _command(arguments),
            input=stdin,
            capture_output=True,
            timeout=DEADLINE_S,
            env=_environment(variables),
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


class RunningHark:
    """A command that has been started, with pipes for its output unless told otherwise."""

    def __init__(self, *arguments: object, terminal: int | None = None, **variables: str) -> None:
        output = subprocess.PIPE if terminal is None else terminal
        self.process = subprocess.Popen(
            _command(arguments),
            stdout=output,
            stderr=output,
            text=True,
            env=_environment(variables),
            start_new_session=True,  # a terminal signals the whole group; pytest must not be in it
        )

    def wait_for_children(self) -> list[psutil.Process]:
        """The processes that it has started, once there are any."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            children = psutil.Process(self.process.pid).children(recursive=True)
            if children:
                return children
            time.sleep(0.02)
        raise AssertionError("it started no process")

    def wait(self) -> tuple[int, str]:
        """Wait for its end; give its exit code and what it wrote to standard error."""
        _, complaints = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, complaints


def _still_alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=5)
    return alive


@pytest.fixture(scope="session")
def still_alive() -> Callable[[list[psutil.Process]], list[psutil.Process]]:
    """Which of these processes do not end within five seconds."""
    return _still_alive


@pytest.fixture
def start_hark() -> Iterator[Callable[..., RunningHark]]:
    """Start the real command in a process of its own, which does not outlive the test."""
    running: list[RunningHark] = []

    def start(*arguments: object, **more: Any) -> RunningHark:
        running.append(RunningHark(*arguments, **more))
        return running[-1]

    yield start
    for command in running:
        if command.process.poll() is None:
            os.killpg(command.process.pid, signal.SIGKILL)
            command.process.communicate(timeout=DEADLINE_S)


def _cut(seconds: float, path: Path) -> Path:
    rate = soundfile.info(recording.path()).samplerate
    samples, _ = soundfile.read(recording.path(), frames=int(seconds * rate), dtype="int16")
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture(scope="session")
def speech_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8.5 seconds: from the best of times to the age of foolishness."""
    return _cut(8.5, tmp_path_factory.mktemp("speech") / "speech.wav")


@pytest.fixture(scope="session")
def middling_speech_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 seconds: from the best of times on, enough for two subtitles."""
    return _cut(6.0, tmp_path_factory.mktemp("speech") / "middling.wav")


@pytest.fixture(scope="session")
def short_speech_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 seconds: the best of times."""
    return _cut(3.0, tmp_path_factory.mktemp("speech") / "short.flac")


@pytest.fixture
def url_of_nobody() -> str:
    """A URL at which nothing listens."""
    return f"http://127.0.0.1:{_free_port()}"


@pytest.fixture(scope="session")
def api_key() -> str:
    """What `server` wants."""
    return "key-of-the-tests"


@pytest.fixture(scope="session")
def server(api_key: str) -> Iterator[str]:
    """The URL of a real server with a key, and with the default model and the fake one."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    models = "moonshine-tiny-en,fake"
    flags = ["--port", str(port), "--workers", "1", "--models", models]
    command = [sys.executable, "-m", "hark", "serve", *flags]
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        env=_environment({"HARK_API_KEYS": api_key, "HARK_GRACE_PERIOD_S": "0"}),
    )
    try:
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not become ready")
