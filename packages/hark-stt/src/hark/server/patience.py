"""A deadline for each of many waits, which costs next to nothing where nobody is late."""

from __future__ import annotations

import asyncio
import math

import anyio


class Patience:
    """Cancels a scope when what is waited for in it takes too long.

    A timer for each wait would be made and thrown away for every message of every client. Here one
    stays for as long as it takes, and looks again where it was early.
    """

    def __init__(self, scope: anyio.CancelScope) -> None:
        """Args: scope: of the task that waits, which runs in the running event loop."""
        self.is_over = False
        """Whether it has come to an end."""
        self.timeout_s: float | None = None
        """Of the last wait."""
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, timeout_s: float | None) -> None:
        """Begin to wait, so many seconds at most; None for as long as it takes."""
        self.timeout_s = timeout_s
        if timeout_s is None:
            self._due = math.inf
            return
        self._due = self._loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._due:
            self._look_at(self._due)

    def came(self) -> None:
        """What was waited for is there."""
        self._due = math.inf

    def stop(self) -> None:
        """Never cancel anything any more. Idempotent."""
        self._due = math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # One turn later, after whoever was woken in this one: what came meanwhile came in time.
        self._timer = self._loop.call_at(time, self._loop.call_soon, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due == math.inf:
            return  # the next wait sets a timer
        if self._loop.time() < self._due:
            self._look_at(self._due)
        else:
            self.is_over = True
            self._scope.cancel()
