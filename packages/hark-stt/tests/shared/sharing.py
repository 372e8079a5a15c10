"""Processes that hold leases, and a look at the servers that they share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

DEADLINE_S = 30.0

LINGER_S = 0.5
"""Long enough for a server to notice those who wait for it when it starts."""

HOLD = """
import asyncio, sys
from hark.shared.lease import Lease
lease = Lease("fake", workers=2, linger_s=float(sys.argv[1]))
asyncio.run(lease.http_socket())
print("held", flush=True)
sys.stdin.read()
"""


def servers(folder: Path) -> list[psutil.Process]:
    """The servers that meet their clients somewhere below a folder."""

    def is_server(process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
        except psutil.Error:  # it has just ended, or is not ours to look at
            return False
        return "hark.shared.server" in " ".join(command) and f'"{folder}/' in command[-1]

    return [*filter(is_server, psutil.process_iter())]


def workers(server: psutil.Process) -> list[psutil.Process]:
    return [p for p in server.children() if "hark.engines.worker_main" in " ".join(p.cmdline())]


class Holder:
    """Another process that holds a lease, from when `wait_until_held` returns."""

    def __init__(self, linger_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(linger_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_until_held(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"held\n"

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@contextmanager
def ending(processes: list[psutil.Process]) -> Iterator[None]:
    """What is done within ends these processes."""
    assert all(process.is_running() for process in processes)
    yield
    _, alive = psutil.wait_procs(processes, DEADLINE_S)
    assert not alive
