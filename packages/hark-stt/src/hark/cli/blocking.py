"""Blocking calls from a command's coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking call in a thread that nobody waits for once this is cancelled.

    `asyncio.to_thread` would hold up the end of the program until the call returns, so Ctrl-C would
    seem dead during an upload or a read from a pipe.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # from here on, cancelling does not touch it

    def call() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # belongs to whoever waits, whatever it is
            outcome.set_exception(error)

    threading.Thread(target=call, name="hark-blocking-call", daemon=True).start()
    return await asyncio.wrap_future(outcome)
