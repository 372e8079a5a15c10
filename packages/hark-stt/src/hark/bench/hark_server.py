"""`hark serve` as a child process, on a loopback port that the system chooses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from hark.bench.child import Child
from hark.bench.contestant import ContestantError

END_TIMEOUT_S = 10.0

START_TIMEOUT_S = 120.0
"""Longest wait for the models to be warm, in seconds."""


class HarkServer:
    """A running server.

    Attributes:
        url: of its streams.
        pid: of its process.
    """

    def __init__(self, child: Child, url: str) -> None:
        """Args: child: that is ready. url: of its streams."""
        self.url = url
        self.pid = child.pid
        self._child = child

    @classmethod
    async def start(cls, arguments: Sequence[str] = ()) -> HarkServer:
        """Start a server and wait until it is ready. When cancelled, it is ended.

        Args:
            arguments: more flags of `hark serve`.

        Raises:
            ContestantError: it cannot be started.
        """
        # Sessions that are left when it is told to end are of no use to anybody.
        own = ("--port", "0", "--log-format", "json", "--grace-period-s", "0")
        child = await Child.start("hark", "serve", *own, *arguments)
        try:
            port = await asyncio.wait_for(_port_when_ready(child), START_TIMEOUT_S)
        except asyncio.TimeoutError:
            await child.aclose(END_TIMEOUT_S)
            raise ContestantError(f"hark serve is not ready after {START_TIMEOUT_S:g} s") from None
        except BaseException:
            await child.aclose(END_TIMEOUT_S)
            raise
        child.keep_reading_errors()
        return cls(child, f"ws://127.0.0.1:{port}/ws/transcribe")

    async def aclose(self) -> None:
        """End it. Idempotent."""
        await self._child.aclose(END_TIMEOUT_S)


async def _port_when_ready(child: Child) -> int:
    port = 0
    async for line in child.errors():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("message") == "listening":
            port = entry["port"]
        elif entry.get("message") == "ready":
            return port
    raise ContestantError(f"hark serve did not start: {child.last_words}")
