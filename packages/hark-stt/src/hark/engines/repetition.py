"""Loops: what a decoder writes when it has lost the audio, the same few tokens over and over."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PERIOD = 8
"""Tokens in the longest block whose repetition is looked for."""

MIN_REPEATS = 4
"""How often a block must come in a row. People do say a word three times."""


def loop_start(tokens: Sequence[int]) -> int | None:
    """Where the text begins to repeat itself without end.

    Returns:
        How many tokens precede the first repeat of a block that then fills the rest of the text,
        the last time perhaps only in part; None if the text does not end so.
    """
    for period in range(1, MAX_PERIOD + 1):
        start = len(tokens)
        while start > period and tokens[start - 1] == tokens[start - 1 - period]:
            start -= 1
        if len(tokens) - start >= period * (MIN_REPEATS - 1):
            return start
    return None
