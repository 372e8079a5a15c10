"""Tests of hark.server.patience, by the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio

from hark.server.patience import Patience

SHORT_S = 0.05
DEADLINE_S = 30


async def _sleep(seconds: float, *acts: Callable[[Patience], None]) -> Patience:
    """Sleep where these acts of patience may cut it short."""
    with anyio.CancelScope() as scope:
        patience = Patience(scope)
        for act in acts:
            act(patience)
        await asyncio.sleep(seconds)
    return patience


async def test_who_waits_too_long_is_cancelled() -> None:
    started = time.monotonic()
    patience = await _sleep(DEADLINE_S, lambda p: p.wait(SHORT_S))
    assert patience.is_over
    assert SHORT_S <= time.monotonic() - started < DEADLINE_S


async def test_a_shorter_wait_after_a_longer_one_ends_sooner() -> None:
    patience = await _sleep(
        DEADLINE_S, lambda p: p.wait(2 * DEADLINE_S), Patience.came, lambda p: p.wait(SHORT_S)
    )
    assert patience.is_over
    assert patience.timeout_s == SHORT_S


async def test_a_wait_without_a_limit_has_none() -> None:
    patience = await _sleep(3 * SHORT_S, lambda p: p.wait(SHORT_S), lambda p: p.wait(None))
    assert not patience.is_over


async def test_nobody_is_cancelled_after_the_end() -> None:
    patience = await _sleep(3 * SHORT_S, lambda p: p.wait(SHORT_S), Patience.stop, Patience.stop)
    assert not patience.is_over


async def test_each_wait_may_take_as_long_as_it_says() -> None:
    with anyio.CancelScope() as scope:
        patience = Patience(scope)
        for _ in range(8):
            patience.wait(4 * SHORT_S)
            await asyncio.sleep(SHORT_S)
            patience.came()
            await asyncio.sleep(SHORT_S)  # nobody waits
    patience.stop()
    assert not patience.is_over
    assert not scope.cancelled_caught


async def test_what_comes_while_the_event_loop_hangs_comes_in_time() -> None:
    loop = asyncio.get_running_loop()
    message = loop.create_future()

    def hang() -> None:
        time.sleep(3 * SHORT_S)
        message.set_result(None)

    with anyio.CancelScope() as scope:
        patience = Patience(scope)
        patience.wait(SHORT_S)
        loop.call_soon(hang)
        await message
        patience.came()
        await asyncio.sleep(SHORT_S)
    assert not patience.is_over
    assert not scope.cancelled_caught
