"""Transcriptions as text, JSON and subtitles, for the command line and the server."""

from __future__ import annotations

import html
import itertools
import json
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from hark.recognizer import Capabilities
from hark.transcription import TimedWord, Transcription, Utterance

Format = Literal["text", "json", "srt", "vtt"]

FORMATS: tuple[Format, ...] = get_args(Format)

SUBTITLE_FORMATS: frozenset[Format] = frozenset({"srt", "vtt"})
"""These need word times to cut long utterances well."""

MEDIA_TYPES: dict[Format, str] = {
    "text": "text/plain; charset=utf-8",
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}

# Two lines of 42 characters and at most seven seconds: the common house style of subtitles, as in
# Netflix's "Timed Text Style Guide: General Requirements".
LINE_CHARACTERS = 42
CUE_CHARACTERS = 2 * LINE_CHARACTERS
CUE_S = 7.0

_SENTENCE_ENDS = ".!?…。\uff01\uff1f"
_CLAUSE_ENDS = ",;:\u2013—、\uff0c\uff1a\uff1b"
_SPACES_AND_CLOSING_MARKS = " \"')]\u2019”»」』\uff09"

# Chinese and Japanese put no spaces between words, so there words end at these too.
_WIDE_ENDS = "。、\uff01\uff0c\uff1a\uff1b\uff1f"
_WORD = re.compile(rf"[^\s{_WIDE_ENDS}]+[{_WIDE_ENDS}]*|[{_WIDE_ENDS}]+")


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle, shown from `start_s` to `end_s`, in seconds from the start of the audio."""

    start_s: float
    end_s: float
    text: str


def wants_words(format: Format, asked: bool, capabilities: Capabilities) -> bool:
    """Whether to have word times recognised: if they are asked for, or the format is the better.

    Args:
        format: that is going to be rendered.
        asked: whether somebody wants them, whatever the model can do.
        capabilities: of the model.
    """
    return asked or (format in SUBTITLE_FORMATS and capabilities.words)


def render(transcription: Transcription, format: Format) -> str:
    """Write a transcription in one of `FORMATS`; ends with a line break unless it is empty."""
    return _RENDERERS[format](transcription)


def cues(transcription: Transcription) -> Iterator[Cue]:
    """Cut a transcription into subtitles.

    A long utterance is cut between words, near its middle, at the end of a sentence or a clause
    where there is one, and its parts likewise until each fits. Where the model gave no word times,
    when a part starts is estimated from the characters before it, as if the utterance were spoken
    evenly: subtitles have to change some time, and nothing else uses these times.
    """
    for utterance in transcription.utterances:
        words = _place_words(utterance) or _estimate_words(utterance)
        if words:
            yield from _cut(utterance.text, words)


@dataclass(frozen=True, slots=True)
class _PlacedWord:
    """A word's part of the utterance's text: characters [start, end), up to the next word."""

    start: int
    end: int
    start_s: float
    end_s: float


def _place_words(utterance: Utterance) -> list[_PlacedWord]:
    """Find the words in the text, which alone knows where spaces are; none if they differ."""
    words = utterance.words or ()
    positions = []
    searched = 0
    for word in words:
        position = utterance.text.find(word.text, searched)
        if position < 0:
            return []
        positions.append(position)
        searched = position + len(word.text)
    return [
        _PlacedWord(start, end, word.start_s, word.end_s)
        for (start, end), word in zip(_parts(utterance.text, positions), words, strict=True)
    ]


def _estimate_words(utterance: Utterance) -> list[_PlacedWord]:
    """Spread the text evenly over the time of the utterance."""
    positions = [found.start() for found in _WORD.finditer(utterance.text)]
    character_s = (utterance.end_s - utterance.start_s) / max(1, len(utterance.text))
    return [
        _PlacedWord(
            start,
            end,
            utterance.start_s + start * character_s,
            utterance.start_s + end * character_s,
        )
        for start, end in _parts(utterance.text, positions)
    ]


def _parts(text: str, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The parts of a text that begin at these positions; the first is also what is before it."""
    return itertools.pairwise([0, *positions[1:], len(text)] if positions else [])


