"""What the end-of-turn model makes of endpointing, beside fixed silences, as a Markdown table.

    python benchmarks/end_of_turn.py --speech FOLDER

hears recordings of which is known where their utterances end (see `hark.bench.recordings`), or that
are one utterance each, as an ear does: no words are recognised. An utterance is cut when more than
one is heard in it, and joined when it is heard as one with the next. What was waited for is the
silence between the last speech and the decision. The last two columns are the shares of the ends,
and of the pauses within utterances, that the model takes for ends (0.5 or more). It is asked at
pauses of half of the shorter silence, or of 300 ms where that is less. Where the times of words are
known, silence is also put between words that are said in one breath.

Needs the model: `hark models download smart-turn-v3.2`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

import numpy as np
import typer
from speech_sets import SpeechFolder

from hark.audio import SAMPLE_RATE, PcmArray
from hark.bench.recordings import Piece, Spoken, read_set
from hark.ear import Ear
from hark.endpointing import EndpointingOptions, SpeechEnded, SpeechStarted
from hark.engines.smart_turn import SmartTurn, smart_turn
from hark.errors import HarkError
from hark.vad import WINDOW, silero_model

SETS = ("turns_test_clean", "ls_word_aligned", "librispeech_test_clean", "librispeech_test_other")

SILENCES_MS = ((300, 0), (400, 0), (600, 0), (800, 0), (200, 800), (300, 1_000), (400, 1_200))
"""Pairs of `silence_ms` and `max_silence_ms`; 0 asks no model."""

LONGEST_MS = 30_000
"""Longer utterances are cut in any case; there are none in the sets."""

JOINT_S = 0.03
"""Words with no more between them are said in one breath."""

JOINTS_STEP = 10
"""Every so many of these places are taken."""

SILENCE_AFTER_S = 2.0
"""After each recording, so that its last utterance ends."""


class Timed:
    """The model, with what it said and how long it took. Satisfies `EndOfTurnModel`."""

    def __init__(self, model: SmartTurn) -> None:
        self._model = model
        self.probabilities: list[float] = []
        self.seconds: list[float] = []

    def finished(self, audio: PcmArray) -> float:
        began = time.perf_counter()
        self.probabilities.append(self._model.finished(audio))
        self.seconds.append(time.perf_counter() - began)
        return self.probabilities[-1]


@dataclass(frozen=True)
class Span:
    """An utterance as it was heard, in seconds; and what the model said of each of its pauses."""

    start_s: float
    speech_end_s: float
    decided_s: float
    probabilities: tuple[float, ...]


@dataclass
class Figures:
    """What a setting made of a set."""

    utterances: int = 0
    cut: int = 0
    joined: int = 0
    waited_s: list[float] = field(default_factory=list)
    at_ends: list[float] = field(default_factory=list)
    within: list[float] = field(default_factory=list)


def listen(samples: PcmArray, options: EndpointingOptions, model: Timed) -> list[Span]:
    """Hear a recording window by window, to know when each decision falls."""
    ear = Ear(SAMPLE_RATE, silero_model())
    ear.endpointer.options = options
    ear.end_of_turn = model
    spans, start, first = [], 0, 0
    for i in range(0, len(samples), WINDOW):
        for event in ear.push(samples[i : i + WINDOW]):
            if isinstance(event, SpeechStarted):
                start, first = event.start, len(model.probabilities)
            elif isinstance(event, SpeechEnded):
                positions = (start, event.speech_end, ear.audio.end)
                seconds = (position / SAMPLE_RATE for position in positions)
                spans.append(Span(*seconds, tuple(model.probabilities[first:])))
    return spans


def utterances_of(pieces: Sequence[Piece]) -> list[Spoken]:
    """Where they begin and end in the whole recording; all of it is one where nobody knows."""
    utterances, offset_s = [], 0.0
    for piece in pieces:
        known = piece.spoken or (Spoken(0.0, piece.duration_s, piece.text),)
        utterances += [one.later(offset_s) for one in known]
        offset_s += piece.duration_s
    return utterances


def measure(
    recordings: Iterable[Sequence[Piece]], options: EndpointingOptions, model: Timed
) -> Figures:
    """Compare what is heard with what is known."""
    figures = Figures()
    silence = np.zeros(int(SILENCE_AFTER_S * SAMPLE_RATE), np.int16)
    for pieces in recordings:
        utterances = utterances_of(pieces)
        spans = listen(
            np.concatenate([*(piece.samples for piece in pieces), silence]), options, model
        )
        nexts = [*(one.start_s for one in utterances[1:]), float("inf")]
        for utterance, next_s in zip(utterances, nexts, strict=True):
            compare(utterance, next_s, spans, figures)
    return figures


def compare(utterance: Spoken, next_s: float, spans: Sequence[Span], figures: Figures) -> None:
    heard = [
        span
        for span in spans
        if span.start_s < utterance.end_s and span.speech_end_s > utterance.start_s
    ]
    figures.utterances += 1
    figures.cut += len(heard) > 1
    if not heard:
        return
    *before, last = heard
    if last.speech_end_s > next_s:
        figures.joined += 1
        return
    figures.waited_s.append(last.decided_s - last.speech_end_s)
    for span in before:
        figures.within += span.probabilities
    figures.within += last.probabilities[:-1]
    figures.at_ends += last.probabilities[-1:]


def broken_off(pieces: Iterable[Piece], model: Timed) -> list[float]:
    """What the model says where silence falls between two words that are said in one breath."""
    joints = [
        piece.samples[: int(word.end_s * SAMPLE_RATE)]
        for piece in pieces
        for one in piece.spoken
        for word, next_word in pairwise(one.words)
        if next_word.start_s - word.end_s < JOINT_S
    ]
    silence = np.zeros(SILENCES_MS[0][0] // 2 * SAMPLE_RATE // 1000, np.int16)
    chosen = joints[JOINTS_STEP // 2 :: JOINTS_STEP]
    return [model.finished(np.concatenate((joint, silence))) for joint in chosen]


def together(all_figures: Iterable[Figures]) -> Figures:
    total = Figures()
    for figures in all_figures:
        total.utterances += figures.utterances
        total.cut += figures.cut
        total.joined += figures.joined
        total.waited_s += figures.waited_s
        total.at_ends += figures.at_ends
        total.within += figures.within
    return total


def share_cut(figures: Figures) -> str:
    return f"{figures.cut / figures.utterances:.0%}"


def share_finished(probabilities: Sequence[float]) -> str:
    if not probabilities:
        return "-"
    return f"{sum(p >= 0.5 for p in probabilities) / len(probabilities):.0%}"


def row(silence_ms: int, max_silence_ms: int, all_figures: Sequence[Figures]) -> list[str]:
    total = together(all_figures)
    return [
        f"{silence_ms} to {max_silence_ms} ms" if max_silence_ms else f"{silence_ms} ms",
        *map(share_cut, all_figures),
        share_cut(total),
        str(total.joined),
        f"{statistics.median(total.waited_s):.2f} s",
        f"{statistics.mean(total.waited_s):.2f} s",
        f"{statistics.quantiles(total.waited_s, n=20)[-1]:.2f} s",
        share_finished(total.at_ends),
        share_finished(total.within),
    ]


def print_row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |")


def main(
    speech: SpeechFolder,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="A set of the folder; several may be given.")
    ] = None,
) -> None:
    """Measure what the end-of-turn model changes."""
    names = sets or list(SETS)
    try:
        model = smart_turn()
        recordings = {name: read_set(speech, name) for name in names}
    except HarkError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    timed = Timed(model)
    results: dict[tuple[int, int], list[Figures]] = {}
    for silence_ms, max_silence_ms in SILENCES_MS:
        print(f"{silence_ms} to {max_silence_ms} ms", file=sys.stderr)
        options = EndpointingOptions(
            silence_ms=silence_ms, max_silence_ms=max_silence_ms, max_utterance_ms=LONGEST_MS
        )
        results[silence_ms, max_silence_ms] = [
            measure(recordings[name], options, timed) for name in names
        ]
    cut = [f"cut: {name}" for name in names]
    print_row(
        ["silence", *cut, "cut: all", "joined", "waited p50", "mean", "p95", "ends", "pauses"]
    )
    print_row(["---"] + ["---:"] * (len(names) + 7))
    for silences, all_figures in results.items():
        print_row(row(*silences, all_figures))
    pieces = [piece for name in names for recording in recordings[name] for piece in recording]
    broken = broken_off(pieces, timed)
    print(f"\nBroken off at {len(broken)} joints of words: {share_finished(broken)} finished.")
    print(f"An answer took {statistics.median(timed.seconds) * 1000:.0f} ms (median).")


if __name__ == "__main__":
    typer.run(main)
