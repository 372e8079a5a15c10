"""The two graphs of a Moonshine model, run by onnxruntime: an encoder, and a decoder with a cache.

What the tensors mean was found by inspecting the graphs. Batches are of one: with dynamically
quantised weights, a larger batch lets one stream's audio change another's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hark import inference
from hark.errors import ModelFileError

START_TOKEN = 1
END_TOKEN = 2

MIN_SAMPLES = 1_600
"""The encoder's convolutions need 0.1 s of audio; shorter input makes them fail."""

Logits = NDArray[np.float32]


class DecoderState:
    """What the decoder remembers of one utterance: the audio's and the tokens' keys and values."""

    def __init__(
        self, fixed: dict[str, NDArray[Any]], cache: dict[str, NDArray[np.float32]]
    ) -> None:
        self.fixed = fixed
        self.cache = cache

    def cut(self, length: int) -> None:
        """Forget all but the first `length` tokens, the start token counted.

        Args:
            length: at most as many as there are.
        """
        if next(iter(self.cache.values())).shape[2] == length:
            return
        self.cache = {
            name: np.ascontiguousarray(value[:, :, :length]) for name, value in self.cache.items()
        }


class MoonshineModel:
    """The loaded graphs. One thread at a time."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load `encoder_model` and `decoder_model_merged`, as .ort or .onnx.

        Args:
            folder: where the files are.
            threads: of onnxruntime within one call.

        Raises:
            ModelFileError: a file is missing or is not such a graph.
        """
        self._encoder = _load(folder, "encoder_model", threads)
        self._decoder = _load(folder, "decoder_model_merged", threads)
        inputs = {node.name: node.shape for node in self._decoder.get_inputs()}
        self._token_cache = [n for n in inputs if n.startswith("past_") and ".decoder." in n]
        self._audio_cache = [n for n in inputs if n.startswith("past_") and ".encoder." in n]
        if not self._token_cache or not self._audio_cache:
            raise ModelFileError(f"{folder} holds no merged Moonshine decoder")
        _, self._heads, _, self._head_size = inputs[self._token_cache[0]]

    def encode(self, audio: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Read audio.

        Args:
            audio: shape (n,), n at least `MIN_SAMPLES`, in [-1, 1], 16 kHz.

        Returns:
            What `begin` wants.
        """
        mask = np.ones((1, len(audio)), np.int64)
        feeds: dict[str, NDArray[Any]] = {
            "input_values": audio[np.newaxis],
            "attention_mask": mask,
        }
        (hidden,) = inference.run(self._encoder, ["last_hidden_state"], feeds)
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}

    def begin(
        self, encoded: dict[str, NDArray[Any]], tokens: Sequence[int]
    ) -> tuple[Logits, DecoderState]:
        """Read a first run of tokens in one pass.

        Args:
            encoded: from `encode`.
            tokens: `START_TOKEN` and any that are taken to follow it.

        Returns:
            Logits, shape (len(tokens), vocabulary): row i is about the token after tokens[i]. And
            the state.
        """
        empty: NDArray[Any] = np.zeros((1, self._heads, 0, self._head_size), np.float32)
        feeds: dict[str, NDArray[Any]] = {
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
        return logits[0], DecoderState(fixed, {name: values[name] for name in self._token_cache})

    def extend(self, state: DecoderState, tokens: Sequence[int]) -> Logits:
        """Read more tokens into the state, in one pass.

        Returns:
            Logits, shape (len(tokens), vocabulary): row i is about the token after tokens[i].
        """
        feeds = {**state.fixed, **state.cache, "input_ids": np.array([tokens], np.int64)}
        outputs = ["logits", *map(_present, self._token_cache)]
        logits, *present = inference.run(self._decoder, outputs, feeds)
        state.cache = dict(zip(self._token_cache, present, strict=True))
        rows: Logits = logits[0]
        return rows


def _present(past: str) -> str:
    return past.replace("past_key_values", "present", 1)


def _load(folder: Path, name: str, threads: int) -> Any:
    path = next((p for p in (folder / f"{name}.ort", folder / f"{name}.onnx") if p.is_file()), None)
    if path is None:
        raise ModelFileError(f"{folder} holds neither {name}.ort nor {name}.onnx")
    return inference.load(path, threads=threads)
