"""What processes use of the machine while something is measured."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import psutil

SAMPLE_EVERY_S = 1.0
LAG_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Usage:
    """Means over a time, but for memory.

    Attributes:
        server_cores: used by the recognising processes, in cores; None where they are elsewhere.
        client_cores: used by this process, which plays the streams; None if it recognises, too.
        other_cores: used by everything else on the machine: the noise.
        start_mb, peak_mb: memory of the recognising processes, the sum of their resident sets, at
            the beginning and at most; None where they are elsewhere.
        end_mb: the same at the end.
        server_lag_p99_s: how late the recogniser's event loop was; None if nobody knows.
        client_lag_p99_s: how late that of the player was; None if it is the same one.
    """

    server_cores: float | None
    client_cores: float | None
    other_cores: float
    start_mb: float | None
    peak_mb: float | None
    end_mb: float | None
    server_lag_p99_s: float | None
    client_lag_p99_s: float | None


class Tree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        """Args: pid: of the process."""
        self._root = psutil.Process(pid)

    def cpu_s(self) -> float:
        """Processor time of all that live, in seconds, and of children that ended."""
        total = 0.0
        for process in self._processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def rss_mb(self) -> float:
        """Sum of their resident sets, in MB; what they share counts for each."""
        total = 0
        for process in self._processes():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total / 1e6

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


async def watch(
    server_pid: int | None,
    server_lag_s: Callable[[], Awaitable[float | None]],
    from_s: float,
    until_s: float,
) -> Usage:
    """Watch this process and another from one moment to another. Safe to cancel.

    Args:
        server_pid: of the other, which counts with its descendants; None for none.
        server_lag_s: asks how late it is; None if nobody knows.
        from_s: when to begin, on the clock of `time.perf_counter`.
        until_s: when to end.
    """
    await asyncio.sleep(from_s - time.perf_counter())
    own = psutil.Process(os.getpid())
    server = None if server_pid is None else Tree(server_pid)
    lags: list[float] = []
    server_lags: list[float | None] = []
    lag_watch = asyncio.create_task(_watch_lag(lags))
    began = time.perf_counter()
    own_began, machine_began = sum(own.cpu_times()[:2]), _machine_cpu_s()
    server_began = server.cpu_s() if server else 0.0
    memory = [server.rss_mb()] if server else []
    try:
        while (left := until_s - time.perf_counter()) > 0:
            await asyncio.sleep(min(SAMPLE_EVERY_S, left))
            if server:
                memory.append(server.rss_mb())
            server_lags.append(await server_lag_s())
    finally:
        lag_watch.cancel()
        await asyncio.gather(lag_watch, return_exceptions=True)
    took = time.perf_counter() - began
    is_separate = server_pid != own.pid
    client_cores = (sum(own.cpu_times()[:2]) - own_began) / took if is_separate else None
    server_cores = (server.cpu_s() - server_began) / took if server else None
    machine_cores = (_machine_cpu_s() - machine_began) / took
    return Usage(
        server_cores=server_cores,
        client_cores=client_cores,
        other_cores=max(0.0, machine_cores - (client_cores or 0.0) - (server_cores or 0.0)),
        start_mb=memory[0] if memory else None,
        peak_mb=max(memory) if memory else None,
        end_mb=memory[-1] if memory else None,
        server_lag_p99_s=_p99(
            (lag for lag in server_lags if lag is not None) if is_separate else lags
        ),
        client_lag_p99_s=_p99(lags) if is_separate else None,
    )


def _p99(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else None


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    idle: float = times.idle + getattr(times, "iowait", 0.0)
    # On Linux guests are counted among user and nice already.
    guests: float = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times)) - idle - guests


async def _watch_lag(lags: list[float]) -> None:
    while True:
        due = time.perf_counter() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        lags.append(time.perf_counter() - due)
