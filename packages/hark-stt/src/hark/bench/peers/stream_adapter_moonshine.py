"""What a LiveKit user can build of the weights that Hark uses: `StreamAdapter` and sherpa-onnx."""

from __future__ import annotations

import asyncio
import importlib.metadata

import sherpa_onnx

from hark.bench.job import Options
from hark.bench.peers.sherpa_moonshine import MODEL, decode, load_threads
from hark.bench.peers.stream_adapter import AdaptedContestant


async def start(options: Options) -> AdaptedContestant[sherpa_onnx.OfflineRecognizer]:
    """Load the models. See `hark.bench.contestants.start`."""
    threads = await asyncio.to_thread(load_threads)
    settings = {
        "sherpa-onnx": importlib.metadata.version("sherpa-onnx"),
        "model": f"{MODEL}, one recogniser of one thread for each core",
    }
    return AdaptedContestant(threads, decode, options.silence_ms, settings)
