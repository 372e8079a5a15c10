"""Transcriptions as text, JSON and subtitles, for the command line and the server."""

from __future__ import annotations

import html
import json
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

    Long utterances are cut between words where the model gave word times. Where it gave none the
    utterance is one subtitle, however long: times are never made up.
    """
    for utterance in transcription.utterances:
        if not utterance.text:
            continue
        placed = _place_words(utterance)
        if placed is None:
            yield Cue(utterance.start_s, utterance.end_s, utterance.text)
        else:
            yield from _cut(utterance.text, placed)


@dataclass(frozen=True, slots=True)
class _PlacedWord:
    """A word's part of the utterance's text: characters [start, end), up to the next word."""

    start: int
    end: int
    start_s: float
    end_s: float


def _place_words(utterance: Utterance) -> list[_PlacedWord] | None:
    """Find the words in the text, which alone knows where spaces are; None if they differ."""
    words = utterance.words or ()
    positions = []
    searched = 0
    for word in words:
        position = utterance.text.find(word.text, searched)
        if position < 0:
            return None
        positions.append(position)
        searched = position + len(word.text)
    starts = [0, *positions[1:]]
    ends = [*positions[1:], len(utterance.text)]
    placed = [
        _PlacedWord(start, end, word.start_s, word.end_s)
        for start, end, word in zip(starts, ends, words, strict=False)
    ]
    return placed or None


def _cut(text: str, words: Sequence[_PlacedWord]) -> Iterator[Cue]:
    """Gather words into subtitles, each as long as it may be."""
    first = words[0]
    for word, following in zip(words, [*words[1:], None], strict=True):
        if following is None or not _fits(text, first, following):
            yield Cue(first.start_s, word.end_s, text[first.start : word.end].strip())
            if following is not None:
                first = following


def _fits(text: str, first: _PlacedWord, last: _PlacedWord) -> bool:
    characters = len(text[first.start : last.end].strip())
    return characters <= CUE_CHARACTERS and last.end_s - first.start_s <= CUE_S


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
    total_ms = round(seconds * 1000)
    total_s, ms = divmod(total_ms, 1000)
    minutes, s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{s:02}{decimal_mark}{ms:03}"


def _wrap(text: str) -> str:
    """Break into lines. An empty line would end the subtitle; wrapping leaves none."""
    return "\n".join(textwrap.wrap(text, LINE_CHARACTERS))


_RENDERERS: dict[Format, Callable[[Transcription], str]] = {
    "text": _render_text,
    "json": _render_json,
    "srt": _render_srt,
    "vtt": _render_vtt,
}
