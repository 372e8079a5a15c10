"""Whether memory stays where it is: an hour of several streams.

    python benchmarks/soak.py --speech FOLDER

Starts `hark serve` and plays recordings to a few streams, round and round, faster than real time if
--speed says so. Prints the server's memory (the sum of the resident sets of its processes) by the
time in the streams: what it is after the first minutes, at the end, at most, and its trend.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from speech_sets import SpeechFolder

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Kind
from hark.bench.hark_client import HarkClient
from hark.bench.hark_server import HarkServer
from hark.bench.recordings import Piece, read_set
from hark.bench.usage import Tree

CHUNK = SAMPLE_RATE // 10
WARM_UP_S = 180.0
"""Seconds of each stream after which memory should be what it will be."""

LEAST_TREND_S = 600.0
"""Less says nothing about an hour."""

SAMPLES = 60
FINISH_TIMEOUT_S = 120.0

console = Console(stderr=True)


@dataclass(frozen=True)
class Sample:
    audio_s: float  # in each stream so far
    memory_mb: float


class Finals:
    """Counts finals."""

    def __init__(self) -> None:
        self.count = 0

    def hear(self, kind: Kind, text: str, start_s: float, end_s: float) -> None:
        self.count += kind == "final"


def chunks(recordings: Sequence[Sequence[Piece]], number: int) -> Iterator[bytes]:
    """The recordings round and round, from one of them on, as PCM."""
    start = number % len(recordings)
    for recording in itertools.cycle([*recordings[start:], *recordings[:start]]):
        for piece in recording:
            for first in range(0, len(piece.samples), CHUNK):
                yield piece.samples[first : first + CHUNK].tobytes()


async def play(
    client: HarkClient, pieces: Iterator[bytes], begun: float, audio_s: float, speed: float
) -> int:
    """Play one stream; give its finals."""
    finals = Finals()
    stream = await client.open(finals.hear)
    played_s = 0.0
    while played_s < audio_s:
        pcm = next(pieces)
        played_s += len(pcm) / 2 / SAMPLE_RATE
        await asyncio.sleep(max(0.0, begun + played_s / speed - time.perf_counter()))
        stream.push(pcm)
    try:
        await asyncio.wait_for(stream.finish(), FINISH_TIMEOUT_S)
    except asyncio.TimeoutError:  # the memory that was measured is not lost with it
        console.print(
            "a stream is still behind: its finals are not all counted; try a lower --speed"
        )
    return finals.count


async def run(
    recordings: Sequence[Sequence[Piece]], streams: int, audio_s: float, speed: float
) -> tuple[list[Sample], int]:
    """Run the streams; give memory meanwhile, and the finals of all."""
    server = await HarkServer.start(["--max-sessions", str(streams)])
    try:
        tree = Tree(server.pid)
        client = HarkClient(server.url, silence_ms=400)
        begun = time.perf_counter()
        playing = asyncio.gather(
            *(play(client, chunks(recordings, i), begun, audio_s, speed) for i in range(streams))
        )
        samples = []
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(f"{streams} streams", total=audio_s)
            for number in range(1, SAMPLES + 1):
                due = begun + number * audio_s / SAMPLES / speed
                await asyncio.wait({playing}, timeout=due - time.perf_counter())
                if playing.done():
                    break
                samples.append(Sample(number * audio_s / SAMPLES, tree.rss_mb()))
                progress.update(task, completed=samples[-1].audio_s)
        return samples, sum(await playing)
    finally:
        await server.aclose()


def main(
    speech: SpeechFolder,
    set_name: Annotated[str, typer.Option("--set", help="Of recordings.")] = "turns_test_clean",
    streams: Annotated[int, typer.Option(min=1, help="At once.")] = 8,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of audio in each stream.")] = 60.0,
    speed: Annotated[float, typer.Option(min=0.1, help="1 is real time.")] = 1.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
) -> None:
    """Measure memory over a long time."""
    recordings = read_set(speech, set_name)
    samples, finals = asyncio.run(run(recordings, streams, 60 * minutes, speed))
    warm = [one for one in samples if one.audio_s >= min(WARM_UP_S, 6 * minutes)]
    hours = [one.audio_s / 3600 for one in warm]
    memory = [one.memory_mb for one in warm]
    is_long = warm[-1].audio_s - warm[0].audio_s >= LEAST_TREND_S
    trend = f"{np.polyfit(hours, memory, 1)[0]:+.1f}" if is_long else "-"
    print(
        f"{streams} streams of {minutes:g} min each at {speed:g} times real time, {set_name}; "
        f"{finals} finals\n\n"
        "| | MB |\n| --- | ---: |\n"
        f"| after {warm[0].audio_s / 60:.1f} min | {memory[0]:.0f} |\n"
        f"| at the end | {memory[-1]:.0f} |\n"
        f"| at most | {max(memory):.0f} |\n"
        f"| trend, an hour | {trend} |"
    )
    if json_file is not None:
        figures = {"streams": streams, "speed": speed, "samples": list(map(asdict, samples))}
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
