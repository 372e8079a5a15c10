"""A LiveKit server for all tests, agents that wait for calls, and what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

# Test folders are no packages, and this one has modules that its tests share.
sys.path.insert(0, str(Path(__file__).parent))

from rooms.hark_server import HarkServer
from rooms.livekit_server import LiveKitServer, start_livekit_server
from rooms.workers import Worker, running

_figures = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def livekit(logs: Path) -> Iterator[LiveKitServer]:
    server = start_livekit_server(logs / "livekit.log")
    yield server
    server.program.stop()


@pytest.fixture(scope="session")
def hark_server(logs: Path) -> Iterator[HarkServer]:
    """Whoever kills it starts it again."""
    server = HarkServer(logs)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def voice_agent(livekit: LiveKitServer, logs: Path) -> Iterator[Worker]:
    """The voice agent in production, with Hark on the same machine."""
    with running(Worker("voice_agent", "start", livekit, logs)) as worker:
        yield worker


@pytest.fixture(scope="session")
def vad_agent(livekit: LiveKitServer, hark_server: HarkServer, logs: Path) -> Iterator[Worker]:
    """A voice agent whose turns LiveKit's VAD decides, with Hark on a server."""
    worker = Worker("vad_agent", "dev", livekit, logs, HARK_API_URL=hark_server.url)
    with running(worker):
        yield worker


@pytest.fixture(scope="session")
def captions_agent(livekit: LiveKitServer, hark_server: HarkServer, logs: Path) -> Iterator[Worker]:
    """The captions agent in production, with Hark on a server."""
    worker = Worker("captions_agent", "start", livekit, logs, HARK_API_URL=hark_server.url)
    with running(worker):
        yield worker


@pytest.fixture
def start_worker(livekit: LiveKitServer, logs: Path) -> Iterator[Callable[..., Worker]]:
    """Starts agents; at the end they are stopped, and must have had no trouble."""
    with ExitStack() as stack:

        def start(agent: str, mode: str = "dev", **env: str) -> Worker:
            return stack.enter_context(running(Worker(agent, mode, livekit, logs, **env)))

        yield start


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes figures, which are printed when all tests have run."""
    figures = request.config.stash.setdefault(_figures, [])

    def note(figure: str) -> None:
        figures.append(f"{request.node.name}: {figure}")

    return note


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash.get(_figures, []):
        terminalreporter.section("measured in rooms")
        for figure in figures:
            terminalreporter.write_line(figure)
