"""What several agents on one machine cost: each with a recogniser of its own, or all with one.

    python benchmarks/jobs.py --jobs 1,4,8

starts job processes as LiveKit's worker does, each of which listens to a recording in real time,
and prints a Markdown table. Memory is proportional set size, so what processes share counts once.
"""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import soundfile
import typer
from livekit.agents.stt import SpeechEventType
from numpy.typing import NDArray
from rich.console import Console

from livekit import rtc
from livekit.plugins import hark

FRAME_S = 0.02

SETTLE_S = 5.0
"""Streaming before the measuring starts: caches grow, and sessions find their pace."""

console = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    jobs: int
    share: bool
    models: int
    idle_mb: float
    busy_mb: float
    recogniser_mb: float
    cores: float
    latencies_s: Sequence[float]


def main(
    jobs: Annotated[
        str, typer.Option("--jobs", help="Numbers of job processes, separated by commas.")
    ] = "1,4,8",
    seconds: Annotated[float, typer.Option("--seconds", help="How long each is measured.")] = 40.0,
) -> None:
    """Measure memory, CPU and latency of so many agents, both ways."""
    rows = []
    for count in map(int, jobs.split(",")):
        for share in (False, True):
            with console.status(
                f"{count} jobs, {'one recogniser' if share else 'own recognisers'}"
            ):
                rows.append(measure(count, share, seconds))
    print(
        "| jobs | recogniser | models loaded | PSS idle | PSS busy | of it recognisers | CPU |"
        " final latency p50 / p95 |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(table_line(row))


def table_line(row: Row) -> str:
    middle = statistics.median(row.latencies_s)
    late = float(np.quantile(row.latencies_s, 0.95))
    cells = (
        str(row.jobs),
        "shared" if row.share else "own",
        str(row.models),
        f"{row.idle_mb:.0f} MB",
        f"{row.busy_mb:.0f} MB",
        f"{row.recogniser_mb:.0f} MB",
        f"{row.cores:.2f} cores",
        f"{middle:.2f} / {late:.2f} s",
    )
    return f"| {' | '.join(cells)} |"


# --- the parent: starts jobs and looks at them


def measure(count: int, share: bool, seconds: float) -> Row:
    with runtime_folder() as folder, job_processes(count, share, seconds) as (pipes, pids):
        for pipe in pipes:
            pipe.recv()  # its model is loaded
        idle = look_at(pids, folder)
        for pipe in pipes:
            pipe.send("go")
        time.sleep(SETTLE_S)
        before, began = look_at(pids, folder), time.monotonic()
        time.sleep(seconds)
        after, took_s = look_at(pids, folder), time.monotonic() - began
        latencies = [latency for pipe in pipes for latency in pipe.recv()]
    cpu_s = sum(after[pid].cpu_s - before[pid].cpu_s for pid in before.keys() & after.keys())
    return Row(
        jobs=count,
        share=share,
        models=sum(look.has_model for look in after.values()),
        idle_mb=sum(look.pss_mb for look in idle.values()),
        busy_mb=sum(look.pss_mb for look in after.values()),
        recogniser_mb=sum(look.pss_mb for look in after.values() if look.is_recogniser),
        cores=cpu_s / took_s,
        latencies_s=latencies,
    )


@contextmanager
def runtime_folder() -> Iterator[Path]:
    """A place of its own for the shared server, so that it is not one that already runs."""
    folder = Path(tempfile.mkdtemp(prefix="hark-"))
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    yield folder
    left = [process for process in psutil.process_iter() if is_server(process, folder)]
    for process in left:
        process.terminate()
    psutil.wait_procs(left, 30)
    shutil.rmtree(folder)


@contextmanager
def job_processes(
    count: int, share: bool, seconds: float
) -> Iterator[tuple[list[Connection], list[int]]]:
    context = multiprocessing.get_context("spawn")
    pipes, jobs = [], []
    for number in range(count):
        mine, its = context.Pipe()
        start_s = number / count
        jobs.append(context.Process(target=job, args=(its, share, seconds, start_s)))
        jobs[-1].start()
        pipes.append(mine)
    try:
        yield pipes, [job.pid for job in jobs if job.pid is not None]
    finally:
        for pipe in pipes:
            pipe.close()
        for process in jobs:
            process.join()


@dataclass(frozen=True)
class Look:
    """One process at one moment."""

    is_recogniser: bool
    has_model: bool
    pss_mb: float
    cpu_s: float


def look_at(pids: Sequence[int], folder: Path) -> dict[int, Look]:
    """The jobs, what they have started, and the server that they share."""
    roots = [psutil.Process(pid) for pid in pids]
    roots += [process for process in psutil.process_iter() if is_server(process, folder)]
    processes = {p.pid: p for root in roots for p in (root, *root.children(recursive=True))}
    return {pid: look(process) for pid, process in processes.items()}


def look(process: psutil.Process) -> Look:
    command, times = " ".join(process.cmdline()), process.cpu_times()
    has_model = "hark.engines.worker_main" in command
    return Look(
        is_recogniser=has_model or "hark.shared.server" in command,
        has_model=has_model,
        pss_mb=process.memory_full_info().pss / 1e6,
        cpu_s=times.user + times.system,
    )


def is_server(process: psutil.Process, folder: Path) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "hark.shared.server" in command and str(folder) in command


# --- a job


def job(pipe: Connection, share: bool, seconds: float, start: float) -> None:
    asyncio.run(listen(pipe, share, seconds, start))


async def listen(pipe: Connection, share: bool, seconds: float, start: float) -> None:
    """Load, say so, wait, listen, and tell how late the finals were; stay until the end."""
    samples, rate = recording()
    samples = np.roll(samples, -int(start * len(samples)))  # not all are to pause at once
    async with hark.STT(api_url=None, share=share) as stt:
        await stt.recognize(frame(samples[:rate], rate))
        pipe.send("loaded")
        await asyncio.to_thread(pipe.recv)
        latencies = await stream(stt, samples, rate, SETTLE_S + seconds + 2 * SETTLE_S)
        pipe.send(latencies)
        try:
            await asyncio.to_thread(pipe.recv)
        except EOFError:
            pass


async def stream(
    stt: hark.STT, samples: NDArray[np.int16], rate: int, seconds: float
) -> list[float]:
    """Seconds from the end of each utterance, as its final tells it, to that final."""
    latencies: list[float] = []
    size = int(rate * FRAME_S)
    speech = stt.stream()
    began = time.monotonic()

    async def note() -> None:
        async for event in speech:
            if event.type is SpeechEventType.FINAL_TRANSCRIPT:
                latencies.append(time.monotonic() - began - event.alternatives[0].end_time)

    noting = asyncio.create_task(note())
    for number in range(int(seconds / FRAME_S)):
        await asyncio.sleep(began + number * FRAME_S - time.monotonic())
        at = number * size % (len(samples) - size)
        speech.push_frame(frame(samples[at : at + size], rate))
    await speech.aclose()
    await noting
    return latencies


def recording() -> tuple[NDArray[np.int16], int]:
    """The beginning of "A Tale of Two Cities", which comes with the default model."""
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    return soundfile.read(Path(spec.origin).parent / "assets" / "two_cities.wav", dtype="int16")


def frame(samples: NDArray[np.int16], rate: int) -> rtc.AudioFrame:
    return rtc.AudioFrame(samples.tobytes(), rate, 1, len(samples))


if __name__ == "__main__":
    typer.run(main)
