"""Closing at any moment: at once, and nothing is left."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from breaking.proxy import FaultProxy, Passage
from breaking.server import HarkServer
from hearing.recordings import beckett, frames
from hearing.transcripts import until

from livekit.plugins import hark

pytestmark = pytest.mark.faults

Report = Callable[[str], None]

SEED = 3
LONGEST_S = 1.5
"""The plugin waits half a second for the server's half of the closing handshake."""


def sockets() -> set[tuple[int, int]]:
    """The ports of all connections of this process."""
    connections = psutil.Process().net_connections("tcp")
    return {(c.laddr.port, c.raddr.port) for c in connections if c.raddr}


async def close_at(server: HarkServer, chance: random.Random) -> float:
    """Stream through a network in some state, close at some moment, and say how long it took."""
    async with FaultProxy(server.port) as proxy:
        state = chance.choice(("well", "stuck", "refusing", "breaking", "half-open"))
        if state == "stuck":
            proxy.next_ones.append((0, Passage.half_open))
        elif state == "refusing":
            proxy.refuses = True
        elif state == "breaking":
            proxy.next_ones.extend([(chance.randrange(5_000), Passage.reset)] * 20)
        elif state == "half-open":
            proxy.next_ones.append((chance.randrange(60_000), Passage.half_open))
        stt = hark.STT(api_url=proxy.url)
        stream = stt.stream()
        await asyncio.sleep(chance.choice((0.0, 0.001, 0.02)))
        for frame in frames(beckett())[: chance.randrange(200)]:
            stream.push_frame(frame)
            await asyncio.sleep(chance.choice((0.0, 0.005)))
        if chance.random() < 0.3:
            stream.end_input()
            await asyncio.sleep(chance.choice((0.0, 0.01, 0.1)))
        began = asyncio.get_running_loop().time()
        await stream.aclose()
        await stt.aclose()
        return asyncio.get_running_loop().time() - began


async def test_closing_at_any_moment_returns_at_once_and_leaves_nothing(
    server: HarkServer, report: Report
) -> None:
    chance = random.Random(SEED)
    tasks, connections = asyncio.all_tasks(), sockets()
    await close_at(server, random.Random(0))  # what is only made once is made now
    threads = threading.active_count()
    moments = [random.Random(chance.random()) for _ in range(40)]
    took = await asyncio.gather(*(close_at(server, moment) for moment in moments))
    report(f"closed at {len(took)} moments, within {max(took):.2f} s")
    assert max(took) < LONGEST_S
    await until(lambda: asyncio.all_tasks() <= tasks)
    await until(lambda: sockets() <= connections)
    assert threading.active_count() <= threads


async def test_closing_keeps_no_socket_for_audio_that_nobody_takes(server: HarkServer) -> None:
    async with FaultProxy(server.port) as proxy:
        async with hark.STT(api_url=proxy.url, replay_s=600) as stt, stt.stream() as stream:
            await until(lambda: bool(proxy.connected_at))
            proxy.each(Passage.half_open)
            for frame in frames(np.tile(beckett(), 20)):
                stream.push_frame(frame)
            await asyncio.sleep(1.0)  # until all buffers on the way are full
        await until(lambda: all(remote != proxy.port for _, remote in sockets()))


async def test_the_recogniser_in_this_process_leaves_nothing_either() -> None:
    chance = random.Random(SEED)
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    processes = {child.pid for child in psutil.Process().children()}
    for _ in range(4):
        async with hark.STT() as stt:
            stream = stt.stream()
            for frame in frames(beckett())[: chance.randrange(100)]:
                stream.push_frame(frame)
            await asyncio.sleep(chance.uniform(0.0, 1.5))  # loading, recognising, done
            began = asyncio.get_running_loop().time()
            await stream.aclose()
            assert asyncio.get_running_loop().time() - began < LONGEST_S
    await until(lambda: asyncio.all_tasks() <= tasks)
    await until(lambda: {child.pid for child in psutil.Process().children()} <= processes)
    # One thread listens for all sessions of the process, and stays.
    await until(lambda: threading.active_count() <= threads + 1)
