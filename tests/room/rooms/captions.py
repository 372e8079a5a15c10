"""The transcriptions that reach a participant of a room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from livekit.agents.types import (
    ATTRIBUTE_TRANSCRIPTION_FINAL,
    ATTRIBUTE_TRANSCRIPTION_SEGMENT_ID,
    TOPIC_TRANSCRIPTION,
)

from livekit import rtc

LONGEST_FINAL_LATENCY_S = 5.0
"""From a caller's last speech to the final. Five times what is measured on a machine that has
nothing else to do, because tests run on busy ones, too."""


@dataclass
class Caption:
    """One text stream.

    Attributes:
        speaker: identity of the participant who said it.
        segment: what texts of one utterance have in common.
        text: all that has come so far.
        is_final: known at the end of the stream.
        at: when the latest of it came, in seconds of the monotonic clock.
        is_complete: whether the stream has ended.
    """

    speaker: str
    segment: str
    text: str = ""
    is_final: bool = False
    at: float = 0.0
    is_complete: bool = False


class Captions:
    """Collects them, in the order in which they were begun."""

    def __init__(self, room: rtc.Room) -> None:
        self.all: list[Caption] = []
        self._changed = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        room.register_text_stream_handler(TOPIC_TRANSCRIPTION, self._on_stream)

    def of(self, speaker: str) -> list[Caption]:
        """All of a speaker."""
        return [caption for caption in self.all if caption.speaker == speaker]

    def finals(self, speaker: str) -> list[Caption]:
        """The complete finals of a speaker."""
        return [c for c in self.of(speaker) if c.is_complete and c.is_final]

    def text(self, speaker: str) -> str:
        """What a speaker said, from the finals."""
        return " ".join(caption.text for caption in self.finals(speaker))

    async def until(self, is_there: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait for something to become true that depends on captions alone."""

        async def wait() -> None:
            while not is_there():
                self._changed.clear()
                await self._changed.wait()

        try:
            await asyncio.wait_for(wait(), timeout_s)
        except asyncio.TimeoutError:
            raise AssertionError(f"not within {timeout_s:g} s: {self.all}") from None

    def _on_stream(self, reader: rtc.TextStreamReader, speaker: str) -> None:
        attributes = reader.info.attributes or {}
        caption = Caption(speaker, attributes.get(ATTRIBUTE_TRANSCRIPTION_SEGMENT_ID, ""))
        self.all.append(caption)
        task = asyncio.create_task(self._read(reader, caption))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _read(self, reader: rtc.TextStreamReader, caption: Caption) -> None:
        async for piece in reader:
            caption.text += piece
            caption.at = time.monotonic()
            self._changed.set()
        # LiveKit's agents say at the end of their own speech whether it is final.
        attributes = reader.info.attributes or {}
        caption.is_final = attributes.get(ATTRIBUTE_TRANSCRIPTION_FINAL) == "true"
        caption.is_complete = True
        caption.at = time.monotonic()
        self._changed.set()


def assert_in_order(captions: list[Caption]) -> None:
    """Each segment: interims, then one final; and no segment begins before the last one's final."""
    closed: set[str] = set()
    current = ""
    for caption in captions:
        assert caption.segment not in closed, f"{caption} comes after its final"
        assert current in ("", caption.segment), f"{caption} comes before the final of {current}"
        current = caption.segment
        if caption.is_final:
            closed.add(current)
            current = ""
    assert not current, f"{current} has no final"
