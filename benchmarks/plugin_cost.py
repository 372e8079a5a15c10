"""What a plugin costs the agent's process, and how much later it makes results.

    make bench-plugin

Hark's plugin in remote mode and LiveKit's for Deepgram, each on several streams of made-up speech
in real time, beside a server that does next to nothing (`fakes/`): both servers hear the same words
in the same audio at the same sample, so what differs is the plugin and its protocol. The plugin has
a process of its own, the server has another. Prints a Markdown table:

- CPU: of the plugin's process, in milliseconds for each second of a stream. The first row is
  LiveKit alone: frames go into a stream that throws them away.
- added latency: from the moment the frame is pushed with which the server can know that an
  utterance is over, to its final out of the plugin.

Frames are those of an AgentSession: 50 ms at 24 kHz.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import aiohttp
import fakes.deepgram
import fakes.hark
import numpy as np
import typer
from fakes.ear import RATE, Ear, Pcm, Word
from fakes.provider import Behaviour, Provider
from livekit.agents import stt
from livekit.agents.types import APIConnectOptions, NotGivenOr
from livekit.agents.utils import AudioBuffer

from livekit import rtc

INPUT_RATE = 24_000
FRAME_MS = 50

LEAD_S = 0.52  # so that no utterance is decided on the border of two frames
SPEECH_S = 1.5
PAUSE_S = 1.0
CYCLE_S = SPEECH_S + PAUSE_S

SILENCE_S = 0.2
"""After which the servers finalise: see `fakes.ear`."""

WORD_S = 0.25
WARM_UP_S = 5.0
LOUD = 500
PATIENCE_S = 10.0


# --- the server


class LoudEar(Ear):
    """Hears words of a quarter of a second in whatever is loud: it stands resampling."""

    def is_speech(self, window: Pcm) -> bool:
        return bool(np.abs(window).max() > LOUD)

    def words(self, start: int, end: int) -> Iterator[Word]:
        start_s, end_s = start / RATE, end / RATE
        count = max(1, round((end_s - start_s) / WORD_S))
        length_s = (end_s - start_s) / count
        for i in range(count):
            yield Word(f"word{i}", start_s + i * length_s, start_s + (i + 1) * length_s)


PROVIDERS: dict[str, type[Provider]] = {
    "deepgram": fakes.deepgram.Deepgram,
    "hark": fakes.hark.Hark,
}


async def serve(name: str) -> None:
    async with PROVIDERS[name](Behaviour(), ear=LoudEar) as provider:
        print(provider.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until nobody is there any more


# --- the plugin


class Nothing(stt.STT[Any]):
    """LiveKit's own part of every plugin, and no more."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str],
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(self, **_: Any) -> stt.RecognizeStream:
        return _Drain(stt=self, conn_options=APIConnectOptions())


class _Drain(stt.RecognizeStream):
    async def _run(self) -> None:
        async for _ in self._input_ch:
            pass


def script(seconds: float) -> Pcm:
    """Speech (a tone) and pauses in turn."""
    t = np.arange(round(seconds * INPUT_RATE)) / INPUT_RATE
    is_speech = (t >= LEAD_S) & ((t - LEAD_S) % CYCLE_S < SPEECH_S)
    return (np.where(is_speech, 8000, 0) * np.sin(2 * np.pi * 200 * t)).astype(np.int16)


async def listen(stream: stt.RecognizeStream, finals_at: list[float]) -> None:
    async for event in stream:
        if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT and event.alternatives[0].text:
            finals_at.append(time.perf_counter())


