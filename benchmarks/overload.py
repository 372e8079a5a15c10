"""What a full server does to those who are in, and to those who want in.

    python benchmarks/overload.py --speech FOLDER

Starts `hark serve` and plays recordings to as many streams as it admits (or as --capacity says).
Meanwhile as many others knock, spread over the time, and once more all at once in the middle.
Prints how long refusals take, and whether those who are in lose anything. The exit code is 1 if a
refusal took longer than --refuse-within, or anything was lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from speech_sets import SpeechFolder

from hark.bench.contestant import ContestantError, Kind, StreamRefused
from hark.bench.hark_client import HarkClient
from hark.bench.hark_contestant import HarkContestant
from hark.bench.hark_server import HarkServer
from hark.bench.measures import Measures, Spread, measure
from hark.bench.play import Play
from hark.bench.recordings import Piece, read_set
from hark.bench.scripts import write_scripts

MOST_SESSIONS = 1000
CHUNK_MS = 50
SEED = 1

LEAVING_S = 1.0
"""For the server to notice that the streams which counted its places are gone."""

console = Console(stderr=True)


@dataclass
class Knocks:
    """Attempts to open a stream on a full server.

    Attributes:
        refused_s: how long each refusal took, from before the connection was opened.
        admitted: how many were let in.
        failed: what the others ended with.
    """

    refused_s: list[float] = field(default_factory=list)
    admitted: int = 0
    failed: list[str] = field(default_factory=list)

    async def knock(self, client: HarkClient, at_s: float = 0.0) -> None:
        """Try to open a stream, at a moment on the clock of `time.perf_counter`."""
        await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
        began = time.perf_counter()
        try:
            stream = await client.open(ignore)
        except StreamRefused:
            self.refused_s.append(time.perf_counter() - began)
        except ContestantError as error:
            self.failed.append(str(error))
        else:
            self.admitted += 1
            stream.abort()

    def row(self, title: str) -> str:
        spread = Spread.of(self.refused_s)
        worst = (spread.p50_s, spread.p95_s, max(self.refused_s)) if spread else ()
        times = " / ".join(f"{1000 * seconds:.0f}" for seconds in worst) or "-"
        counts = f"{len(self.refused_s)} | {self.admitted} | {len(self.failed)}"
        return f"| {title} | {counts} | {times} |"


def ignore(kind: Kind, text: str, start_s: float, end_s: float) -> None:
    """Take a result that nobody wants."""


async def count_places(client: HarkClient) -> int:
    """Open streams until one is refused, and close them again."""
    streams = []
    try:
        while len(streams) < MOST_SESSIONS:
            streams.append(await client.open(ignore))
    except StreamRefused:
        pass
    finally:
        for stream in streams:
            stream.abort()
    return len(streams)


async def run(
    recordings: list[list[Piece]], capacity: int | None, seconds: float, silence_ms: int
) -> tuple[int, Measures, Knocks, Knocks]:
    """Fill a server, and knock as often again: the streams that are in, spread, and at once."""
    arguments = [] if capacity is None else ["--max-sessions", str(capacity)]
    server = await HarkServer.start(arguments)
    client = HarkClient(server.url, silence_ms)
    contestant = HarkContestant(client, {}, server)
    try:
        count = await count_places(client)
        await asyncio.sleep(LEAVING_S)
        play = Play(contestant, write_scripts(recordings, count, seconds, SEED), CHUNK_MS, SEED)
        await play.open()
        since, until = play.steady_from_s, play.steady_until_s
        draw = random.Random(SEED)
        spread, at_once = Knocks(), Knocks()
        moments = [draw.uniform(since, until) for _ in range(count)]
        with console.status(f"{count} streams, {until - since:.0f} s"):
            await asyncio.gather(
                play.run(),
                *(spread.knock(client, at_s) for at_s in moments),
                *(at_once.knock(client, (since + until) / 2) for _ in range(count)),
            )
        return count, measure(play.streams, since, until), spread, at_once
    finally:
        await contestant.aclose()


def main(
    speech: SpeechFolder,
    set_name: Annotated[str, typer.Option("--set", help="Of recordings.")] = "turns_test_clean",
    capacity: Annotated[
        int | None,
        typer.Option(min=1, help="Streams to admit.", show_default="what the server measures"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, help="That each stream plays.")] = 60.0,
    silence_ms: Annotated[int, typer.Option(help="Endpointing silence.")] = 400,
    refuse_within: Annotated[float, typer.Option(help="Seconds.")] = 0.1,
) -> None:
    """Measure refusals and what is lost at twice the capacity."""
    recordings = read_set(speech, set_name)
    count, measures, spread, at_once = asyncio.run(run(recordings, capacity, seconds, silence_ms))
    print(
        f"{count} streams are in, {set_name}, endpointing silence {silence_ms} ms\n\n"
        "| knocks | refused | let in | failed | refused after p50 / p95 / at most, ms |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    print(spread.row("spread over the time"))
    print(at_once.row("all at once"))
    final = measures.final
    times = f"{final.p50_s:.3f} / {final.p95_s:.3f} s" if final else "-"
    wer = "-" if measures.wer is None else f"{measures.wer:.1%}"
    print(
        f"\nThose who are in: {measures.lost} of {measures.utterances} utterances lost, "
        f"{len(measures.failures)} streams failed, WER {wer}, final p50 / p95 {times}"
    )
    refused_s = spread.refused_s + at_once.refused_s
    is_prompt = bool(refused_s) and max(refused_s) <= refuse_within
    if measures.lost or measures.failures or not is_prompt:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
