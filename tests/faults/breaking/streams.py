"""Recordings told to a stream at their pace, what comes back, and what a fault did to it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from hearing.recordings import RATE, Pcm, frames
from hearing.transcripts import FINAL, Listener, assert_in_order, hear, of_kind, words
from livekit.agents.stt import SpeechEvent, STTError

from livekit.plugins import hark

FRAME_S = 0.02

MOST_SHIFT_S = 0.02
"""How far times may be from those of the undisturbed stream."""

Action = Callable[[], "Awaitable[None] | None"]


async def tell(
    stream: hark.SpeechStream,
    samples: Pcm,
    *,
    at: Sequence[tuple[float, Action]] = (),
    speed: float = 1.0,
    end: bool = True,
) -> None:
    """Push a recording frame by frame at its pace.

    Args:
        stream: where to.
        samples: at `RATE`.
        at: seconds of the recording, or after its end, and what happens then, in order.
        speed: how much faster than real time.
        end: whether to end the input.
    """
    due = list(at)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, frame in enumerate(frames(samples)):
        await asyncio.sleep(began + number * FRAME_S / speed - loop.time())
        while due and due[0][0] <= number * FRAME_S:
            await _do(due.pop(0)[1])
        stream.push_frame(frame)
    if end:
        stream.end_input()
    for second, action in due:
        await asyncio.sleep(began + second / speed - loop.time())
        await _do(action)


async def _do(action: Action) -> None:
    done = action()
    if done is not None:
        await done


async def hear_at_pace(
    stt: hark.STT,
    samples: Pcm,
    *,
    at: Sequence[tuple[float, Action]] = (),
    speed: float = 1.0,
) -> list[SpeechEvent]:
    """All events of a recording told at its pace; those of a fault after its end included."""
    async with stt.stream() as stream:
        listener = Listener(stream)
        await tell(stream, samples, at=at, speed=speed)
        return await listener.end()


async def hear_undisturbed(url: str, samples: Pcm) -> list[SpeechEvent]:
    """What others are compared with."""
    # It is told at once, and all of it must be kept until there is a connection.
    async with hark.STT(api_url=url, replay_s=600) as stt:
        events = await hear(stt.stream(), frames(samples))
    assert_in_order(events)
    return events


@dataclass
class Damage:
    """What is different from an undisturbed stream.

    Attributes:
        streams: how many were compared.
        words_lost: words that are missing.
        words_added: words that were not there: told twice, or something else.
        texts_changed: streams whose finals have other texts, be it in punctuation.
        shift_s: the largest difference of a time.
        moved: texts of finals that differ, or whose time does, for the report of a failure.
    """

    streams: int = 0
    words_lost: int = 0
    words_added: int = 0
    texts_changed: int = 0
    shift_s: float = 0.0
    moved: list[str] = field(default_factory=list)

    @property
    def is_none(self) -> bool:
        return (
            not self.words_lost
            and not self.words_added
            and not self.texts_changed
            and self.shift_s <= MOST_SHIFT_S
        )

    def __str__(self) -> str:
        return (
            f"words lost: {self.words_lost}, words added: {self.words_added}, "
            f"streams with another text: {self.texts_changed} of {self.streams}, "
            f"largest time shift: {self.shift_s * 1000:.1f} ms"
        )

    def note(self, expected: Sequence[SpeechEvent], got: Sequence[SpeechEvent], what: str) -> None:
        """Compare the events of one more stream.

        Raises:
            AssertionError: they are out of order.
        """
        assert_in_order(got)
        self.streams += 1
        before, after = _words(expected), _words(got)
        matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
        same = sum(block.size for block in matcher.get_matching_blocks())
        self.words_lost += len(before) - same
        self.words_added += len(after) - same
        ours, theirs = _finals(expected), _finals(got)
        if [text for text, *_ in ours] != [text for text, *_ in theirs]:
            self.texts_changed += 1
            gone = [final for final in ours if final not in theirs]
            new = [final for final in theirs if final not in ours]
            self.moved.append(f"{what}: {gone} became {new}")
            return
        for (text, *times), (_, *others) in zip(ours, theirs, strict=True):
            shift_s = max(abs(t - o) for t, o in zip(times, others, strict=True))
            self.shift_s = max(self.shift_s, shift_s)
            if shift_s > MOST_SHIFT_S:
                self.moved.append(f"{what}: {text!r} moved from {times} to {others}")

    def check(self) -> None:
        """Fail if there is any."""
        assert self.is_none, "\n".join([str(self), *self.moved])


def check(expected: Sequence[SpeechEvent], events: Sequence[SpeechEvent]) -> None:
    """Fail if one stream took any damage."""
    damage = Damage()
    damage.note(expected, events, "it")
    damage.check()


def _words(events: Sequence[SpeechEvent]) -> list[str]:
    return words(" ".join(text for text, *_ in _finals(events)))


def _finals(events: Sequence[SpeechEvent]) -> list[tuple[str, float, float]]:
    """Text, start and end; without the empty ones that only answer a flush."""
    told = [event.alternatives[0] for event in of_kind(events, FINAL)]
    return [(said.text, said.start_time, said.end_time) for said in told if said.text]


class Errors:
    """The errors that an STT reports."""

    def __init__(self, stt: hark.STT) -> None:
        self.reported: list[STTError] = []
        stt.on("error", self.reported.append)

    @property
    def recoverable(self) -> list[bool]:
        return [error.recoverable for error in self.reported]


def seconds(samples: Pcm) -> float:
    """How long it is."""
    return len(samples) / RATE
