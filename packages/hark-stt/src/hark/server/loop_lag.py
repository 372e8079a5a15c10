"""How late the event loop is: everything that computes belongs in a thread or another process."""

from __future__ import annotations

from collections import deque

import anyio

INTERVAL_S = 0.1
"""Seconds between two looks."""

_LOOKS = int(10 / INTERVAL_S)  # those of the last 10 s


class LoopLag:
    """Looks at the clock at fixed times, and remembers how much later it was."""

    def __init__(self) -> None:
        """Start without a look."""
        self._late_s: deque[float] = deque(maxlen=_LOOKS)

    @property
    def worst_s(self) -> float:
        """The longest of the last ten seconds, in seconds."""
        return max(self._late_s, default=0.0)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            due = anyio.current_time() + INTERVAL_S
            await anyio.sleep_until(due)
            self._late_s.append(anyio.current_time() - due)
