"""Models in onnxruntime's own format (.ort), read for their weights."""

from __future__ import annotations

import importlib
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hark.errors import ModelFileError

_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}  # of TensorDataType


@dataclass(frozen=True)
class OrtModel:
    """What there is in a model, and in the else branch of each `If`.

    Attributes:
        weights: constant tensors by name. They look into the file's bytes: read only.
        inputs: by a node's name, the names of what goes into it, "" for what is left out.
    """

    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)


def read(path: Path) -> OrtModel:
    """Read a file.

    Raises:
        ModelFileError: it is missing or no such model.
        ImportError: this onnxruntime comes without the means.
    """
    schema = _schema()
    try:
        data = path.read_bytes()
        if not schema.InferenceSessionBufferHasIdentifier(data, 0):
            raise ValueError
        model = OrtModel()
        for graph in _graphs(schema.GetRootAs(data).Model().Graph()):
            _add(graph, model)
    except (OSError, ValueError, AttributeError, TypeError, struct.error) as error:
        raise ModelFileError(f"{path} is no model in onnxruntime's format") from error
    return model


def _schema() -> Any:
    """The class of a whole file, generated from the format's schema.

    It comes with onnxruntime's wheel, but is promised nowhere. Its package is found by its folder:
    to import `onnxruntime.tools` means to import PyTorch, too, where that is installed.
    """
    folder = str(Path(onnxruntime.__file__).parent / "tools" / "ort_format_model")
    sys.path.append(folder)
    try:
        module = importlib.import_module("ort_flatbuffers_py.fbs.InferenceSession")
    finally:
        sys.path.remove(folder)
    return module.InferenceSession


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and what it does where a condition is not met, which for a decoder is the most."""
    yield graph
    for node in map(graph.Nodes, range(graph.NodesLength())):
        if node.OpType() != b"If":
            continue
        for attribute in map(node.Attributes, range(node.AttributesLength())):
            if attribute.Name() == b"else_branch":
                yield from _graphs(attribute.G())


def _add(graph: Any, model: OrtModel) -> None:
    for tensor in map(graph.Initializers, range(graph.InitializersLength())):
        dtype = _DTYPES.get(tensor.DataType())
        if dtype is not None and tensor.RawDataLength():
            shape = [tensor.Dims(i) for i in range(tensor.DimsLength())]
            values = tensor.RawDataAsNumpy().view(dtype).reshape(shape)
            model.weights.setdefault(tensor.Name().decode(), values)
    for node in map(graph.Nodes, range(graph.NodesLength())):
        inputs = [node.Inputs(i).decode() for i in range(node.InputsLength())]
        model.inputs.setdefault(node.Name().decode(), inputs)
