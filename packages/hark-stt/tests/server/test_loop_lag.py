"""Tests of hark.server.loop_lag."""

from __future__ import annotations

import time

import anyio

from hark.server.loop_lag import INTERVAL_S, LoopLag


async def test_what_blocks_the_event_loop_shows() -> None:
    lag = LoopLag()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lag.watch)
        await anyio.sleep(INTERVAL_S / 2)  # the watch waits for its first look
        time.sleep(3 * INTERVAL_S)  # noqa: ASYNC251  (blocking is what is tested)
        await anyio.sleep(INTERVAL_S / 2)  # the next look is after this
        tasks.cancel_scope.cancel()
    assert lag.worst_s >= INTERVAL_S


def test_without_a_look_there_is_no_lag() -> None:
    assert LoopLag().worst_s == 0.0
