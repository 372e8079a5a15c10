"""A recording told in real time over connections that break: the text and its times stay.

`make test` cuts at a sample of the points, `make test-faults` at all of them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from breaking.proxy import Breakage, FaultProxy, Passage
from breaking.server import HarkServer
from breaking.streams import Damage, hear_at_pace, hear_undisturbed, seconds
from hearing.recordings import RATE, Pcm, a_minute
from hearing.transcripts import FINAL, of_kind
from livekit.agents.stt import SpeechEvent

from livekit.plugins import hark

pytestmark = pytest.mark.faults

Report = Callable[[str], None]

STREAMS_AT_A_TIME = 12
"""As many as two cores recognise in real time."""

SAMPLE_S = 14
"""Length of the recording that the sample of cuts is tried on."""

EVERY_S = 0.5

SEED = 5

BREAKAGES = (Passage.reset, Passage.close, Passage.truncate)


@dataclass(frozen=True)
class Plan:
    """What breaks in one stream.

    Attributes:
        cuts: seconds of the recording at which the connection breaks, and how.
        then: what happens to the connections after the first cut, one each, after so many bytes;
            without a cut, to the first connections.
        after_end: how long after the end of the input the connection breaks.
    """

    cuts: tuple[tuple[float, Breakage], ...] = ()
    then: tuple[tuple[int, Breakage], ...] = ()
    after_end: float | None = None

    @property
    def breaks(self) -> int:
        """How many connections break."""
        return len(self.cuts) + len(self.then) + (self.after_end is not None)


class Trial:
    """Streams of one recording, each through a proxy of its own that breaks its connections."""

    def __init__(self, server: HarkServer, recording: Pcm) -> None:
        self.damage = Damage()
        self.broken = 0
        self.expected: list[SpeechEvent] = []
        self._server = server
        self._recording = recording
        self._turn = asyncio.Semaphore(STREAMS_AT_A_TIME)

    async def listen(self) -> None:
        """Hear the recording without a fault."""
        self.expected = await hear_undisturbed(self._server.url, self._recording)

    async def run(self, plans: Sequence[Plan]) -> None:
        """Tell the recording to as many streams, and break them according to plan."""
        await asyncio.gather(*map(self._run, plans))

    async def _run(self, plan: Plan) -> None:
        async with (
            self._turn,
            FaultProxy(self._server.port) as proxy,
            hark.STT(api_url=proxy.url) as stt,
        ):
            events = await hear_at_pace(stt, self._recording, at=self._actions(plan, proxy))
        # The stream may be done before what was to break it after its end.
        assert proxy.broken in (plan.breaks, plan.breaks - (plan.after_end is not None)), plan
        assert len(proxy.connected_at) > proxy.broken - (plan.after_end is not None)
        self.broken += proxy.broken
        self.damage.note(self.expected, events, str(plan))

    def _actions(self, plan: Plan, proxy: FaultProxy) -> list[tuple[float, Callable[[], None]]]:
        actions = [(second, partial(proxy.each, breakage)) for second, breakage in plan.cuts]
        first = plan.cuts[0][0] if plan.cuts else 0.0
        actions.insert(0, (first, partial(proxy.next_ones.extend, plan.then)))
        if plan.after_end is not None:
            end = seconds(self._recording) + plan.after_end
            actions.append((end, partial(proxy.each, Passage.reset)))
        return actions

    def report(self, what: str) -> str:
        return f"{what}: {self.broken} connections broken, {self.damage}"


def long_utterance(events: Sequence[SpeechEvent]) -> float:
    """Where the longest utterance starts, in seconds."""
    finals = [event.alternatives[0] for event in of_kind(events, FINAL)]
    longest = max(finals, key=lambda final: final.end_time - final.start_time)
    assert longest.end_time - longest.start_time > 4
    return longest.start_time


def twice_in_one_utterance(start: float) -> list[Plan]:
    return [
        Plan(cuts=((start + first, Passage.reset), (start + second, Passage.reset)))
        for first, second in ((0.3, 2.0), (1.0, 3.5))
    ]


# The request is some 300 bytes long, the answer 130, the config 60, and `ready` 300.
IN_HANDSHAKES = [
    Plan(then=tuple((at, Passage.reset) for at in points))
    for points in ((0, 300), (1, 450), (350, 500), (700, 800))
]


def during_replay(second: float) -> list[Plan]:
    """A second of audio has 32000 bytes."""
    return [
        Plan(cuts=((second, Passage.reset),), then=tuple((size, Passage.reset) for size in sizes))
        for sizes in ((5_000, 20_000), (40_000,), (10_000, 70_000))
    ]


AFTER_END = [Plan(after_end=delay_s) for delay_s in (0.0, 0.005, 0.03, 0.1)]


async def test_no_word_is_lost_in_a_sample_of_cuts(server: HarkServer, report: Report) -> None:
    chance = random.Random(SEED)
    trial = Trial(server, a_minute()[: SAMPLE_S * RATE])
    await trial.listen()
    start = long_utterance(trial.expected)
    special = [
        chance.choice(plans)
        for plans in (
            twice_in_one_utterance(start),
            IN_HANDSHAKES,
            during_replay(start + 3.0),
            AFTER_END,
        )
    ]
    points = [chance.uniform(0.3, SAMPLE_S - 0.3) for _ in range(STREAMS_AT_A_TIME - len(special))]
    await trial.run([*special, *(Plan(((at, chance.choice(BREAKAGES)),)) for at in points)])
    report(trial.report(f"a sample of cuts in {SAMPLE_S} s"))
    trial.damage.check()


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_no_word_is_lost_wherever_a_minute_is_cut(server: HarkServer, report: Report) -> None:
    trial = Trial(server, a_minute())
    await trial.listen()
    half_s = seconds(a_minute()) / 2
    chance = random.Random(SEED)
    points = np.arange(EVERY_S, half_s + EVERY_S / 2, EVERY_S)
    await trial.run(
        [
            Plan(tuple((at + later, chance.choice(BREAKAGES)) for later in (0.0, half_s - 0.25)))
            for at in map(float, points)
        ]
    )
    report(trial.report(f"a minute cut every {EVERY_S:g} s"))
    trial.damage.check()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_word_is_lost_when_what_follows_a_cut_breaks_too(
    server: HarkServer, report: Report
) -> None:
    trial = Trial(server, a_minute())
    await trial.listen()
    start = long_utterance(trial.expected)
    plans = [*twice_in_one_utterance(start), *IN_HANDSHAKES, *during_replay(start + 3.0)]
    await trial.run([*plans, *AFTER_END])
    report(trial.report("twice in one utterance, in handshakes, in replays, after the end"))
    trial.damage.check()
