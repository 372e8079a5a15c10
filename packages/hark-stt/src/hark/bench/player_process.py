"""A player process from the outside: a contestant, started, played to and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from hark.bench import job
from hark.bench.child import Child
from hark.bench.contestant import ContestantError
from hark.bench.step import Step

PREPARE_TIMEOUT_S = 180.0
"""Longest wait for a contestant to load its models, in seconds."""

END_TIMEOUT_S = 20.0
"""Longest wait for its end: what a contestant has not caught up with is of no use to anybody."""

SILENCE_TIMEOUT_S = 60.0
"""Longest time without a sign of life: even a step tells its progress twice a second."""


class PlayerProcess:
    """A contestant in a process of its own.

    Attributes:
        settings: its versions and settings.
    """

    def __init__(self, child: Child) -> None:
        """Args: child: a `hark.bench.player` that was told nothing yet."""
        self.settings: Mapping[str, str] = {}
        self._child = child

    @classmethod
    async def start(cls, prepare: job.Prepare) -> PlayerProcess:
        """Start the process and its contestant. When cancelled, both are ended.

        Raises:
            ContestantError: it cannot be started, or what it should play cannot be read.
        """
        child = await Child.start("hark.bench.player", leads_session=True)
        child.keep_reading_errors()
        player = cls(child)
        try:
            player._tell(prepare)
            answer = await player._answer(PREPARE_TIMEOUT_S)
            if not isinstance(answer, job.Ready):
                raise ContestantError("the player process broke its protocol")
            player.settings = answer.settings
        except BaseException:
            await child.aclose(END_TIMEOUT_S)
            raise
        return player

    async def run(self, streams: int, on_progress: Callable[[float], None]) -> Step:
        """Run a step. When cancelled, the process is of no more use.

        Args:
            streams: at once.
            on_progress: called with the part that is done, 0 to 1.

        Raises:
            ContestantError: it cannot be done.
        """
        self._tell(job.Run(streams))
        while True:
            answer = await self._answer(SILENCE_TIMEOUT_S)
            if isinstance(answer, job.Progress):
                on_progress(answer.part)
            elif isinstance(answer, job.Done):
                return answer.step

    async def aclose(self) -> None:
        """End both. Idempotent."""
        await self._child.aclose(END_TIMEOUT_S)

    def _tell(self, command: job.Command) -> None:
        self._child.stdin.write(job.frame(command))

    async def _answer(self, timeout_s: float) -> job.Answer:
        try:
            data = await asyncio.wait_for(job.read_frame(self._child.stdout), timeout_s)
        except asyncio.TimeoutError:
            raise ContestantError(f"nothing came for {timeout_s:g} s") from None
        if data is None:
            raise ContestantError(f"the process has ended: {self._child.last_words}")
        answer: job.Answer = job.answers.decode(data)
        if isinstance(answer, job.Failed):
            raise ContestantError(answer.reason)
        return answer
