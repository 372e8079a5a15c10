"""Smart Turn v3: whether somebody who pauses has finished.

Whisper's tiny encoder with a classifier on top, trained by Pipecat on the last 8 s of turns in 23
languages. How it wants to be given audio is that of pipecat-ai 1.14.0 (`local_smart_turn_v3.py`).
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from hark import inference
from hark.audio import SAMPLE_RATE, PcmArray, to_float
from hark.engines import catalogue
from hark.engines.log_mel import FRAMES_PER_SECOND, HOP_SAMPLES, log_mel

NAME = "smart-turn-v3.2"
"""In the catalogue."""

_FILE = "smart-turn-v3.2-cpu.onnx"
_HEARD_S = 8
_HEARD_SAMPLES = _HEARD_S * SAMPLE_RATE
_FRAMES = _HEARD_S * FRAMES_PER_SECOND
_MEL_BANDS = 80
_LEAST_VARIANCE = 1e-7  # that digital silence is divided by


class SmartTurn:
    """A loaded model. Thread-safe, and keeps nothing of what it hears."""

    def __init__(self, folder: Path) -> None:
        """Load the weights.

        Raises:
            ModelFileError: onnxruntime does not take them.
        """
        self._session = inference.load(folder / _FILE)

    def finished(self, audio: PcmArray) -> float:
        """See `hark.ear.EndOfTurnModel.finished`. Hears the last 8 s.

        Takes some 30 ms of one core, whatever the length.
        """
        heard = to_float(audio[-_HEARD_SAMPLES:])
        heard = np.pad(heard, (_HEARD_SAMPLES - len(heard), 0))
        heard = (heard - heard.mean()) / np.sqrt(heard.var() + np.float32(_LEAST_VARIANCE))
        # The last frame reaches past the end, where the model is used to a mirror image.
        mirrored = np.concatenate((heard, heard[-2 : -2 - HOP_SAMPLES : -1]))
        features = log_mel(mirrored, bands=_MEL_BANDS, frames=_FRAMES + 1)[:, :_FRAMES]
        (probability,) = inference.run(self._session, None, {"input_features": features[None]})
        return float(probability[0, 0])


_model: SmartTurn | None = None
_model_lock = threading.Lock()


def smart_turn() -> SmartTurn:
    """The process's one loaded model. Thread-safe. Blocks while it is loaded.

    Raises:
        ModelFileError: its files are not on this machine, or not those the catalogue names.
    """
    global _model
    with _model_lock:
        if _model is None:
            _model = SmartTurn(catalogue.verify(NAME))
        return _model
