"""How many live streams batch decoding of the same audio would carry: the limit for streaming.

    python benchmarks/batch_limit.py --speech FOLDER

Sends the recordings of a set to `hark serve` as files, one for each core at a time, and prints how
many seconds of them it transcribes in a second. Nothing is decoded twice there, and nobody waits
for a single word, so that many streams in real time would take all of the machine.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Sequence
from typing import Annotated

import aiohttp
import numpy as np
import soundfile
import typer
from speech_sets import SpeechFolder

from hark.audio import SAMPLE_RATE, PcmArray
from hark.bench.hark_server import HarkServer
from hark.bench.recordings import read_set
from hark.cores import usable_cores

ROUNDS = 3
"""The quickest counts: whatever else runs on the machine only ever makes a round slower."""


def as_wav(samples: PcmArray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


async def transcribe_all(url: str, files: Sequence[bytes]) -> float:
    """Seconds that it takes to transcribe them all."""
    waiting = list(files)

    async def work(session: aiohttp.ClientSession) -> None:
        while waiting:
            async with session.post(url, data=waiting.pop()) as response:
                response.raise_for_status()
                await response.read()

    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(usable_cores())))
    return time.perf_counter() - began


async def measure(files: Sequence[bytes]) -> float:
    """Seconds that the quickest round takes."""
    server = await HarkServer.start()
    try:
        url = server.url.replace("ws://", "http://").replace("/ws/transcribe", "/v1/transcribe")
        return min([await transcribe_all(url, files) for _ in range(ROUNDS)])
    finally:
        await server.aclose()


def main(
    speech: SpeechFolder,
    set_name: Annotated[str, typer.Option("--set", help="Of recordings.")] = "turns_test_clean",
) -> None:
    """Measure the limit."""
    recordings = [
        np.concatenate([piece.samples for piece in recording])
        for recording in read_set(speech, set_name)
    ]
    # A file for each core and more, so that none is idle while the last one is read.
    files = [as_wav(samples) for samples in sorted(recordings, key=len)] * usable_cores()
    audio_s = sum(map(len, recordings)) * usable_cores() / SAMPLE_RATE
    took_s = asyncio.run(measure(files))
    print(
        f"{set_name}: {audio_s:.0f} s of audio in {took_s:.1f} s on {usable_cores()} cores, RTF "
        f"{took_s * usable_cores() / audio_s:.4f} a core: as much as {audio_s / took_s:.0f} streams"
    )


if __name__ == "__main__":
    typer.run(main)
