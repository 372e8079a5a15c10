"""What a stream tells, collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from fake_hark import frames
from livekit.agents.stt import SpeechEvent, SpeechEventType, STTError

from livekit.plugins import hark

START = SpeechEventType.START_OF_SPEECH
INTERIM = SpeechEventType.INTERIM_TRANSCRIPT
PREFLIGHT = SpeechEventType.PREFLIGHT_TRANSCRIPT
FINAL = SpeechEventType.FINAL_TRANSCRIPT
END = SpeechEventType.END_OF_SPEECH
USAGE = SpeechEventType.RECOGNITION_USAGE

DEADLINE_S = 20


def push(stream: hark.SpeechStream, *audio: np.ndarray) -> None:
    for frame in frames(np.concatenate(audio)):
        stream.push_frame(frame)


async def hear(stream: hark.SpeechStream, *audio: np.ndarray) -> list[SpeechEvent]:
    """Push everything at once, end the input and collect all events."""
    push(stream, *audio)
    stream.end_input()
    return [event async for event in stream]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another task brings about."""
    for _ in range(DEADLINE_S * 200):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


class Listener:
    """Collects a stream's events while the test goes on."""

    def __init__(self, stream: hark.SpeechStream) -> None:
        self.events: list[SpeechEvent] = []
        self._stream = stream
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._stream:
            self.events.append(event)
            self._changed.set()

    async def until(self, kind: SpeechEventType, count: int = 1) -> SpeechEvent:
        """Wait until there are so many events of a kind; give the last one."""

        async def wait() -> None:
            while len(of_kind(self.events, kind)) < count:
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), DEADLINE_S)
        return of_kind(self.events, kind)[count - 1]

    async def end(self) -> list[SpeechEvent]:
        """Wait for the end of the stream; raises what the stream raises."""
        await asyncio.wait_for(self._task, DEADLINE_S)
        return self.events


class Errors:
    """Collects the errors that an STT reports."""

    def __init__(self, stt: hark.STT) -> None:
        self.reported: list[STTError] = []
        stt.on("error", self.reported.append)

    @property
    def recoverable(self) -> list[bool]:
        return [error.recoverable for error in self.reported]


def of_kind(events: Sequence[SpeechEvent], kind: SpeechEventType) -> list[SpeechEvent]:
    return [event for event in events if event.type is kind]


def texts(events: Sequence[SpeechEvent]) -> list[str]:
    """The texts of the finals."""
    return [event.alternatives[0].text for event in of_kind(events, FINAL)]


def spans(events: Sequence[SpeechEvent]) -> list[tuple[float, float]]:
    """Start and end of the finals in seconds."""
    return [
        (round(e.alternatives[0].start_time, 6), round(e.alternatives[0].end_time, 6))
        for e in of_kind(events, FINAL)
    ]


def assert_order(events: Sequence[SpeechEvent]) -> None:
    """START, INTERIM or PREFLIGHT, FINAL, END each time; an empty FINAL may stand alone."""
    may_follow = {
        None: {START, FINAL},
        START: {INTERIM, PREFLIGHT, FINAL},
        INTERIM: {INTERIM, PREFLIGHT, FINAL},
        PREFLIGHT: {INTERIM, PREFLIGHT, FINAL},
        FINAL: {END},
    }
    before: SpeechEventType | None = None
    for event in events:
        if event.type is USAGE:
            continue
        assert event.type in may_follow[before], f"{event.type} after {before}"
        if before is None and event.type is FINAL:
            assert event.alternatives[0].text == ""
            continue
        before = None if event.type is END else event.type
    assert before is None, f"ends after {before}"
