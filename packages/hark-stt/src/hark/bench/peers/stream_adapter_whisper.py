"""`StreamAdapter` over faster-whisper."""

from __future__ import annotations

import asyncio
import importlib.metadata

import numpy as np
from faster_whisper import WhisperModel

from hark.audio import SAMPLE_RATE
from hark.bench.job import Options
from hark.bench.peers.decode_threads import DecodeThreads, Samples
from hark.bench.peers.stream_adapter import AdaptedContestant
from hark.bench.peers.whisper_weights import MODEL, folder
from hark.cores import usable_cores


async def start(options: Options) -> AdaptedContestant[WhisperModel]:
    """Load the models. See `hark.bench.contestants.start`."""
    threads = await asyncio.to_thread(_load_threads)
    settings = {
        "faster-whisper": importlib.metadata.version("faster-whisper"),
        "model": f"{MODEL}, int8, greedy, one worker of one thread for each core",
    }
    return AdaptedContestant(threads, _decode, options.silence_ms, settings)


def _load_threads() -> DecodeThreads[WhisperModel]:
    cores = usable_cores()
    model = WhisperModel(
        str(folder()), device="cpu", compute_type="int8", cpu_threads=1, num_workers=cores
    )
    _decode(model, np.zeros(SAMPLE_RATE, np.float32))
    return DecodeThreads([model] * cores)  # its workers serve one call each


def _decode(model: WhisperModel, samples: Samples) -> str:
    segments, _ = model.transcribe(
        samples,
        language="en",
        beam_size=1,
        without_timestamps=True,
        condition_on_previous_text=False,
    )
    return " ".join(segment.text.strip() for segment in segments)
