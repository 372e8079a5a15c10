"""Models in onnxruntime, all loaded and run in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from hark.errors import ModelFileError, RecognitionError

# onnxruntime raises one class for each status code, without a common base: hence `Exception`.

_OPTIONS = {
    # Idle threads that spin take the cores of the other workers.
    "session.intra_op.allow_spinning": "0",
    # Processors with AVX2 but without VNNI add pairs of 8-bit products in 16 bits, which overflow:
    # there an end-of-turn probability of 0.85 came out as 0.51, and with this as 0.80. It changes
    # nothing elsewhere, nor for Moonshine, whose weights are unsigned.
    "session.x64quantprecision": "1",
}


def share_arena() -> None:
    """Have all models that this process loads from now on take memory from one arena. Call it once.

    Each model otherwise keeps an arena of its own, as large as the most it ever needed, although
    only one of them runs at a time in a worker: of Moonshine's, fed utterances of up to 30 s, they
    took 262 MB and grew slowly, and one arena takes 212 MB and stays there, at 0.97 of the time.

    It concerns the whole process, so it is for processes of ours.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, None)
    # Not before: the arena of somebody else's process may have a limit.
    _OPTIONS["session.use_env_allocators"] = "1"


def load(
    model: Path | bytes, *, weights: Mapping[str, NDArray[Any]] | None = None, threads: int = 1
) -> Any:
    """Load a model on the CPU; gives an `onnxruntime.InferenceSession`, which is thread-safe.

    Args:
        model: an .ort or .onnx file, or what is in one.
        weights: values of constants that the model only declares, by name.
        threads: of onnxruntime within one call.

    Raises:
        ModelFileError: the file is missing or is no such model.
    """
    # A memory arena, the memory pattern and weight prepacking stay on: without prepacking a
    # decoding step takes 1.6 times as long. IOBinding and OrtValues made no measurable difference
    # on a CPU, so plain arrays are passed.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in _OPTIONS.items():
        options.add_session_config_entry(key, value)
    try:
        if weights:
            values = list(map(onnxruntime.OrtValue.ortvalue_from_numpy, weights.values()))
            options.add_external_initializers(list(weights), values)
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        name = "a built model" if isinstance(model, bytes) else model
        raise ModelFileError(f"onnxruntime cannot load {name}: {error}") from error


def run(
    session: Any, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """Run a loaded model.

    Args:
        session: from `load`.
        outputs: names; None for all.
        feeds: by name.

    Raises:
        RecognitionError: onnxruntime failed.
    """
    try:
        values: list[NDArray[Any]] = session.run(outputs, feeds)
    except Exception as error:
        raise RecognitionError(f"onnxruntime failed: {type(error).__name__}") from error
    return values
