"""The fake server and what tests say to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

# Test folders are no packages, and this one has a module that its tests share.
sys.path.insert(0, str(Path(__file__).parent))

from fake_hark import FakeHark

from livekit.plugins import hark
from livekit.plugins.hark import backoff


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARK_API_URL", raising=False)
    monkeypatch.delenv("HARK_API_KEY", raising=False)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    # aiohttp ends its connections' tasks a moment after they are closed.
    for _ in range(100):
        left = [t for t in asyncio.all_tasks() - before if t is not asyncio.current_task()]
        if not left:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"tasks are left: {left}")


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what happens between the attempts, not of when they come."""
    monkeypatch.setattr(backoff, "LONGEST_FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(backoff, "SECOND_DELAY_S", 0.01)
    monkeypatch.setattr(backoff, "WINDOW_S", 0.0)


@pytest.fixture
async def server() -> AsyncIterator[FakeHark]:
    async with FakeHark() as fake:
        yield fake


@pytest.fixture
async def make_stt(server: FakeHark) -> AsyncIterator[Callable[..., hark.STT]]:
    made: list[hark.STT] = []

    def make(**options: Any) -> hark.STT:
        made.append(hark.STT(**{"api_url": server.url, **options}))
        return made[-1]

    yield make
    for stt in made:
        await stt.aclose()
