"""What a session still has to tell its client.

Bounded, because a slow client must not fill the memory.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hark_protocol import Interim, Progress, ServerMessage

CAPACITY = 64
"""Messages waiting before the session stops taking audio: some seconds' worth, as interims and
progress replace older ones that still wait."""


class Outbox:
    """A queue of messages with one writer and one reader, both in one event loop."""

    def __init__(self) -> None:
        self._messages: deque[ServerMessage] = deque()
        self._changed = asyncio.Event()
        self._is_finished = False

    @property
    def has_room(self) -> bool:
        """Whether the writer may go on to produce messages."""
        return len(self._messages) < CAPACITY

    @property
    def is_finished(self) -> bool:
        """Whether no more messages will come."""
        return self._is_finished

    def put(self, message: ServerMessage) -> None:
        """Add a message.

        An interim or progress takes the place of one just before it that still waits.
        """
        if self._is_finished:
            return
        newest = self._messages[-1] if self._messages else None
        if isinstance(message, (Interim, Progress)) and type(newest) is type(message):
            self._messages.pop()
        self._messages.append(message)
        self._changed.set()

    def finish(self) -> None:
        """No more messages will come; those that wait can still be read."""
        self._is_finished = True
        self._changed.set()

    async def get(self) -> ServerMessage | None:
        """Wait for the next message; None after the last. Safe to cancel: no message is lost."""
        while not self._messages and not self._is_finished:
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft() if self._messages else None
