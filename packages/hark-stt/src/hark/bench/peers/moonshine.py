"""moonshine-voice's own `Transcriber`, one for each core.

A `Transcriber` decodes for one stream at a time and in the thread that brings the audio, so each
has a thread here and the streams are dealt out. Its copies of the audio in every result are turned
off, as they cost more than decoding; all else is as it comes.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

from moonshine_voice import ModelArch
from moonshine_voice.transcriber import (
    LineCompleted,
    LineTextChanged,
    Stream,
    Transcriber,
    TranscriptEvent,
)

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Contestant, Hear
from hark.bench.job import Options
from hark.bench.peers.decode_threads import to_float
from hark.cores import usable_cores
from hark.engines import catalogue

MODEL = "moonshine-tiny-en"
UPDATE_INTERVAL_S = 0.5  # its default
OPTIONS = {"return_audio_data": "false"}


async def start(options: Options) -> MoonshineVoice:
    """Load the models. See `hark.bench.contestants.start`."""
    return await asyncio.to_thread(MoonshineVoice)


class MoonshineVoice(Contestant):
    """moonshine-voice. See `Contestant`."""

    def __init__(self) -> None:
        """Load the models. Blocks."""
        super().__init__(
            {
                "moonshine-voice": importlib.metadata.version("moonshine-voice"),
                "model": f"{MODEL}, one Transcriber for each core",
                "VAD": "its own, with its own silence (a mean over 0.5 s)",
                "interims": f"every {UPDATE_INTERVAL_S:g} s of audio",
                "options": ", ".join(f"{name}={value}" for name, value in OPTIONS.items()),
            }
        )
        folder = catalogue.locate(MODEL)
        self._lanes = [
            (
                Transcriber(folder, ModelArch.TINY, UPDATE_INTERVAL_S, OPTIONS),
                ThreadPoolExecutor(1),
            )
            for _ in range(usable_cores())
        ]
        self._next_lane = cycle(self._lanes)

    async def open(self, hear: Hear) -> MoonshineStream:
        """Open a stream. See `Contestant.open`."""
        transcriber, thread = next(self._next_lane)
        stream = await asyncio.wrap_future(
            thread.submit(transcriber.create_stream, UPDATE_INTERVAL_S)
        )
        return MoonshineStream(stream, thread, hear)

    async def aclose(self) -> None:
        """End the threads. Idempotent."""
        for transcriber, thread in self._lanes:
            thread.submit(transcriber.close)
            await asyncio.to_thread(thread.shutdown)
        self._lanes = []


class MoonshineStream:
    """One stream. See `ContestantStream`."""

    def __init__(self, stream: Stream, thread: ThreadPoolExecutor, hear: Hear) -> None:
        """Args: stream: new. thread: that it belongs to. hear: takes the results."""
        self._stream = stream
        self._thread = thread
        self._hear = hear
        stream.add_listener(self._take)
        thread.submit(stream.start)

    def push(self, pcm: bytes) -> None:
        """Take samples. See `ContestantStream.push`."""
        self._thread.submit(self._add, pcm)

    async def finish(self) -> None:
        """Wait for the last line. See `ContestantStream.finish`."""
        await asyncio.wrap_future(self._thread.submit(self._stream.stop))
        await asyncio.wrap_future(self._thread.submit(self._stream.close))

    def _add(self, pcm: bytes) -> None:
        self._stream.add_audio(to_float(pcm).tolist(), SAMPLE_RATE)

    def _take(self, event: TranscriptEvent) -> None:
        line = event.line
        if isinstance(event, LineCompleted):
            self._hear("final", line.text, line.start_time, line.start_time + line.duration)
        elif isinstance(event, LineTextChanged) and not line.is_complete:
            self._hear("interim", line.text, line.start_time, line.start_time + line.duration)
