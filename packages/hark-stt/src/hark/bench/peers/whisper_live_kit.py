"""WhisperLiveKit, by its own pipeline (`AudioProcessor`), on Whisper tiny.en.

Its default policy (SimulStreaming) wants the weights for PyTorch; those for CTranslate2 are what a
package brings, so it runs its other one, LocalAgreement, with faster-whisper. It has words that it
has committed and a rest that may change. When the rest is empty, after a pause, what was committed
since the last time is a final.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
from collections.abc import AsyncIterator

from whisperlivekit.audio_processor import AudioProcessor
from whisperlivekit.core import TranscriptionEngine
from whisperlivekit.timed_objects import FrontData

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Contestant, Hear
from hark.bench.job import Options
from hark.bench.peers.whisper_weights import MODEL, folder

SETTINGS = {
    "backend_policy": "localagreement",
    "backend": "faster-whisper",
    "lan": "en",
    "pcm_input": True,
}


async def start(options: Options) -> WhisperLiveKit:
    """Load the models. See `hark.bench.contestants.start`."""
    return await asyncio.to_thread(WhisperLiveKit)


class WhisperLiveKit(Contestant):
    """WhisperLiveKit. See `Contestant`."""

    def __init__(self) -> None:
        """Load the models. Blocks."""
        super().__init__(
            {
                "whisperlivekit": importlib.metadata.version("whisperlivekit"),
                "faster-whisper": importlib.metadata.version("faster-whisper"),
                "model": MODEL,
                "VAD": "its own (Silero), with its own silence",
                "options": ", ".join(f"{name}={value}" for name, value in SETTINGS.items()),
            }
        )
        # It logs each chunk, which costs time.
        for name in ("whisperlivekit", "faster_whisper"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._engine = TranscriptionEngine(model_path=str(folder()), **SETTINGS)

    async def open(self, hear: Hear) -> WhisperLiveKitStream:
        """Open a stream. See `Contestant.open`."""
        processor = AudioProcessor(transcription_engine=self._engine)
        stream = WhisperLiveKitStream(processor, hear)
        await stream.start()
        return stream

    async def aclose(self) -> None:
        """Nothing to end."""


class WhisperLiveKitStream:
    """One stream. See `ContestantStream`."""

    def __init__(self, processor: AudioProcessor, hear: Hear) -> None:
        """Args: processor: new. hear: takes the results."""
        self._processor = processor
        self._hear = hear
        self._audio: asyncio.Queue[bytes] = asyncio.Queue()  # a run's audio at most
        self._tasks: list[asyncio.Task[None]] = []
        self._pushed_s = 0.0
        self._finalized_words = 0
        self._finalized_s = 0.0
        self._hypothesis = ""

    async def start(self) -> None:
        """Start its tasks."""
        results = await self._processor.create_tasks()
        self._tasks = [
            asyncio.create_task(self._feed()),
            asyncio.create_task(self._listen(results)),
        ]

    def push(self, pcm: bytes) -> None:
        """Take samples. See `ContestantStream.push`."""
        self._pushed_s += len(pcm) / 2 / SAMPLE_RATE
        self._audio.put_nowait(pcm)

    async def finish(self) -> None:
        """Wait for the last words. See `ContestantStream.finish`."""
        self._audio.put_nowait(b"")  # its sign for the end
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await self._processor.cleanup()

    async def _feed(self) -> None:
        while pcm := await self._audio.get():
            await self._processor.process_audio(pcm)
        await self._processor.process_audio(b"")

    async def _listen(self, results: AsyncIterator[FrontData]) -> None:
        async for state in results:
            self._take(state)

    def _take(self, state: FrontData) -> None:
        lines = [line for line in state.lines if line.text]
        committed = " ".join(line.text for line in lines).split()[self._finalized_words :]
        end_s = lines[-1].end if lines else 0.0
        if committed and not state.buffer_transcription.strip():
            self._hear("final", " ".join(committed), self._finalized_s, end_s)
            self._finalized_words += len(committed)
            self._finalized_s, self._hypothesis = end_s, ""
            return
        hypothesis = " ".join((*committed, state.buffer_transcription.strip()))
        if hypothesis and hypothesis != self._hypothesis:
            self._hypothesis = hypothesis
            self._hear("interim", hypothesis, self._finalized_s, self._pushed_s)
