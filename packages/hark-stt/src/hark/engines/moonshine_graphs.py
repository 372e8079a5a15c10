"""Moonshine's graphs, built anew from the weights of a quantised export.

The exported graphs spend most of a decoding step on hundreds of nodes that work out shapes, masks
and rotations of a batch of any size. For one utterance at a time a tenth of the nodes say the same:
attention and rotation are one node each (onnxruntime's own operators), nothing is masked but the
future, and the keys and values that the decoder reads of the audio are computed once.

On a processor with AVX2 a step of the decoder takes 3.9 instead of 7.4 ms, reading along in a
draft for 2 s of audio 13 instead of 29 ms, the encoder nine tenths. Logits are those of the
exported graphs to the fifth decimal where nothing is rounded another way: what goes into a product
is quantised, so that the sixth decimal of one number now and then moves others by hundredths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from hark.engines import ort_format
from hark.engines.ort_format import OrtModel
from hark.graph_builder import ORT_DOMAIN, Graph, GraphBuilder

ENCODER_POSITIONS = 4_096
"""Frames that the encoder tells apart: 98 s, twice the longest utterance with its context."""

DECODER_POSITIONS = 1_024
"""Tokens that the decoder tells apart: 157 s of the fastest speech."""

_EPSILON = 1e-5  # of all normalisations, as exported


@dataclass(frozen=True)
class Graphs:
    """The parts of a model, and what their tensors look like.

    Attributes:
        encoder: `audio` (1, 1, samples) -> `hidden` (1, frames, width).
        cross: `hidden` -> for each layer `cross.N.key` and `cross.N.value`
            (1, heads, frames, head size), what the decoder reads of the audio.
        decoder: `tokens` (1, n), `position` (1,) of the first of them, `known` (1,), for each layer
            those of `cross` and `past.N.key`, `past.N.value` (1, heads, position, head size) ->
            `logits` of all but the first `known` of the tokens (1, n - known, vocabulary),
            `present.N.key` and `present.N.value` with n more positions.
        layers: of the decoder.
        heads: of each layer.
        head_size: width of each head.
    """

    encoder: Graph
    cross: Graph
    decoder: Graph
    layers: int
    heads: int
    head_size: int


def build(encoder: Path, decoder: Path) -> Graphs | None:
    """Build the graphs from a quantised export in onnxruntime's format.

    Args:
        encoder: the encoder's file.
        decoder: the merged decoder's file.

    Returns:
        None if it was exported in another way, with other nodes than are known here, or if this
        onnxruntime cannot read its own format.

    Raises:
        ModelFileError: a file is missing or no such model.
    """
    try:
        encoder_export, decoder_export = ort_format.read(encoder), ort_format.read(decoder)
    except ImportError:
        return None
    try:  # whatever is not as expected shows in one of these ways
        shape = _Shape.of(decoder_export, "/model/decoder/layers.")
        return Graphs(
            encoder=_encoder(encoder_export, _Shape.of(encoder_export, "/layers.")),
            cross=_cross(decoder_export, shape),
            decoder=_decoder(decoder_export, shape),
            layers=shape.layers,
            heads=shape.heads,
            head_size=shape.head_size,
        )
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class _Shape:
    """The same of `Graphs`, of an encoder or a decoder."""

    layers: int
    heads: int
    head_size: int

    @classmethod
    def of(cls, export: OrtModel, prefix: str) -> _Shape:
        numbers = [
            int(name.removeprefix(prefix).split("/")[0])
            for name in export.inputs
            if name.startswith(prefix)
        ]
        # Queries are reshaped to (batch, length, heads, head size).
        _, _, heads, size = export.inputs[f"{prefix}0/self_attn/Concat"]
        return cls(
            layers=max(numbers, default=-1) + 1,
            heads=int(export.weights[heads][0]),
            head_size=int(export.weights[size][0]),
        )

    @property
    def width(self) -> int:
        return self.heads * self.head_size


class _Builder(GraphBuilder):
    """A graph in the making, after the pattern of an exported one."""

    def __init__(self, export: OrtModel, shape: _Shape) -> None:
        super().__init__()
        self.export = export
        self.shape = shape

    def weight(self, name: str) -> str:
        return self.constant(name, self.export.weights[name])

    def weight_of(self, node: str, number: int) -> str:
        """The weight that goes into an exported node, as so manieth of its inputs."""
        return self.weight(self.export.inputs[node][number])

    def normalise(self, node: str, value: str) -> str:
        scale = self.weight_of(node, 1)
        return self.add("LayerNormalization", [value, scale], axis=-1, epsilon=_EPSILON)

    def quantise(self, value: str) -> tuple[str, str, str]:
        name = f"v{len(self.nodes)}"
        outputs = (f"{name}.values", f"{name}.scale", f"{name}.zero")
        self.add("DynamicQuantizeLinear", [value], outputs)
        return outputs

    def multiply_quantised(self, node: str, value: tuple[str, str, str]) -> str:
        """What an exported `MatMulIntegerToFloat` does, with what was quantised before."""
        values, scale, zero = value
        weight, weight_scale, weight_zero = (self.weight_of(node, i) for i in (1, 3, 5))
        inputs = [values, weight, scale, weight_scale, zero, weight_zero]
        return self.add("MatMulIntegerToFloat", inputs, domain=ORT_DOMAIN)

    def multiply(self, node: str, value: str) -> str:
        """What an exported `DynamicQuantizeMatMul` does."""
        weights = [self.weight(name) if name else "" for name in self.export.inputs[node][1:]]
        return self.add("DynamicQuantizeMatMul", [value, *weights], domain=ORT_DOMAIN)

    def rotations(self, node: str, positions: int) -> tuple[str, str]:
        """Cosines and sines for so many positions, from the frequencies of an exported node."""
        frequencies = self.export.weights[self.export.inputs[node][0]].reshape(1, -1)
        angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies
        return self.constant("cos", np.cos(angles)), self.constant("sin", np.sin(angles))

    def rotate(self, value: str, position: str, rotations: tuple[str, str]) -> str:
        cosines = self.constants[rotations[0]]
        return self.add(
            "RotaryEmbedding",
            [value, position, *rotations],
            domain=ORT_DOMAIN,
            interleaved=1,
            num_heads=self.shape.heads,
            rotary_embedding_dim=2 * cosines.shape[1],
        )

    def attend(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        *,
        past_only: bool = False,
    ) -> str:
        return self.add(
            "MultiHeadAttention",
            inputs,
            outputs,
            domain=ORT_DOMAIN,
            num_heads=self.shape.heads,
            scale=1 / math.sqrt(self.shape.head_size),
            unidirectional=int(past_only),
        )

    def sum(self, one: str, other: str) -> str:
        return self.add("Add", [one, other])


def _encoder(export: OrtModel, shape: _Shape) -> Graph:
    graph = _Builder(export, shape)
    value = _frames(graph, graph.input("audio", TensorProto.FLOAT, [1, 1, "samples"]))
    position = graph.constant("position", np.zeros(1, np.int64))
    rotations = graph.rotations("/rotary_emb/Expand", ENCODER_POSITIONS)
    for layer in range(shape.layers):
        name = f"/layers.{layer}"
        normal = graph.normalise(f"{name}/input_layernorm/LayerNormalization", value)
        query, key, content = _projections(graph, f"{name}/self_attn", normal)
        query, key = (graph.rotate(one, position, rotations) for one in (query, key))
        heard = graph.attend([query, key, content])
        value = graph.sum(value, graph.multiply(f"{name}/self_attn/o_proj/MatMul_quant", heard))
        normal = graph.normalise(f"{name}/post_attention_layernorm/LayerNormalization", value)
        inner = graph.multiply(f"{name}/mlp/fc1/MatMul_quant", normal)
        inner = graph.add("Gelu", [inner], domain=ORT_DOMAIN)
        value = graph.sum(value, graph.multiply(f"{name}/mlp/fc2/MatMul_quant", inner))
    # The exported node also adds up the last layer: its weight is the third input.
    scale = graph.weight_of("SkipLayerNormalization", 2)
    value = graph.add("LayerNormalization", [value, scale], axis=-1, epsilon=_EPSILON)
    graph.output("hidden", value)
    return graph.finish()


def _frames(graph: _Builder, audio: str) -> str:
    """From samples to frames, 41.7 a second."""
    stride = graph.add("Conv", [audio, graph.weight_of("/conv1/Conv", 1)], strides=[64])
    value = graph.add("Tanh", [stride])
    flat = graph.add("Reshape", [value, graph.constant("flat", np.array([0, 1, -1]))])
    unit = [graph.constant("scale", np.ones(1, np.float32)), graph.constant("bias", _ZERO)]
    normal = graph.add("InstanceNormalization", [flat, *unit], epsilon=_EPSILON)
    value = graph.add("Reshape", [normal, graph.add("Shape", [value])])
    value = graph.add("Mul", [value, graph.weight_of("/groupnorm/Mul", 1)])
    value = graph.add("Add", [value, graph.weight_of("/groupnorm/Add", 1)])
    for node, stride_length in (("/conv2/Conv", 3), ("/conv3/Conv", 2)):
        weights = [graph.weight_of(node, i) for i in (1, 2)]
        value = graph.add("Conv", [value, *weights], strides=[stride_length])
        value = graph.add("Gelu", [value], domain=ORT_DOMAIN)
    return graph.add("Transpose", [value], perm=[0, 2, 1])


_ZERO = np.zeros(1, np.float32)
_LAST = np.array([np.iinfo(np.int64).max])


def _cross(export: OrtModel, shape: _Shape) -> Graph:
    graph = _Builder(export, shape)
    hidden = graph.quantise(graph.input("hidden", TensorProto.FLOAT, [1, "frames", shape.width]))
    split = graph.constant("split", np.array([0, 0, shape.heads, shape.head_size]))
    for layer in range(shape.layers):
        for projection, name in (("k", "key"), ("v", "value")):
            node = f"/model/decoder/layers.{layer}/encoder_attn/{projection}_proj/MatMul_quant"
            rows = graph.add("Reshape", [graph.multiply_quantised(node, hidden), split])
            output = graph.output(f"cross.{layer}.{name}")
            graph.add("Transpose", [rows], [output], perm=[0, 2, 1, 3])
    return graph.finish()


def _decoder(export: OrtModel, shape: _Shape) -> Graph:
    graph = _Builder(export, shape)
    position = graph.input("position", TensorProto.INT64, [1])
    value = _embed(graph, graph.input("tokens", TensorProto.INT64, [1, "n"]))
    rotations = graph.rotations("/model/decoder/rotary_emb/Expand", DECODER_POSITIONS)
    for layer in range(shape.layers):
        value = _decoder_layer(graph, layer, value, position, rotations)
    # Half of the weights are those of the last product: of what is known it would be in vain.
    end, axis = graph.constant("end", _LAST), graph.constant("axis", np.array([1]))
    value = graph.add("Slice", [value, graph.input("known", TensorProto.INT64, [1]), end, axis])
    normal = graph.normalise("/model/decoder/norm/LayerNormalization", value)
    graph.output("logits", graph.multiply("/proj_out/MatMul_quant", normal))
    return graph.finish()


def _embed(graph: _Builder, tokens: str) -> str:
    table = graph.export.inputs["/model/decoder/embed_tokens/Gather"][0]
    name = table.removesuffix("_quantized")
    rows = graph.add("Gather", [graph.weight(table), tokens])
    quantisation = [graph.weight(f"{name}_{part}") for part in ("scale", "zero_point")]
    return graph.add("DequantizeLinear", [rows, *quantisation])


def _decoder_layer(
    graph: _Builder, layer: int, value: str, position: str, rotations: tuple[str, str]
) -> str:
    name = f"/model/decoder/layers.{layer}"
    heads, size = graph.shape.heads, graph.shape.head_size
    past, present, cross = (
        [f"{when}.{layer}.key", f"{when}.{layer}.value"] for when in ("past", "present", "cross")
    )
    for one in past:
        graph.input(one, TensorProto.FLOAT, [1, heads, "past", size])
    for one in cross:
        graph.input(one, TensorProto.FLOAT, [1, heads, "frames", size])

    normal = graph.normalise(f"{name}/input_layernorm/LayerNormalization", value)
    query, key, content = _projections(graph, f"{name}/self_attn", normal)
    query, key = (graph.rotate(one, position, rotations) for one in (query, key))
    outputs = [f"v{len(graph.nodes)}", *map(graph.output, present)]
    inputs = [query, key, content, "", "", "", *past]
    read = graph.attend(inputs, outputs, past_only=True)
    value = graph.sum(value, graph.multiply(f"{name}/self_attn/o_proj/MatMul_quant", read))

    normal = graph.normalise(f"{name}/post_attention_layernorm/LayerNormalization", value)
    query = graph.multiply(f"{name}/encoder_attn/q_proj/MatMul_quant", normal)
    heard = graph.attend([query, *cross])
    value = graph.sum(value, graph.multiply(f"{name}/encoder_attn/o_proj/MatMul_quant", heard))

    normal = graph.normalise(f"{name}/final_layernorm/LayerNormalization", value)
    inner = graph.multiply(f"{name}/mlp/fc1/MatMul_quant", normal)
    halves = [f"v{len(graph.nodes)}.{half}" for half in ("value", "gate")]
    graph.add("Split", [inner], halves, axis=-1, num_outputs=2)
    gate = graph.add("QuickGelu", [halves[1]], domain=ORT_DOMAIN, alpha=1.0)
    inner = graph.add("Mul", [halves[0], gate])
    return graph.sum(value, graph.multiply(f"{name}/mlp/fc2/MatMul_quant", inner))


def _projections(graph: _Builder, attention: str, value: str) -> tuple[str, str, str]:
    """Queries, keys and contents of a self-attention."""
    quantised = graph.quantise(value)
    query, key, content = (
        graph.multiply_quantised(f"{attention}/{one}_proj/MatMul_quant", quantised) for one in "qkv"
    )
    return query, key, content
