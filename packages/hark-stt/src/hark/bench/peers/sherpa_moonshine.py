"""Hark's default weights on sherpa-onnx: one recogniser for each core, of one thread each."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import numpy as np
import sherpa_onnx

from hark.audio import SAMPLE_RATE
from hark.bench.peers.decode_threads import DecodeThreads, Samples
from hark.cores import usable_cores
from hark.engines import catalogue
from hark.engines.moonshine_tokenizer import MoonshineTokenizer

MODEL = "moonshine-tiny-en"


def load_threads() -> DecodeThreads[sherpa_onnx.OfflineRecognizer]:
    """Load and warm the recognisers. Blocks.

    Raises:
        ModelFileError: the weights are not here.
    """
    recognizers = [_load() for _ in range(usable_cores())]
    for recognizer in recognizers:
        decode(recognizer, np.zeros(SAMPLE_RATE, np.float32))
    return DecodeThreads(recognizers)


def decode(recognizer: sherpa_onnx.OfflineRecognizer, samples: Samples) -> str:
    """Decode an utterance. Blocks."""
    stream = recognizer.create_stream()
    stream.accept_waveform(SAMPLE_RATE, samples)
    recognizer.decode_stream(stream)
    return str(stream.result.text).strip()


def _load() -> sherpa_onnx.OfflineRecognizer:
    folder = catalogue.locate(MODEL)
    pieces = MoonshineTokenizer(folder / "tokenizer.bin").pieces
    with tempfile.TemporaryDirectory() as own:
        tokens = Path(own) / "tokens.txt"
        lines = (f"{base64.b64encode(p).decode()} {i}\n" for i, p in enumerate(pieces))
        tokens.write_text("".join(lines), encoding="ascii")
        return sherpa_onnx.OfflineRecognizer.from_moonshine_v2(
            encoder=str(folder / "encoder_model.ort"),
            decoder=str(folder / "decoder_model_merged.ort"),
            tokens=str(tokens),
            num_threads=1,
        )
