"""Plays scripts to a contestant at the pace of speech, and notes what comes back and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Contestant, ContestantError, ContestantStream, Heard, Kind
from hark.bench.scripts import Script

STAGGER_S = 5.0
"""The streams begin within so many seconds, at moments that are drawn."""

FINISH_TIMEOUT_S = 20.0
"""Longest wait for the last results of a stream; what comes later is lost."""

OPENINGS_AT_A_TIME = 8


@dataclass(slots=True)
class Played:
    """How one stream went.

    Attributes:
        script: what was played.
        start_s: when, on the clock of `time.perf_counter`.
        heard: what came back, in order.
        late_s: how much later than it should each chunk was handed over.
        failure: what the stream ended with; None if it ended well.
    """

    script: Script
    start_s: float
    heard: list[Heard] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def end_s(self) -> float:
        """When its last sample was spoken."""
        return self.start_s + self.script.duration_s

    def hear(self, kind: Kind, text: str, start_s: float, end_s: float) -> None:
        """Note a result that comes just now."""
        at_s = time.perf_counter() - self.start_s
        self.heard.append(Heard(kind, text, start_s, end_s, at_s))


class Play:
    """One run of several streams.

    Attributes:
        streams: the streams, once `run` has opened them.
    """

    def __init__(
        self, contestant: Contestant, scripts: Sequence[Script], chunk_ms: int, seed: int
    ) -> None:
        """Args: contestant: to play to. chunk_ms: audio in a `push`. seed: of the beginnings."""
        self.streams: list[Played] = []
        self._contestant = contestant
        self._scripts = scripts
        self._chunk_samples = SAMPLE_RATE * chunk_ms // 1000
        self._draw = random.Random(seed)
        self._opened: list[ContestantStream] = []

    @property
    def steady_from_s(self) -> float:
        """When the last stream began to play."""
        return max(played.start_s for played in self.streams)

    @property
    def steady_until_s(self) -> float:
        """When the first stream stopped to play."""
        return min(played.end_s for played in self.streams)

    @property
    def ends_s(self) -> float:
        """When the last stream stops to play."""
        return max(played.end_s for played in self.streams)

    async def open(self) -> None:
        """Open all streams, and decide when each begins.

        Raises:
            ContestantError: one cannot be opened.
        """
        room = asyncio.Semaphore(OPENINGS_AT_A_TIME)
        # A stream by itself needs no other's company, nor a wait for it.
        stagger_s = STAGGER_S if len(self._scripts) > 1 else 0.0
        begins = [self._draw.uniform(0, stagger_s) for _ in self._scripts]
        self.streams = [Played(script, 0.0) for script in self._scripts]

        async def open_one(played: Played) -> ContestantStream:
            async with room:
                return await self._contestant.open(played.hear)

        self._opened = list(await asyncio.gather(*map(open_one, self.streams)))
        zero = time.perf_counter() + 0.2
        for played, begin in zip(self.streams, begins, strict=True):
            played.start_s = zero + begin

    async def run(self) -> None:
        """Play; return when all results have come. Whatever fails is noted in its stream."""
        await asyncio.gather(*map(self._run_one, self.streams, self._opened))

    async def _run_one(self, played: Played, stream: ContestantStream) -> None:
        samples = played.script.samples
        for start in range(0, len(samples), self._chunk_samples):
            chunk = samples[start : start + self._chunk_samples]
            # A chunk can leave when the last of its samples has been spoken.
            due = played.start_s + (start + len(chunk)) / SAMPLE_RATE
            await asyncio.sleep(due - time.perf_counter())
            stream.push(chunk.tobytes())
            played.late_s.append(time.perf_counter() - due)
        try:
            await asyncio.wait_for(stream.finish(), FINISH_TIMEOUT_S)
        except asyncio.TimeoutError:
            played.failure = f"not done {FINISH_TIMEOUT_S:g} s after its end"
        except ContestantError as error:
            played.failure = str(error)
