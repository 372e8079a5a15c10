"""Recordings of which is known what is said in them and when.

A manifest is a JSON Lines file beside the recordings. Each line has `path` (from the manifest's
folder), and may have `set` (a name for several recordings), `text`, `segments` (a list of `start`,
`end` in seconds and perhaps `text`: one for each utterance) and `words` (a list of [word, start,
end]). What it does not have is not measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hark.audio import SAMPLE_RATE, PcmArray, read_audio
from hark.errors import HarkError

MANIFEST = "manifest.jsonl"


class RecordingsError(HarkError):
    """The recordings or their manifest cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word and where it is said, in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance as it really is.

    Attributes:
        start_s: where its speech begins.
        end_s: where its speech ends: the zero of the final latency.
        text: what is said; None where nobody knows.
        words: what is said and when; empty where nobody knows.
    """

    start_s: float
    end_s: float
    text: str | None
    words: tuple[SpokenWord, ...] = ()

    def later(self, seconds: float) -> Spoken:
        """The same, said so much later."""
        words = tuple(
            SpokenWord(word.text, word.start_s + seconds, word.end_s + seconds)
            for word in self.words
        )
        return Spoken(self.start_s + seconds, self.end_s + seconds, self.text, words)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a recording that can be played by itself: it starts and ends in silence.

    Attributes:
        samples: shape (n,), 16 kHz.
        spoken: what is said in it, its times from the start of the piece; empty where unknown.
        text: all that is said in it; None where nobody knows.
    """

    samples: PcmArray
    spoken: tuple[Spoken, ...]
    text: str | None

    @property
    def duration_s(self) -> float:
        """How long it takes to play."""
        return len(self.samples) / SAMPLE_RATE


def read_set(folder: Path, set_name: str) -> list[list[Piece]]:
    """The recordings of a set, each cut into its utterances where they are known.

    Raises:
        RecordingsError: there is no manifest, or nothing of that set in it.
        AudioError: a recording cannot be read.
    """
    manifest = folder / MANIFEST
    rows = [row for row in _rows(manifest) if row.get("set") == set_name]
    if not rows:
        names = sorted({str(row["set"]) for row in _rows(manifest) if _has_ends(row)})
        raise RecordingsError(
            f"{manifest} has no set {set_name!r}; with known ends of speech it has: "
            f"{', '.join(names) or 'none'}"
        )
    return [_cut(read_audio(folder / row["path"]), row) for row in rows]


def read_files(paths: Sequence[Path]) -> list[list[Piece]]:
    """Recordings, with what a manifest beside them knows of each.

    Raises:
        RecordingsError: a manifest beside them cannot be read.
        AudioError: a recording cannot be read.
    """
    recordings = []
    for path in paths:
        manifest = path.parent / MANIFEST
        rows = _rows(manifest) if manifest.is_file() else ()
        known = next((row for row in rows if row["path"] == path.name), {})
        recordings.append(_cut(read_audio(path), known))
    return recordings


def _rows(manifest: Path) -> list[dict[str, Any]]:
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError:
        raise RecordingsError(
            f"there is no {manifest.name} in {manifest.parent}; name recordings instead, or the "
            "folder with HARK_SPEECH_DIR"
        ) from None
    except (OSError, ValueError) as error:
        raise RecordingsError(f"{manifest} cannot be read ({type(error).__name__})") from None
    if not all(isinstance(row, dict) and "path" in row for row in rows):
        raise RecordingsError(f'{manifest} has a line that is no object with a "path"')
    return rows


def _has_ends(row: dict[str, Any]) -> bool:
    return bool(row.get("segments") or row.get("words"))


def _cut(samples: PcmArray, row: dict[str, Any]) -> list[Piece]:
    """Cut a recording in the middle of each pause between two utterances that are known."""
    text = row.get("text")
    spoken = list(_spoken(row))
    if len(spoken) < 2 or any(one.text is None for one in spoken):
        return [Piece(samples, tuple(spoken), text)]
    middles = [
        round((one.end_s + next_one.start_s) / 2 * SAMPLE_RATE)
        for one, next_one in pairwise(spoken)
    ]
    starts, ends = [0, *middles], [*middles, len(samples)]
    return [
        Piece(samples[start:end], (one.later(-start / SAMPLE_RATE),), one.text)
        for one, start, end in zip(spoken, starts, ends, strict=True)
    ]


def _spoken(row: dict[str, Any]) -> Iterable[Spoken]:
    words = tuple(SpokenWord(text, start, end) for text, start, end in row.get("words") or ())
    segments = row.get("segments")
    if segments:
        for segment in segments:
            start, end = segment["start"], segment["end"]
            inside = tuple(word for word in words if start <= word.start_s < end)
            yield Spoken(start, end, segment.get("text"), inside)
    elif words:
        # A recording of one utterance: its words say where it ends.
        yield Spoken(words[0].start_s, words[-1].end_s, row.get("text"), words)
