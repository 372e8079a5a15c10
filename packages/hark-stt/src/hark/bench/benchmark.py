"""One contestant after the other, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from hark.bench import contestants
from hark.bench.contestant import ContestantError
from hark.bench.job import Prepare
from hark.bench.player_process import PlayerProcess
from hark.bench.ramp import next_streams
from hark.bench.report import Result
from hark.bench.step import Step


class Onlooker(Protocol):
    """Who is told how a benchmark goes on."""

    def starting(self, title: str) -> None:
        """A contestant is being started."""

    def running(self, title: str, streams: int) -> Callable[[float], None]:
        """A step begins; gives what to call with the part that is done, 0 to 1."""

    def done(self, title: str, step: Step) -> None:
        """A step is done."""

    def failed(self, title: str, problem: str) -> None:
        """A contestant cannot go on."""


async def measure_contestant(
    prepare: Prepare, streams: Sequence[int] | None, promise_s: float, onlooker: Onlooker
) -> Result:
    """Measure a contestant. When cancelled, it is ended. What fails is in the result.

    Args:
        prepare: what to start and play.
        streams: how many at once, step by step; None to look for the capacity.
        promise_s: longest p95 of the final latency.
        onlooker: is told.
    """
    title = contestants.title(prepare.contestant)
    steps: list[Step] = []
    settings: Mapping[str, str] = {}
    problem = None
    player: PlayerProcess | None = None
    try:
        while (count := _next(steps, streams, promise_s)) is not None:
            if player is None:
                onlooker.starting(title)
                player = await PlayerProcess.start(prepare)
                settings = player.settings
            step = await player.run(count, onlooker.running(title, count))
            steps.append(step)
            onlooker.done(title, step)
            if not step.keeps(promise_s):
                # It may be busy with what it has not caught up with: the next step gets a new one.
                await player.aclose()
                player = None
    except ContestantError as error:
        problem = str(error)
        onlooker.failed(title, problem)
    finally:
        if player is not None:
            await player.aclose()
    return Result(title, settings, steps, problem)


def _next(steps: Sequence[Step], streams: Sequence[int] | None, promise_s: float) -> int | None:
    if streams is None:
        return next_streams({step.streams: step.keeps(promise_s) for step in steps})
    return streams[len(steps)] if len(steps) < len(streams) else None
