"""A real LiveKit server for the tests, on this machine's loopback interface."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from .processes import Program, free_port

OLDEST_VERSION = (1, 13, 5)

# Not the `secret` of `livekit-server --dev`: JWT libraries warn of secrets that short.
API_KEY, API_SECRET = "devkey", "a-secret-of-the-tests-that-is-long-enough"

_BUILT = Path(__file__).parents[3] / ".cache" / "bin" / "livekit-server"

_HOW_TO_GET_IT = (
    f"no livekit-server {'.'.join(map(str, OLDEST_VERSION))} or newer: make livekit-server builds"
    " one (needs Go), or install it: https://docs.livekit.io/transport/self-hosting/local/"
)


@dataclass(frozen=True)
class LiveKitServer:
    """Where the server is.

    Attributes:
        address: host and port.
        program: the running server.
    """

    address: str
    program: Program

    @property
    def url(self) -> str:
        """What agents and participants connect to."""
        return f"ws://{self.address}"

    @property
    def http_url(self) -> str:
        """What its API is asked at."""
        return f"http://{self.address}"

    @property
    def env(self) -> dict[str, str]:
        """What an agent or a tool needs to know to find it."""
        return {
            "LIVEKIT_URL": self.url,
            "LIVEKIT_API_KEY": API_KEY,
            "LIVEKIT_API_SECRET": API_SECRET,
        }


def start_livekit_server(log: Path) -> LiveKitServer:
    """Start one. Without the program, the test is skipped, or fails where it must be there."""
    binary = _find()
    if binary is None:
        if os.environ.get("HARK_REQUIRE_LIVEKIT_SERVER") == "1":
            pytest.fail(_HOW_TO_GET_IT)
        pytest.skip(_HOW_TO_GET_IT)
    port = free_port()
    config = {
        "port": port,
        "rtc": {"tcp_port": free_port()},
        # By default a worker that says the machine is 70 % busy gets no calls.
        "agents": {"target_load": 2},
    }
    command = [
        str(binary),
        "--dev",
        "--bind=127.0.0.1",
        "--node-ip=127.0.0.1",
        f"--udp-port={free_port(socket.SOCK_DGRAM)}",
        f"--keys={API_KEY}: {API_SECRET}",
        f"--config-body={json.dumps(config)}",
    ]
    program = Program(command, log)
    program.wait_for("starting LiveKit server", timeout_s=20)
    return LiveKitServer(f"127.0.0.1:{port}", program)


def _find() -> Path | None:
    """The program on the path, else the one that make has built."""
    on_path = shutil.which("livekit-server")
    for candidate in (Path(on_path), _BUILT) if on_path else (_BUILT,):
        if candidate.is_file() and _version(candidate) >= OLDEST_VERSION:
            return candidate
    return None


def _version(binary: Path) -> tuple[int, ...]:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()
