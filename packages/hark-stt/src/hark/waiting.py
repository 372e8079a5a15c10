"""Waiting in an event loop for what threads bring about."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


async def result_of(future: Future[_T]) -> _T:
    """Give the result of work that several wait for. Safe to cancel: the work goes on.

    Raises:
        Exception: whatever the work failed with.
    """
    waiting = asyncio.wrap_future(future)
    waiting.add_done_callback(_see)
    return await asyncio.shield(waiting)


def _see(waiting: asyncio.Future[_T]) -> None:
    """Look at how it ended, or asyncio complains of a failure that nobody waits for any more."""
    if not waiting.cancelled():
        waiting.exception()
