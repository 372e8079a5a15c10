"""Servers and workers that are killed, stopped, hung or restarted under live streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest
from breaking.proxy import FaultProxy
from breaking.server import HarkServer
from breaking.streams import Damage, check, hear_at_pace, hear_undisturbed
from hearing.recordings import Pcm, a_minute, beckett, frames
from hearing.transcripts import hear, texts, until
from livekit.agents import Agent, CloseEvent, UserInputTranscribedEvent
from livekit.agents.stt import SpeechEvent
from livekit.agents.voice.io import AudioInput

from livekit import rtc
from livekit.plugins import hark

try:
    from livekit.agents import LiveSession
except ImportError:  # before LiveKit Agents 2
    from livekit.agents import AgentSession as LiveSession

pytestmark = pytest.mark.faults

Report = Callable[[str], None]
StartServer = Callable[..., HarkServer]

AWAY_S = 30.0
"""What a server may take to restart, or to load another model."""


# --- worker processes


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children():
        try:
            if "worker_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            pass  # it is just about to end
    return found


async def test_a_worker_that_is_killed_is_replaced_and_its_jobs_are_redone(
    start_server: StartServer, expected: list[SpeechEvent]
) -> None:
    server = start_server(workers=1)
    before = server.workers

    def kill() -> None:
        for worker in server.workers:
            worker.kill()

    async with hark.STT(api_url=server.url) as stt:
        check(expected, await hear_at_pace(stt, beckett(), at=[(1.0, kill), (6.0, kill)], speed=2))
    await until(lambda: len(server.workers) == 1)
    assert server.workers != before


@pytest.mark.slow
async def test_a_worker_that_is_killed_is_replaced_in_the_agents_process_too(
    expected: list[SpeechEvent],
) -> None:
    def kill() -> None:
        for worker in workers_of(psutil.Process()):
            worker.kill()

    async with hark.STT() as stt:
        stream = stt.stream()  # keeps the recogniser loaded
        await hear(stt.stream(), frames(beckett()[:16_000]))
        assert workers_of(psutil.Process())
        check(expected, await hear_at_pace(stt, beckett(), at=[(1.0, kill), (6.0, kill)], speed=2))
        await stream.aclose()
    await until(lambda: not workers_of(psutil.Process()))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_worker_that_hangs_is_replaced_and_its_jobs_are_redone(
    start_server: StartServer, expected: list[SpeechEvent], report: Report
) -> None:
    server = start_server(workers=1)
    (hung,) = server.workers
    async with hark.STT(api_url=server.url) as stt:
        began = asyncio.get_running_loop().time()
        check(expected, await hear_at_pace(stt, beckett(), at=[(1.0, hung.suspend)], speed=2))
        report(f"hung worker: all finals {asyncio.get_running_loop().time() - began:.0f} s later")
    assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE


# --- servers


@pytest.mark.slow
async def test_a_server_that_is_killed_and_restarted_costs_no_word(
    start_server: StartServer, expected: list[SpeechEvent]
) -> None:
    server = start_server(workers=1)

    def restart() -> None:
        server.kill()
        server.start()

    async with hark.STT(api_url=server.url) as stt:
        check(expected, await hear_at_pace(stt, beckett(), at=[(2.5, restart)]))


class Microphone(AudioInput):
    """Gives a recording in real time, and then silence."""

    def __init__(self, samples: Pcm) -> None:
        super().__init__(label="recording")
        self._frames = iter(frames(samples))
        self._silence = rtc.AudioFrame.create(16_000, 1, 320)
        self._due: float | None = None

    async def __anext__(self) -> rtc.AudioFrame:
        now = asyncio.get_running_loop().time()
        self._due = now if self._due is None else self._due + 0.02
        await asyncio.sleep(self._due - now)
        return next(self._frames, self._silence)


@pytest.fixture
def two_servers(start_server: StartServer) -> tuple[HarkServer, HarkServer]:
    settings = ("--grace-period-s=5",)
    return start_server(settings=settings), start_server(settings=settings)


@dataclass
class Listening:
    """What an agent session has heard, and why it closed if it did."""

    heard: list[str] = field(default_factory=list)
    closed: list[CloseEvent] = field(default_factory=list)

    def note(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self.heard.append(event.transcript)


@asynccontextmanager
async def an_agent_that_listens(url: str) -> AsyncIterator[Listening]:
    """An agent session that hears the recording in real time; it must still be open at the end."""
    listening = Listening()
    async with hark.STT(api_url=url) as stt:
        session: LiveSession[None] = LiveSession(
            stt=stt, vad=None, turn_handling={"turn_detection": "stt"}
        )
        session.on("user_input_transcribed", listening.note)
        session.on("close", listening.closed.append)
        session.input.audio = Microphone(beckett())
        await session.start(Agent(instructions="Listen."))
        yield listening
        assert listening.closed == []
        await asyncio.wait_for(session.aclose(), 10)
        assert [event.error for event in listening.closed] == [None]


@pytest.mark.slow
async def test_a_rolling_restart_under_an_agent_session_closes_nothing_and_loses_no_turn(
    two_servers: tuple[HarkServer, HarkServer], expected: list[SpeechEvent], report: Report
) -> None:
    async with (
        FaultProxy(*(server.port for server in two_servers)) as proxy,
        an_agent_that_listens(proxy.url) as listening,
    ):
        heard = listening.heard
        for number, server in enumerate(two_servers):
            await until(lambda n=number: len(heard) > n)
            server.terminate()
            await until(lambda s=server: s.has_ended)
            server.start()
            await asyncio.to_thread(server.wait_until_ready)
        await until(lambda: len(heard) >= len(texts(expected)))
    report(f"rolling restart: {len(proxy.connected_at)} connects, {len(heard)} turns, no close")
    assert heard == texts(expected)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_server_that_is_away_for_half_a_minute_ends_no_agent_session(
    start_server: StartServer, expected: list[SpeechEvent], report: Report
) -> None:
    server = start_server(workers=1)
    async with an_agent_that_listens(server.url) as listening:
        heard = listening.heard
        await until(lambda: bool(heard))
        server.kill()
        await asyncio.sleep(AWAY_S)
        missing = len(texts(expected)) - len(heard)
        assert missing > 0
        server.start()
        await until(lambda: len(heard) >= len(texts(expected)))
    report(f"server away for {AWAY_S:g} s: {missing} turns came after it, no close")
    assert heard == texts(expected)


# --- two servers, killed in turn


class Rolling:
    """Kills two servers in turn, and starts them again."""

    def __init__(self, servers: tuple[HarkServer, HarkServer], every_s: float) -> None:
        self.kills = 0
        self._servers = servers
        self._every_s = every_s

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            server = self._servers[self.kills % 2]
            server.kill()
            self.kills += 1
            server.start()


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_two_servers_killed_in_turn_under_a_session_of_five_minutes_lose_nothing(
    server: HarkServer, start_server: StartServer, report: Report
) -> None:
    recording = np.tile(a_minute(), 5)
    expected = await hear_undisturbed(server.url, recording)
    servers = (start_server(), start_server())
    rolling = Rolling(servers, every_s=10.0)
    async with FaultProxy(*(each.port for each in servers)) as proxy:
        task = asyncio.create_task(rolling.run())
        try:
            async with hark.STT(api_url=proxy.url) as stt:
                events = await hear_at_pace(stt, recording)
        finally:
            task.cancel()
    damage = Damage()
    damage.note(expected, events, "five minutes")
    report(f"five minutes, {rolling.kills} kills, {len(proxy.connected_at)} connects: {damage}")
    damage.check()
    assert rolling.kills >= 29
