"""The recogniser that the jobs of a worker share, seen from outside."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import psutil

LOAD_TIMEOUT_S = 60.0
END_TIMEOUT_S = 15.0


class SharedRecogniser:
    """Processes of Hark's that start with the first job of a worker.

    Attributes:
        folder: where jobs meet them, as the environment's `XDG_RUNTIME_DIR`; no other worker's.
    """

    def __init__(self) -> None:
        # Not below pytest's folder: that path may be too long for a socket.
        self.folder = Path(tempfile.mkdtemp(prefix="hark-"))

    @property
    def servers(self) -> list[psutil.Process]:
        """The processes that jobs talk to: one, or none."""
        return [process for process in psutil.process_iter() if self._is_server(process)]

    @property
    def models(self) -> list[psutil.Process]:
        """The processes that hold a model: one for each core."""
        return [child for server in self.servers for child in server.children()]

    @property
    def log(self) -> str:
        """All that they have logged."""
        return "".join(path.read_text() for path in self.folder.glob("*/*/log"))

    def wait_until_loaded(self) -> None:
        """Wait until it can recognise."""
        self.wait_for("ready ", timeout_s=LOAD_TIMEOUT_S)

    def wait_for(self, text: str, *, timeout_s: float, count: int = 1) -> None:
        """Wait until they have logged a text so many times."""
        deadline = time.monotonic() + timeout_s
        while self.log.count(text) < count:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def end(self) -> None:
        """Wait for their end, which comes by itself when all jobs are over."""
        servers = self.servers
        for server in servers:
            server.terminate()  # not to linger for a next job
        _, left = psutil.wait_procs(servers, END_TIMEOUT_S)
        for server in left:
            server.kill()
        assert not left, self.log
        shutil.rmtree(self.folder)

    def _is_server(self, process: psutil.Process) -> bool:
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:  # it has just ended, or is not ours to look at
            return False
        return "hark.shared.server" in command and str(self.folder) in command
