"""Programs that tests start as their users do, and what these print."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_S = 15.0


class Program:
    """A running program. Its output goes to a file, so that it can never block on a full pipe."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._command = [str(part) for part in command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, timeout_s: float, count: int = 1) -> None:
        """Wait until it has printed a text so many times, else fail with its output."""
        deadline = time.monotonic() + timeout_s
        while self.output.count(text) < count:
            if not self.is_running:
                raise AssertionError(f"ended before it said {text!r}:\n{self.output}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {text!r} within {timeout_s:g} s:\n{self.output}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end; kills it when it does not.

        Returns:
            Its exit code.
        """
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"did not end within {STOP_TIMEOUT_S:g} s:\n{self.output}"
            ) from None


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
