"""What a stream tells: collected, and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from livekit.agents.stt import RecognizeStream, SpeechData, SpeechEvent, SpeechEventType

from livekit import rtc

START = SpeechEventType.START_OF_SPEECH
INTERIM = SpeechEventType.INTERIM_TRANSCRIPT
PREFLIGHT = SpeechEventType.PREFLIGHT_TRANSCRIPT
FINAL = SpeechEventType.FINAL_TRANSCRIPT
END = SpeechEventType.END_OF_SPEECH
USAGE = SpeechEventType.RECOGNITION_USAGE

DEADLINE_S = 30.0
"""Nothing here takes as long, so a wait that does is a hang."""


class Listener:
    """Collects a stream's events while the test goes on."""

    def __init__(self, stream: RecognizeStream) -> None:
        self.events: list[SpeechEvent] = []
        self._task = asyncio.create_task(self._listen(stream))

    async def _listen(self, stream: RecognizeStream) -> None:
        async for event in stream:
            self.events.append(event)

    async def until(self, kind: SpeechEventType, count: int = 1) -> SpeechEvent:
        """Wait until there are so many events of a kind; give the last of these."""
        await until(lambda: self._task.done() or len(of_kind(self.events, kind)) >= count)
        return of_kind(self.events, kind)[count - 1]

    async def end(self) -> list[SpeechEvent]:
        """Wait until the stream is over; raises what it raises."""
        await asyncio.wait_for(self._task, DEADLINE_S)
        return self.events


async def hear(stream: RecognizeStream, frames: Iterable[rtc.AudioFrame]) -> list[SpeechEvent]:
    """Push everything as fast as it goes, end the input, and collect all events."""
    async with stream:
        listener = Listener(stream)
        for frame in frames:
            stream.push_frame(frame)
        stream.end_input()
        return await listener.end()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks, threads or processes bring about."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def of_kind(events: Iterable[SpeechEvent], *kinds: SpeechEventType) -> list[SpeechEvent]:
    return [event for event in events if event.type in kinds]


def texts(events: Iterable[SpeechEvent]) -> list[str]:
    """The finals' texts."""
    return [event.alternatives[0].text for event in of_kind(events, FINAL)]


def told(events: Iterable[SpeechEvent]) -> list[tuple[SpeechEventType, list[SpeechData]]]:
    """All that events say, but for what depends on the moment they were told at."""
    return [(event.type, event.alternatives) for event in events if event.type is not USAGE]


def usage_s(events: Iterable[SpeechEvent]) -> float:
    """Seconds of audio reported as used."""
    reported = [event.recognition_usage for event in of_kind(events, USAGE)]
    return sum(usage.audio_duration for usage in reported if usage is not None)


def words(text: str) -> list[str]:
    """Its words, without case and punctuation."""
    return "".join(c for c in text.lower() if c.isalpha() or c.isspace()).split()


_MAY_FOLLOW = {
    END: {START},
    START: {INTERIM, PREFLIGHT, FINAL},
    INTERIM: {INTERIM, PREFLIGHT, FINAL},
    PREFLIGHT: {INTERIM, PREFLIGHT, FINAL},
    FINAL: {END},
}


def assert_in_order(events: Sequence[SpeechEvent]) -> None:
    """Each utterance starts, has hypotheses, one final, and ends; nothing comes in between.

    An empty final that answers a flush may stand between utterances.
    """
    before = END
    for event in events:
        if event.type is USAGE:
            continue
        if before is END and event.type is FINAL:
            assert event.alternatives[0].text == ""
            continue
        assert event.type in _MAY_FOLLOW[before], f"{event.type} after {before}"
        before = event.type
    assert before is END, f"the events end with {before}"
