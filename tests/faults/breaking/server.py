"""A Hark server that can be killed, stopped and started again at the same address."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class HarkServer:
    """`hark serve` in a process of its own."""

    def __init__(self, log: Path, *, workers: int = 1, settings: tuple[str, ...] = ()) -> None:
        """Start it, and wait until it is ready.

        Args:
            log: file for its output.
            workers: worker processes.
            settings: more flags.
        """
        self.log = log
        self.port = free_port()
        self._command = [sys.executable, "-m", "hark", "serve", f"--port={self.port}"]
        self._command += [f"--workers={workers}", "--max-sessions=64", *settings]
        self.start()
        self.wait_until_ready()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/transcribe"

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    @property
    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        return self.process.children()

    @property
    def memory_bytes(self) -> int:
        """What it keeps in memory, without its workers."""
        return int(self.process.memory_info().rss)

    @property
    def open_files(self) -> int:
        """Files and sockets that it has open."""
        return int(self.process.num_fds())

    def start(self) -> None:
        """Start it again at the same address; does not wait until it is ready."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("HARK_")}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=own
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Ask it."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                return True
        except OSError:  # urllib's errors, too
            return False

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Tell it to end, as a rolling restart does."""
        self._process.terminate()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it for good."""
        if self.has_ended:
            return
        self._process.terminate()
        self._process.terminate()  # the second one: do not wait for sessions
        try:
            self._process.wait(STOP_TIMEOUT_S)
        finally:
            self.kill()


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
