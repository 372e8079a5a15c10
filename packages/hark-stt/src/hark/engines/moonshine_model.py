"""A Moonshine model, run by onnxruntime: an encoder, and a decoder with a cache.

Runs the graphs of `moonshine_graphs` where these can be had from a model's files, and the exported
ones where not. What the exported graphs' tensors mean was found by inspecting them. Batches are of
one: with dynamically quantised weights, a larger batch lets one stream's audio change another's
text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hark import inference
from hark.engines import moonshine_graphs
from hark.engines.moonshine_graphs import DECODER_POSITIONS, Graphs
from hark.errors import ModelFileError, RecognitionError

logger = logging.getLogger("hark.engines")

START_TOKEN = 1
END_TOKEN = 2

MIN_SAMPLES = 1_600
"""The encoder's convolutions need 0.1 s of audio; shorter input makes them fail."""

Logits = NDArray[np.float32]

Tensors = dict[str, NDArray[Any]]


class DecoderState:
    """What the decoder remembers of one utterance: the audio's and the tokens' keys and values."""

    def __init__(self, fixed: Tensors, cache: Tensors) -> None:
        self.fixed = fixed
        self.cache = cache

    @property
    def length(self) -> int:
        """Tokens, the start token counted."""
        return int(next(iter(self.cache.values())).shape[2])

    def cut(self, length: int) -> None:
        """Forget all but the first `length` tokens, the start token counted.

        Args:
            length: at most as many as there are.
        """
        if self.length == length:
            return
        self.cache = {
            name: np.ascontiguousarray(value[:, :, :length]) for name, value in self.cache.items()
        }


class MoonshineModel(Protocol):
    """A loaded model. One thread at a time."""

    def encode(self, audio: NDArray[np.float32], *, threads: int = 1) -> Tensors:
        """Read audio. The result does not depend on the number of threads, to the last bit.

        Args:
            audio: shape (n,), n at least `MIN_SAMPLES`, in [-1, 1], 16 kHz.
            threads: to compute on; fewer where it was not loaded for so many.

        Returns:
            What `begin` wants.

        Raises:
            RecognitionError: onnxruntime failed.
        """
        ...

    def begin(
        self, encoded: Tensors, tokens: Sequence[int], *, known: int = 0
    ) -> tuple[Logits, DecoderState]:
        """Read a first run of tokens in one pass.

        Args:
            encoded: from `encode`.
            tokens: `START_TOKEN` and any that are taken to follow it.
            known: how many of them, from the first on, are followed by what is known; fewer than
                there are.

        Returns:
            Logits, shape (len(tokens) - known, vocabulary): row i is about the token after
            tokens[known + i]. And the state.

        Raises:
            RecognitionError: onnxruntime failed.
        """
        ...

    def extend(self, state: DecoderState, tokens: Sequence[int]) -> Logits:
        """Read more tokens into the state, in one pass.

        Returns:
            Logits, shape (len(tokens), vocabulary): row i is about the token after tokens[i].

        Raises:
            RecognitionError: onnxruntime failed.
        """
        ...


def load(folder: Path, *, threads: int = 1) -> MoonshineModel:
    """Load `encoder_model` and `decoder_model_merged`, as .ort or .onnx.

    Args:
        folder: where the files are.
        threads: on how many `MoonshineModel.encode` can compute. The rest has one: a step of the
            decoder is too small to be shared.

    Raises:
        ModelFileError: a file is missing or is not such a graph.
    """
    encoder, decoder = (_find(folder, name) for name in ("encoder_model", "decoder_model_merged"))
    if encoder.suffix == decoder.suffix == ".ort":
        graphs = moonshine_graphs.build(encoder, decoder)
        if graphs is not None:
            try:
                return LeanModel(graphs, threads=threads)
            except ModelFileError:
                pass  # told below
        logger.info("the model is run as it was exported, which is slower")
    return ExportedModel(encoder, decoder, threads=threads)


def _find(folder: Path, name: str) -> Path:
    path = next((p for p in (folder / f"{name}.ort", folder / f"{name}.onnx") if p.is_file()), None)
    if path is None:
        raise ModelFileError(f"{folder} holds neither {name}.ort nor {name}.onnx")
    return path


class _Encoders:
    """An encoder, loaded for one thread and, where more are wanted, once more for all of them.

    onnxruntime's threads belong to what is loaded, and while all cores are busy more than one make
    a decode slower. The second takes some 15 MB.
    """

    def __init__(
        self, graph: Path | bytes, weights: Mapping[str, NDArray[Any]] | None, threads: int
    ) -> None:
        self._single = inference.load(graph, weights=weights)
        self._wide = (
            inference.load(graph, weights=weights, threads=threads) if threads > 1 else self._single
        )

    def run(self, output: str, feeds: Tensors, threads: int) -> NDArray[np.float32]:
        result: NDArray[np.float32]
        (result,) = inference.run(self._wide if threads > 1 else self._single, [output], feeds)
        return result


