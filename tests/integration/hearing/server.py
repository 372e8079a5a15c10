"""A Hark server, as its users start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

_T = TypeVar("_T")

START_TIMEOUT_S = 60.0


class HarkServer:
    """`hark serve` in a process of its own, ready for streams."""

    def __init__(self, log: Path) -> None:
        self._log = log
        own = {name: value for name, value in os.environ.items() if not name.startswith("HARK_")}
        command = [sys.executable, "-m", "hark", "serve", "--port=0", "--workers=1"]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--grace-period-s=0"], stdout=output, stderr=output, env=own
            )
        self.psutil = psutil.Process(self._process.pid)
        self.port = self._wait_for(self._listening_port)
        self._wait_for(self._is_ready)
        self.url = f"ws://localhost:{self.port}/ws/transcribe"

    def _wait_for(self, condition: Callable[[], _T | None]) -> _T:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (outcome := condition()):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)
        return outcome

    def _listening_port(self) -> int | None:
        listening = [c for c in self.psutil.net_connections("tcp") if c.status == "LISTEN"]
        return listening[0].laddr.port if listening else None

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(START_TIMEOUT_S)
        finally:
            self._process.kill()
