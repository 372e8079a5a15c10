"""A place of its own for each test's servers, and processes that hold leases."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

# Test folders are no packages, and this one has a module that its tests share.
sys.path.insert(0, str(Path(__file__).parent))

from sharing import DEADLINE_S, LINGER_S, Holder, servers


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where servers meet in this test. Not `tmp_path`: that is too long for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="hark-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    for server in servers(folder):
        server.kill()
    psutil.wait_procs(servers(folder), DEADLINE_S)
    shutil.rmtree(folder)


@pytest.fixture
def hold(runtime_folder: Path) -> Iterator[Callable[..., Holder]]:
    """Starts processes that hold a lease of the model "fake", on two workers."""
    started: list[Holder] = []

    def start(*, linger_s: float = LINGER_S) -> Holder:
        started.append(Holder(linger_s))
        return started[-1]

    yield start
    for holder in started:
        if holder.process.returncode is None:
            holder.kill()