class LeanModel:
    """Runs the graphs of `moonshine_graphs`. Satisfies `MoonshineModel`."""

    def __init__(self, graphs: Graphs, *, threads: int = 1) -> None:
        """Load them.

        Args:
            graphs: as built.
            threads: see `load`.

        Raises:
            ModelFileError: onnxruntime does not take them.
        """
        self._encoders = _Encoders(graphs.encoder.model, graphs.encoder.weights, threads)
        self._cross, self._decoder = (
            inference.load(graph.model, weights=graph.weights)
            for graph in (graphs.cross, graphs.decoder)
        )
        self._cross_names = [output.name for output in self._cross.get_outputs()]
        self._past = [
            f"past.{layer}.{part}" for layer in range(graphs.layers) for part in ("key", "value")
        ]
        self._present = [name.replace("past", "present", 1) for name in self._past]
        self._empty = np.zeros((1, graphs.heads, 0, graphs.head_size), np.float32)

    def encode(self, audio: NDArray[np.float32], *, threads: int = 1) -> Tensors:
        """See `MoonshineModel.encode`."""
        return self.cross(self.hear(audio, threads=threads))

    def hear(self, audio: NDArray[np.float32], *, threads: int = 1) -> NDArray[np.float32]:
        """Run the encoder; gives its states, shape (1, frames, width)."""
        feeds = {"audio": audio[np.newaxis, np.newaxis]}
        return self._encoders.run("hidden", feeds, threads)

    def cross(self, hidden: NDArray[np.float32]) -> Tensors:
        """From the encoder's states to what the decoder reads of them."""
        cross = inference.run(self._cross, self._cross_names, {"hidden": hidden})
        return dict(zip(self._cross_names, cross, strict=True))

    def begin(
        self, encoded: Tensors, tokens: Sequence[int], *, known: int = 0
    ) -> tuple[Logits, DecoderState]:
        """See `MoonshineModel.begin`."""
        state = DecoderState(encoded, dict.fromkeys(self._past, self._empty))
        return self._read(state, tokens, known), state

    def extend(self, state: DecoderState, tokens: Sequence[int]) -> Logits:
        """See `MoonshineModel.extend`."""
        return self._read(state, tokens, known=0)

    def _read(self, state: DecoderState, tokens: Sequence[int], known: int) -> Logits:
        if state.length + len(tokens) > DECODER_POSITIONS:  # onnxruntime 1.20 does not notice
            raise RecognitionError(f"more than {DECODER_POSITIONS} tokens")
        feeds = {
            **state.fixed,
            **state.cache,
            "tokens": np.array([tokens], np.int64),
            "position": np.array([state.length], np.int64),
            "known": np.array([known], np.int64),
        }
        logits, *present = inference.run(self._decoder, ["logits", *self._present], feeds)
        state.cache = dict(zip(self._past, present, strict=True))
        rows: Logits = logits[0]
        return rows


class ExportedModel:
    """Runs the exported graphs as they are. Satisfies `MoonshineModel`."""

    def __init__(self, encoder: Path, decoder: Path, *, threads: int = 1) -> None:
        """Load them.

        Args:
            encoder: the encoder's file.
            decoder: the merged decoder's file.
            threads: see `load`.

        Raises:
            ModelFileError: a file is not such a graph.
        """
        self._encoders = _Encoders(encoder, None, threads)
        self._decoder = inference.load(decoder)
        inputs = {node.name: node.shape for node in self._decoder.get_inputs()}
        self._token_cache = [n for n in inputs if n.startswith("past_") and ".decoder." in n]
        self._audio_cache = [n for n in inputs if n.startswith("past_") and ".encoder." in n]
        if not self._token_cache or not self._audio_cache:
            raise ModelFileError(f"{decoder} is no merged Moonshine decoder")
        _, self._heads, _, self._head_size = inputs[self._token_cache[0]]

    def encode(self, audio: NDArray[np.float32], *, threads: int = 1) -> Tensors:
        """See `MoonshineModel.encode`."""
        mask = np.ones((1, len(audio)), np.int64)
        feeds: Tensors = {
            "input_values": audio[np.newaxis],
            "attention_mask": mask,
        }
        hidden = self._encoders.run("last_hidden_state", feeds, threads)
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}

    def begin(
        self, encoded: Tensors, tokens: Sequence[int], *, known: int = 0
    ) -> tuple[Logits, DecoderState]:
        """See `MoonshineModel.begin`."""
        empty: NDArray[Any] = np.zeros((1, self._heads, 0, self._head_size), np.float32)
        feeds: Tensors = {
            **encoded,
            **{name: empty for name in self._token_cache + self._audio_cache},
            "input_ids": np.array([tokens], np.int64),
            "use_cache_branch": np.array([False]),
        }
        names = self._token_cache + self._audio_cache
        logits, *present = inference.run(self._decoder, ["logits", *map(_present, names)], feeds)
        values = dict(zip(names, present, strict=True))
        fixed = {
            **encoded,
            **{name: values[name] for name in self._audio_cache},
            "use_cache_branch": np.array([True]),
        }
        return logits[0, known:], DecoderState(
            fixed, {name: values[name] for name in self._token_cache}
        )

    def extend(self, state: DecoderState, tokens: Sequence[int]) -> Logits:
        """See `MoonshineModel.extend`."""
        feeds = {**state.fixed, **state.cache, "input_ids": np.array([tokens], np.int64)}
        outputs = ["logits", *map(_present, self._token_cache)]
        logits, *present = inference.run(self._decoder, outputs, feeds)
        state.cache = dict(zip(self._token_cache, present, strict=True))
        rows: Logits = logits[0]
        return rows


def _present(past: str) -> str:
    return past.replace("past_key_values", "present", 1)
