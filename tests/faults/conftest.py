"""Servers to break, a proxy to break connections with, and a report of what was tried."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Test folders are no packages. This one has modules of its own, and uses what the integration
# tests know about recordings and transcripts.
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(Path(__file__).parent))

from breaking.proxy import FaultProxy
from breaking.server import HarkServer
from breaking.streams import hear_undisturbed
from hearing.recordings import beckett
from livekit.agents.stt import SpeechEvent

from livekit.plugins import hark

_report = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_report] = []


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.stash[_report]:
        terminalreporter.section("faults")
        for line in config.stash[_report]:
            terminalreporter.write_line(line)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to what is printed at the end."""
    return request.config.stash[_report].append


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARK_API_URL", raising=False)
    monkeypatch.delenv("HARK_API_KEY", raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarkServer]:
    """A server that lives as long as the tests; only its connections are broken."""
    server = HarkServer(tmp_path_factory.mktemp("faults") / "server.log", workers=2)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def expected(server: HarkServer) -> list[SpeechEvent]:
    """What an undisturbed stream makes of the recording that most tests use."""
    return asyncio.run(hear_undisturbed(server.url, beckett()))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., HarkServer]]:
    """Starts servers of a test's own, which it may kill."""
    started: list[HarkServer] = []

    def start(**options: Any) -> HarkServer:
        started.append(HarkServer(tmp_path / f"server-{len(started)}.log", **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
async def proxy(server: HarkServer) -> AsyncIterator[FaultProxy]:
    """On the way to `server`."""
    async with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def stt(proxy: FaultProxy) -> AsyncIterator[hark.STT]:
    """Connects through `proxy`."""
    async with hark.STT(api_url=proxy.url) as stt:
        yield stt
