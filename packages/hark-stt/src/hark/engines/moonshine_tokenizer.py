"""Moonshine's `tokenizer.bin`: from token numbers to text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hark.errors import ModelFileError

_WORD_START = "\u2581".encode()


class MoonshineTokenizer:
    """The vocabulary of a Moonshine model, in the order of its token numbers.

    The file is a sequence of byte strings, each after its length. A length under 128 takes one
    byte; a longer one takes two, the low seven bits first, with the top bit of the first byte set.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ModelFileError: it is missing or cut short.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
        try:
            self._pieces = _split(data)
        except IndexError:
            raise ModelFileError(f"{path} is not a Moonshine tokenizer, or is cut short") from None

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def pieces(self) -> Sequence[bytes]:
        """What each token stands for, in UTF-8; U+2581 is a space."""
        return self._pieces

    def decode(self, tokens: Sequence[int]) -> str:
        """Join tokens to text, without leading or trailing space.

        Bytes that are no UTF-8, as when the text was cut inside a character, become U+FFFD.
        """
        text = b"".join(self._pieces[token] for token in tokens).replace(_WORD_START, b" ")
        return text.decode("utf-8", "replace").strip()


def _split(data: bytes) -> list[bytes]:
    pieces = []
    position = 0
    while position < len(data):
        length = data[position]
        position += 1
        if length >= 128:
            length += 128 * (data[position] - 1)
            position += 1
        end = position + length
        if end > len(data):
            raise IndexError
        pieces.append(data[position:end])
        position = end
    return pieces
