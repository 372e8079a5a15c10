"""Streams come and go, as when an agent clears the user's turn; what they share stays."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from dataclasses import dataclass

import numpy as np
import psutil
from hearing.recordings import RATE, beckett, frames, two_sentences
from hearing.server import HarkServer
from hearing.transcripts import START, Listener, hear, texts, until
from livekit.agents.stt import RecognizeStream

from hark.session import Session
from livekit.plugins import hark

STREAMS = 50


@dataclass(frozen=True)
class Census:
    """What a process has that could grow."""

    threads: int
    files: int
    children: frozenset[int]

    @classmethod
    def of(cls, process: psutil.Process) -> Census:
        children = frozenset(child.pid for child in process.children(recursive=True))
        return cls(process.num_threads(), process.num_fds(), children)

    def covers(self, later: Census) -> bool:
        """Whether nothing has been added since."""
        return (
            later.threads <= self.threads
            and later.files <= self.files
            and later.children == self.children
        )


def living(*kinds: type) -> Counter[str]:
    """How many objects of these classes, or of classes below them, there are."""
    gc.collect()
    return Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, kinds))


async def begin(stt: hark.STT, moment: np.random.Generator) -> None:
    """Open a stream, push a part of a recording, and give it up at some moment."""
    stream = stt.stream()
    listener = Listener(stream)
    pushed = frames(beckett())[: int(moment.integers(0, 500))]
    for frame in pushed:
        stream.push_frame(frame)
    match moment.integers(0, 4):
        case 0:
            pass
        case 1:
            await asyncio.sleep(float(moment.uniform(0, 0.1)))
        case 2:
            stream.flush()
            await asyncio.sleep(0)
        case 3:
            stream.end_input()
            await asyncio.sleep(float(moment.uniform(0, 0.2)))
    await stream.aclose()
    await listener.end()


async def test_streams_given_up_at_any_moment_leave_nothing_behind(
    stt: hark.STT, server: HarkServer
) -> None:
    moment = np.random.default_rng(3)
    for _ in range(5):  # the first ones start what is shared
        await begin(stt, moment)
    here, there = psutil.Process(), server.psutil
    before = Census.of(here), Census.of(there), asyncio.all_tasks()
    for _ in range(STREAMS):
        await begin(stt, moment)
    await until(lambda: before[0].covers(Census.of(here)))
    await until(lambda: before[1].covers(Census.of(there)))
    await until(lambda: asyncio.all_tasks() <= before[2])
    await until(lambda: living(Session, RecognizeStream) == Counter())
    assert "Ever tried" in texts(await hear(stt.stream(), frames(two_sentences())))[0]


async def test_one_stream_after_the_other_uses_the_model_that_is_loaded(
    stt: hark.STT, server: HarkServer
) -> None:
    expected = texts(await hear(stt.stream(), frames(two_sentences())))
    workers = [Census.of(process).children for process in (psutil.Process(), server.psutil)]
    for _ in range(20):
        # What AgentSession.clear_user_turn does: away with the stream, here is a new one.
        stream = stt.stream()
        listener = Listener(stream)
        for frame in frames(two_sentences()[:RATE]):
            stream.push_frame(frame)
        await listener.until(START)
        await stream.aclose()
        await listener.end()
    assert texts(await hear(stt.stream(), frames(two_sentences()))) == expected
    assert [Census.of(process).children for process in (psutil.Process(), server.psutil)] == workers
