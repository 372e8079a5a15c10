"""One step of a benchmark: so many streams at once, played, watched and measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hark.bench.contestant import Contestant
from hark.bench.measures import Measures, measure
from hark.bench.play import Play
from hark.bench.recordings import Piece
from hark.bench.scripts import write_scripts
from hark.bench.usage import Usage, watch

PROGRESS_EVERY_S = 0.5

LATE_LIMIT_S = 0.1
"""If 1 % of the chunks leave later than this, it is the load that was measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same in all steps.

    Attributes:
        recordings: what is played.
        seconds: how long each stream plays, to the next pause.
        chunk_ms: milliseconds of audio in a message.
        seed: of everything that is drawn.
    """

    recordings: Sequence[Sequence[Piece]]
    seconds: float
    chunk_ms: int
    seed: int


@dataclass(frozen=True, slots=True)
class Step:
    """What a number of streams came to.

    Attributes:
        streams: at once.
        measures: of what came back.
        usage: of the machine.
        steady_s: how long all streams played at once.
        took_s: how long all of it took.
    """

    streams: int
    measures: Measures
    usage: Usage
    steady_s: float
    took_s: float

    @property
    def is_valid(self) -> bool:
        """Whether the load was on time."""
        return self.measures.late_p99_s <= LATE_LIMIT_S

    def keeps(self, promise_s: float) -> bool:
        """Whether p95 of the final latency is inside the promise, and no stream failed."""
        final = self.measures.final
        is_inside = final is not None and final.p95_s <= promise_s
        return is_inside and not self.measures.failures and self.is_valid


async def run_step(
    contestant: Contestant, plan: Plan, streams: int, on_progress: Callable[[float], None]
) -> Step:
    """Play to a contestant with so many streams. Safe to cancel.

    Args:
        contestant: to measure.
        plan: what to play.
        streams: how many at once.
        on_progress: called with the part that is done, 0 to 1.

    Raises:
        ContestantError: a stream cannot be opened.
    """
    began = time.perf_counter()
    scripts = write_scripts(plan.recordings, streams, plan.seconds, plan.seed)
    play = Play(contestant, scripts, plan.chunk_ms, plan.seed)
    await play.open()
    watching = asyncio.create_task(
        watch(
            contestant.server_pid, contestant.server_lag_s, play.steady_from_s, play.steady_until_s
        )
    )
    telling = asyncio.create_task(_tell_progress(play, on_progress))
    try:
        await play.run()
        usage = await watching
    finally:
        watching.cancel()
        telling.cancel()
        await asyncio.gather(watching, telling, return_exceptions=True)
    measures = await asyncio.to_thread(
        measure, play.streams, play.steady_from_s, play.steady_until_s
    )
    return Step(
        streams=streams,
        measures=measures,
        usage=usage,
        steady_s=play.steady_until_s - play.steady_from_s,
        took_s=time.perf_counter() - began,
    )


async def _tell_progress(play: Play, on_progress: Callable[[float], None]) -> None:
    first = min(played.start_s for played in play.streams)
    while True:
        done = (time.perf_counter() - first) / (play.ends_s - first)
        on_progress(min(1.0, max(0.0, done)))
        await asyncio.sleep(PROGRESS_EVERY_S)
