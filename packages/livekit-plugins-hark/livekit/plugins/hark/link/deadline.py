"""Waiting no longer than one wants to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from livekit.agents.utils import aio

T = TypeVar("T")


async def within(timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Await `work` until a deadline; it is cancelled and over when this returns or raises.

    Unlike `asyncio.wait_for` before Python 3.12, it never swallows a cancellation of its caller.

    Raises:
        asyncio.TimeoutError: the deadline passed.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        await aio.cancel_and_wait(task)
