"""A real Hark server for the tests."""

from __future__ import annotations

import itertools
import sys
import time
import urllib.request
from pathlib import Path

from .processes import Program, free_port

START_TIMEOUT_S = 60.0

_numbers = itertools.count(1)


class HarkServer:
    """`hark serve`, which can be killed and started again at the same address.

    Attributes:
        url: what agents connect to.
    """

    def __init__(self, logs: Path) -> None:
        self._port = free_port()
        self._log = logs / f"hark-{next(_numbers)}.log"
        self.url = f"ws://127.0.0.1:{self._port}/ws/transcribe"
        self.start()

    @property
    def output(self) -> str:
        """All that it has logged."""
        return self._program.output

    def start(self) -> None:
        """Start it; does not wait until it is ready."""
        self._program = Program(
            [
                *(sys.executable, "-m", "hark", "serve", f"--port={self._port}"),
                *("--workers=1", "--max-sessions=16"),
            ],
            self._log,
        )

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._program.kill()

    def stop(self) -> None:
        """Stop it; it must end well, unless it was killed before."""
        if self._program.is_running:
            assert self._program.stop() == 0, self.output

    def wait_for(self, text: str, *, timeout_s: float, count: int = 1) -> None:
        """Wait until it has logged a text so many times."""
        self._program.wait_for(text, timeout_s=timeout_s, count=count)

    def wait_until_ready(self) -> None:
        """Wait until its models are loaded."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2):
                return True
        except OSError:  # urllib's errors, too
            return False
