"""What each stream plays: pieces of the recordings in a row, each stream in another place."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from hark.audio import SAMPLE_RATE, PcmArray
from hark.bench.recordings import Piece, Spoken

PAUSE_S = 1.0
"""Silence added between two recordings, which may begin and end with speech, in seconds."""

TAIL_S = 2.0
"""Silence at the end of a stream, so that its last utterance ends as the others do, in seconds."""

NOISE_AMPLITUDE = 8
"""Of the silence that is added, in steps of 16 bits: -72 dBFS. Digital silence is not a room."""


class Script(Piece):
    """All that one stream plays: pieces, one after the other."""


def write_scripts(
    recordings: Sequence[Sequence[Piece]], streams: int, seconds: float, seed: int
) -> list[Script]:
    """Write a script for each stream; the same arguments give the same scripts.

    Stream by stream takes the next recording and begins at a piece of it that is drawn, so that
    streams which play the same one do not speak at the same time.

    Args:
        recordings: in pieces; at least one.
        streams: how many scripts.
        seconds: a script ends with the first piece that reaches so far, or in the middle of it if
            nothing is known of it.
        seed: of what is drawn.
    """
    draw = random.Random(seed)
    return [_write(recordings, number, seconds, draw) for number in range(streams)]


def _write(
    recordings: Sequence[Sequence[Piece]], number: int, seconds: float, draw: random.Random
) -> Script:
    parts: list[PcmArray] = []
    spoken: list[Spoken] = []
    texts: list[str | None] = []
    length = 0

    def append(samples: PcmArray) -> None:
        nonlocal length
        parts.append(samples)
        length += len(samples)

    first = draw.randrange(len(recordings[number % len(recordings)]))
    while length < seconds * SAMPLE_RATE:
        recording = recordings[number % len(recordings)]
        for whole in recording[first:]:
            piece = _cut(whole, round(seconds * SAMPLE_RATE) - length)
            spoken += [one.later(length / SAMPLE_RATE) for one in piece.spoken]
            texts.append(piece.text)
            append(piece.samples)
            if length >= seconds * SAMPLE_RATE:
                break
        append(_silence(PAUSE_S, draw))
        number, first = number + 1, 0
    append(_silence(TAIL_S, draw))
    known = [text for text in texts if text is not None]
    text = " ".join(known) if len(known) == len(texts) else None
    return Script(np.concatenate(parts), tuple(spoken), text)


def _cut(piece: Piece, samples: int) -> Piece:
    """A piece of which nothing is known, to so many samples at most; others as they are."""
    if piece.spoken or len(piece.samples) <= samples:
        return piece
    return Piece(piece.samples[:samples], (), None)


def _silence(seconds: float, draw: random.Random) -> PcmArray:
    noise = np.random.default_rng(draw.randrange(2**32))
    samples = noise.integers(
        -NOISE_AMPLITUDE, NOISE_AMPLITUDE, round(seconds * SAMPLE_RATE), endpoint=True
    )
    return samples.astype(np.int16)
