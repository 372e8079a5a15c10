"""ONNX graphs, put together node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ORT_DOMAIN = "com.microsoft"
"""Where onnxruntime's own operators are."""

_OPSET = 18
_IR_VERSION = 9
_INLINE_BYTES = 1_024  # constants up to this size stand in the graph: shapes must


@dataclass(frozen=True)
class Graph:
    """A graph for `inference.load`.

    Attributes:
        model: ONNX, serialised, without its weights.
        weights: by name.
    """

    model: bytes
    weights: Mapping[str, NDArray[Any]]


@dataclass
class GraphBuilder:
    """A graph in the making. Nodes are named after what they write."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def input(self, name: str, kind: int, shape: Sequence[str | int]) -> str:
        """Declare an input of a `TensorProto` kind; gives its name."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str | None = None) -> str:
        """Declare an output, of floats; gives its name.

        Args:
            name: of the output.
            value: what it is, unless a node of the caller's writes it.
        """
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        if value is not None:
            self.nodes.append(helper.make_node("Identity", [value], [name]))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant; gives its name. The same one may be added again."""
        self.constants[name] = values
        return name

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node; gives its first output."""
        outputs = outputs or [f"v{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def finish(self) -> Graph:
        """The graph, whose larger constants are given when it is loaded."""
        values = {name: np.ascontiguousarray(value) for name, value in self.constants.items()}
        weights = {n: value for n, value in values.items() if value.nbytes > _INLINE_BYTES}
        constants = [
            _stub(name, value) if name in weights else numpy_helper.from_array(value, name)
            for name, value in values.items()
        ]
        graph = helper.make_graph(self.nodes, "hark", self.inputs, self.outputs, constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(ORT_DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        return Graph(model.SerializeToString(), weights)


def _stub(name: str, value: NDArray[Any]) -> onnx.TensorProto:
    """A constant without its values, which are given when the graph is loaded."""
    stub = TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
        dims=value.shape,
        data_location=TensorProto.EXTERNAL,
    )
    stub.external_data.add(key="location", value="given when loaded")
    return stub
