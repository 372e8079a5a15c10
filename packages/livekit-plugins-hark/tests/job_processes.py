"""Processes as LiveKit starts them for jobs. Each prints what it recognised, and waits for the end.

python job_processes.py spawn|forkserver COUNT WAV
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sys
import wave
from typing import Any

from livekit import rtc
from livekit.plugins import hark

DEADLINE_S = 40.0


def read(path: str) -> rtc.AudioFrame:
    with wave.open(path) as file:
        count = file.getnframes()
        return rtc.AudioFrame(
            file.readframes(count), file.getframerate(), file.getnchannels(), count
        )


async def recognize(path: str) -> dict[str, str]:
    stt = hark.STT()
    stt.prewarm()
    stream = stt.stream()
    stream.push_frame(read(path))
    stream.end_input()
    final = [e.alternatives[0].text async for e in stream if e.type.value == "final_transcript"]
    await stream.aclose()
    event = await stt.recognize(read(path))
    kept.append(stt)
    return {
        "backend": type(stt._backend).__name__,
        "streamed": " ".join(final),
        "whole": event.alternatives[0].text,
    }


kept: list[hark.STT] = []
"""Agents do not close their STT."""


def job(path: str, told: Any, end: Any) -> None:
    told.put(asyncio.run(recognize(path)))
    end.wait()


def main() -> None:
    method, count, path = sys.argv[1:]
    context = multiprocessing.get_context(method)
    told, end = context.Queue(), context.Event()
    jobs = [
        context.Process(target=job, args=(path, told, end), daemon=True) for _ in range(int(count))
    ]
    for process in jobs:
        process.start()
    for _ in jobs:
        print(json.dumps(told.get(timeout=DEADLINE_S)), flush=True)
    sys.stdin.read()
    end.set()
    for process in jobs:
        process.join()


if __name__ == "__main__":
    main()
