"""A real server, the recogniser in this process, and `hark.STT` for either."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

# Test folders are no packages, and this one has modules that its tests share.
sys.path.insert(0, str(Path(__file__).parent))

from hearing.server import HarkServer

from hark.embedded import Embedded
from livekit.plugins import hark


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARK_API_URL", raising=False)
    monkeypatch.delenv("HARK_API_KEY", raising=False)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HarkServer]:
    server = HarkServer(tmp_path_factory.mktemp("server") / "log")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def loaded() -> Iterator[Embedded]:
    """A share of the recogniser in this process, which keeps the model loaded between tests."""
    share = Embedded.acquire()
    share.prewarm()
    yield share
    share.release()


@pytest.fixture
async def embedded(loaded: Embedded) -> AsyncIterator[hark.STT]:
    async with hark.STT() as stt:
        yield stt


@pytest.fixture
async def served(server: HarkServer) -> AsyncIterator[hark.STT]:
    async with hark.STT(api_url=server.url) as stt:
        yield stt


@pytest.fixture(params=["embedded", "served"])
def stt(request: pytest.FixtureRequest) -> hark.STT:
    """Each of the two in turn."""
    stt: hark.STT = request.getfixturevalue(request.param)
    return stt