async def run_plugin(name: str, port: int, streams: int, seconds: float) -> dict[str, Any]:
    """Run streams; give CPU and latencies."""
    samples = script(WARM_UP_S + seconds)
    size = INPUT_RATE * FRAME_MS // 1000
    pieces = [samples[i : i + size].tobytes() for i in range(0, len(samples), size)]
    async with aiohttp.ClientSession() as session:
        made = (
            PROVIDERS[name](Behaviour()).make_stt(f"127.0.0.1:{port}", "key", session)
            if port
            else Nothing()
        )
        opened = [made.stream() for _ in range(streams)]
        finals: list[list[float]] = [[] for _ in opened]
        listening = [
            asyncio.create_task(listen(stream, told))
            for stream, told in zip(opened, finals, strict=True)
        ]
        pushed: list[list[float]] = [[] for _ in opened]
        begun = time.perf_counter()
        cpu_began = time.process_time()
        frames = len(pieces)
        for number, piece in enumerate(pieces):
            if number == round(WARM_UP_S * 1000 / FRAME_MS):
                cpu_began = time.process_time()
            for i, stream in enumerate(opened):
                # Each in its own part of the frame's time, as from rooms of their own.
                due = begun + (number + i / streams) * FRAME_MS / 1000
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                stream.push_frame(rtc.AudioFrame(piece, INPUT_RATE, 1, len(piece) // 2))
                pushed[i].append(time.perf_counter())
        cpu_s = time.process_time() - cpu_began
        for stream in opened:
            stream.end_input()
        await asyncio.wait(listening, timeout=PATIENCE_S)
        for stream, task in zip(opened, listening, strict=True):
            task.cancel()
            await stream.aclose()
        await made.aclose()
    latencies = []
    missing = 0
    for told, frame_at in zip(finals, pushed, strict=True):
        ends = np.arange(LEAD_S + SPEECH_S, frames * FRAME_MS / 1000 - 1, CYCLE_S)
        missing += max(0, len(ends) - len(told))
        for final_at, end_s in zip(told, ends, strict=False):
            deciding = int((end_s + SILENCE_S) * 1000 / FRAME_MS - 1e-6)
            if end_s > WARM_UP_S:
                latencies.append(final_at - frame_at[deciding])
    return {
        "cpu_ms": 1000 * cpu_s / (streams * seconds),
        "latency_ms": [1000 * float(p) for p in np.percentile(latencies, [50, 95])]
        if latencies
        else None,
        "finals": len(latencies),
        "missing": missing if port else 0,
    }


# --- the table


def measure(name: str, streams: int, seconds: float) -> dict[str, Any]:
    """Run server and plugin in processes of their own."""
    own = [sys.executable, __file__]
    server = None
    port = "0"
    if name in PROVIDERS:
        server = subprocess.Popen(
            [*own, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        port = server.stdout.readline().strip()
    try:
        arguments = [name, port, str(streams), str(seconds)]
        done = subprocess.run(
            [*own, "--run", *arguments],
            stdout=subprocess.PIPE,
            check=True,
            timeout=WARM_UP_S + seconds + 60,
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    finally:
        if server is not None:
            server.communicate(timeout=PATIENCE_S)


def main(
    streams: Annotated[int, typer.Option(min=1, help="At once.")] = 8,
    seconds: Annotated[float, typer.Option(min=5, help="To measure over.")] = 30.0,
    rounds: Annotated[int, typer.Option(min=1, help="Each plugin by turns.")] = 3,
    json_too: Annotated[bool, typer.Option("--json", help="Print every round, too.")] = False,
) -> None:
    """Measure what the plugins cost."""
    rows = {
        "LiveKit alone": ("nothing", "livekit-agents"),
        "Deepgram": ("deepgram", "livekit-plugins-deepgram"),
        "Hark": ("hark", "livekit-plugins-hark"),
    }
    results: dict[str, list[dict[str, Any]]] = {title: [] for title in rows}
    for _ in range(rounds):
        for title, (name, _) in rows.items():
            results[title].append(measure(name, streams, seconds))
            print(f"{title}: {results[title][-1]}", file=sys.stderr)
    if json_too:
        print(json.dumps(results, indent=2))
    print(
        f"{streams} streams, {seconds:g} s, {rounds} rounds by turns; median of the rounds\n\n"
        "| | version | CPU, ms per second of a stream | added latency p50 / p95, ms | finals |\n"
        "| --- | --- | ---: | ---: | ---: |"
    )
    for title, (_, distribution) in rows.items():
        runs = results[title]
        cpu_ms = np.median([run["cpu_ms"] for run in runs])
        found = [run["latency_ms"] for run in runs if run["latency_ms"]]
        latency = " / ".join(f"{p:.1f}" for p in np.median(found, axis=0)) if found else "-"
        finals = sum(run["finals"] for run in runs)
        version = importlib.metadata.version(distribution)
        print(f"| {title} | {version} | {cpu_ms:.2f} | {latency} | {finals} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2]))
    elif sys.argv[1:2] == ["--run"]:
        _name, _port, _streams, _seconds = sys.argv[2:6]
        print(
            json.dumps(asyncio.run(run_plugin(_name, int(_port), int(_streams), float(_seconds))))
        )
    else:
        typer.run(main)
