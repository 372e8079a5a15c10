"""The way of a stream's audio from `push_frame` to the outbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit.agents.utils import aio

from livekit import rtc


class Intake(aio.Chan[Any]):
    """LiveKit's input channel, but audio that nothing waits ahead of does not wait for a task.

    Otherwise each frame of each stream would take one more turn of the event loop.
    """

    def __init__(self, take: Callable[[rtc.AudioFrame], None]) -> None:
        """Args: take: gets the frames that go straight through; must not block."""
        super().__init__()
        self._take = take

    def send_nowait(self, value: Any) -> None:
        """Take audio at once; keep in line whatever comes after something else.

        Raises:
            ChanClosed: the stream takes no more.
        """
        if isinstance(value, rtc.AudioFrame) and self.empty() and not self.closed:
            self._take(value)
        else:
            super().send_nowait(value)