def _cut(text: str, words: Sequence[_PlacedWord]) -> Iterator[Cue]:
    """Make one subtitle of the words if they fit, else of each half what this makes of it."""
    first, last = words[0], words[-1]
    if len(words) == 1 or _fits(text, first, last):
        yield Cue(first.start_s, last.end_s, text[first.start : last.end].strip())
        return

    def badness(count: int) -> float:
        position = words[count].start
        off_centre = abs(2 * position - first.start - last.end) / (last.end - first.start)
        return off_centre + _break_badness(text[first.start : position])

    count = min(range(1, len(words)), key=badness)
    yield from _cut(text, words[:count])
    yield from _cut(text, words[count:])


def _fits(text: str, first: _PlacedWord, last: _PlacedWord) -> bool:
    characters = len(text[first.start : last.end].strip())
    return characters <= CUE_CHARACTERS and last.end_s - first.start_s <= CUE_S


def _break_badness(before: str) -> float:
    """How bad it is to break after a text; 1 is as bad as breaking at one of its ends."""
    end = before.rstrip(_SPACES_AND_CLOSING_MARKS)[-1:]
    if end and end in _SENTENCE_ENDS:
        return 0.0
    return 0.25 if end and end in _CLAUSE_ENDS else 0.5


def _render_text(transcription: Transcription) -> str:
    return transcription.text + "\n" if transcription.text else ""


def _render_json(transcription: Transcription) -> str:
    document: dict[str, object] = {
        "text": transcription.text,
        "language": transcription.language,
        "duration_s": _rounded(transcription.duration_s),
        "model": transcription.model,
        "utterances": [_utterance_fields(utterance) for utterance in transcription.utterances],
    }
    return json.dumps(_without_none(document), ensure_ascii=False, indent=2) + "\n"


def _utterance_fields(utterance: Utterance) -> dict[str, object]:
    fields: dict[str, object] = {
        "start_s": _rounded(utterance.start_s),
        "end_s": _rounded(utterance.end_s),
        "text": utterance.text,
        "confidence": utterance.confidence,
        "language": utterance.language,
        "words": None if utterance.words is None else [_word_fields(w) for w in utterance.words],
    }
    return _without_none(fields)


def _word_fields(word: TimedWord) -> dict[str, object]:
    fields: dict[str, object] = {
        "text": word.text,
        "start_s": _rounded(word.start_s),
        "end_s": _rounded(word.end_s),
        "confidence": word.confidence,
    }
    return _without_none(fields)


def _without_none(fields: dict[str, object]) -> dict[str, object]:
    # What a model cannot give is absent.
    return {name: value for name, value in fields.items() if value is not None}


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _render_srt(transcription: Transcription) -> str:
    blocks = [
        f"{number}\n{_timing(cue, ',')}\n{_wrap(cue.text.replace('-->', '->'))}\n"
        for number, cue in enumerate(cues(transcription), start=1)
    ]
    return "\n".join(blocks)


def _render_vtt(transcription: Transcription) -> str:
    blocks = [
        f"{_timing(cue, '.')}\n{html.escape(_wrap(cue.text), quote=False)}\n"
        for cue in cues(transcription)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _timing(cue: Cue, decimal_mark: str) -> str:
    return f"{_timestamp(cue.start_s, decimal_mark)} --> {_timestamp(cue.end_s, decimal_mark)}"


def _timestamp(seconds: float, decimal_mark: str) -> str:
    total_ms = math.floor(seconds * 1000 + 0.5)  # not to the even one: the page cannot do that
    total_s, ms = divmod(total_ms, 1000)
    minutes, s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{s:02}{decimal_mark}{ms:03}"


def _wrap(text: str) -> str:
    """Break into lines. An empty line would end the subtitle; wrapping leaves none."""
    pieces = [
        word[start : start + LINE_CHARACTERS]
        for word in text.split()
        for start in range(0, len(word), LINE_CHARACTERS)
    ]
    return textwrap.fill(
        " ".join(pieces), LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False
    )


_RENDERERS: dict[Format, Callable[[Transcription], str]] = {
    "text": _render_text,
    "json": _render_json,
    "srt": _render_srt,
    "vtt": _render_vtt,
}
