"""From what was played and what came back to figures. Definitions: docs/benchmarks.md."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from hark.bench.contestant import Heard
from hark.bench.play import Played
from hark.bench.recordings import Spoken

LEAST_OVERLAP_S = 0.15
"""A result speaks of an utterance if it shares so many seconds with it: less is padding."""

NORMALIZER = "whisper-normalizer, English"

_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True, slots=True)
class Spread:
    """Several times in few numbers, in seconds; each is one of the times (nearest rank).

    Attributes:
        p50_s, p95_s, p99_s: so many percent are not longer; infinite where that one never came.
        count: how many there are.
    """

    p50_s: float
    p95_s: float
    p99_s: float
    count: int

    @classmethod
    def of(cls, times_s: Iterable[float]) -> Spread | None:
        """Sum up; None if there is nothing to sum up."""
        ordered = sorted(times_s)
        if not ordered:
            return None
        p50, p95, p99 = (ordered[math.ceil(p * len(ordered)) - 1] for p in (0.5, 0.95, 0.99))
        return cls(p50, p95, p99, len(ordered))


@dataclass(frozen=True, slots=True)
class Measures:
    """What a run of several streams was like.

    Latencies and intervals are of utterances that end while all streams play; what is lost and the
    words are of everything that was played.

    Attributes:
        utterances: known ones that were played.
        lost: those of them without a final that has text.
        failures: streams that broke off, and why.
        ends_are_known: whether the final latency counts from ends of speech that are known; if not,
            from the ends that the contestant itself gives its finals, and no utterance is known.
        final: from the end of the speech to the last final of its utterance; infinite without one.
        preflight: to its last preflight, of utterances that have one.
        word: from the end of a word to the first result that shows it.
        words_unseen: part of the known words that no result showed.
        interval: between results while somebody speaks, from the first speech to its end; None if
            there are no interims at all.
        retracting: part of the interims and preflights that take back words of the one before.
        retracted_words: words taken back for each word of the finals.
        wer: word error rate after `NORMALIZER`; None where the text is not known.
        words: words in the reference.
        late_p99_s: how late chunks were handed over: the load itself must be on time.
    """

    utterances: int
    lost: int
    failures: tuple[str, ...]
    ends_are_known: bool
    final: Spread | None
    preflight: Spread | None
    word: Spread | None
    words_unseen: float | None
    interval: Spread | None
    retracting: float | None
    retracted_words: float | None
    wer: float | None
    words: int
    late_p99_s: float


def measure(streams: Sequence[Played], steady_from_s: float, steady_until_s: float) -> Measures:
    """Measure a run.

    Args:
        streams: as they were played.
        steady_from_s: since when all of them played, on the clock of `Played.start_s`.
        steady_until_s: until when they did.
    """
    finals: list[float] = []
    preflights: list[float] = []
    words: list[float | None] = []
    intervals: list[float] = []
    utterances = lost = 0
    for played in streams:
        for spoken, heard in matched(played):
            utterances += 1
            latency = final_latency_s(spoken, heard)
            lost += latency == math.inf
            if not steady_from_s <= played.start_s + spoken.end_s <= steady_until_s:
                continue
            finals.append(latency)
            preflights += preflight_latency_s(spoken, heard)
            words += word_latencies_s(spoken, heard)
            intervals += intervals_s(spoken, heard)
    ends_are_known = utterances > 0
    if not ends_are_known:
        finals = [
            heard.at_s - heard.end_s
            for played in streams
            for heard in played.heard
            if heard.kind == "final"
            and steady_from_s <= played.start_s + heard.end_s <= steady_until_s
        ]
    retractions = Retractions.of(played.heard for played in streams)
    errors, reference_words = word_errors(streams)
    seen = [latency for latency in words if latency is not None]
    late = Spread.of(late for played in streams for late in played.late_s)
    return Measures(
        utterances=utterances,
        lost=lost,
        failures=tuple(played.failure for played in streams if played.failure is not None),
        ends_are_known=ends_are_known,
        final=Spread.of(finals),
        preflight=Spread.of(preflights),
        word=Spread.of(seen),
        words_unseen=1 - len(seen) / len(words) if words else None,
        interval=Spread.of(intervals) if retractions.interims else None,
        retracting=retractions.share,
        retracted_words=retractions.words_per_final_word,
        wer=errors / reference_words if errors is not None and reference_words else None,
        words=reference_words,
        late_p99_s=late.p99_s if late else 0.0,
    )


def matched(played: Played) -> Iterator[tuple[Spoken, list[Heard]]]:
    """Each known utterance with the results that speak of it, in order."""
    for spoken in played.script.spoken:
        yield spoken, [heard for heard in played.heard if _overlaps(spoken, heard)]


def _overlaps(spoken: Spoken, heard: Heard) -> bool:
    shared = min(spoken.end_s, heard.end_s) - max(spoken.start_s, heard.start_s)
    least = min(LEAST_OVERLAP_S, heard.end_s - heard.start_s, spoken.end_s - spoken.start_s)
    return shared > 0 and shared >= least


def final_latency_s(spoken: Spoken, heard: Sequence[Heard]) -> float:
    """From the end of the speech to the last final with text that speaks of it.

    An utterance that is split is there when its last part is, and one that is merged with another
    when both are. Infinite without a final.
    """
    finals = [one.at_s for one in heard if one.kind == "final" and one.text.strip()]
    return max(finals) - spoken.end_s if finals else math.inf


def preflight_latency_s(spoken: Spoken, heard: Sequence[Heard]) -> list[float]:
    """From the end of the speech to the last preflight that speaks of it; empty without one."""
    preflights = [one.at_s for one in heard if one.kind == "preflight"]
    return [max(preflights) - spoken.end_s] if preflights else []


def word_latencies_s(spoken: Spoken, heard: Sequence[Heard]) -> list[float | None]:
    """From the end of each known word to the first result that shows it; None if none does."""
    said = [" ".join(tokens(word.text)) for word in spoken.words]
    latencies: list[float | None] = [None] * len(said)
    for result in heard:
        # What is not said yet cannot be shown: it was another word of that spelling.
        begun = sum(word.start_s <= result.at_s for word in spoken.words)
        matcher = SequenceMatcher(None, said[:begun], tokens(result.text), autojunk=False)
        for first, _, size in matcher.get_matching_blocks():
            for number in range(first, first + size):
                if latencies[number] is None:
                    latencies[number] = result.at_s - spoken.words[number].end_s
    return latencies


def intervals_s(spoken: Spoken, heard: Sequence[Heard]) -> list[float]:
    """Times without a result within the speech: before the first, between them, after the last."""
    inside = (one.at_s for one in heard if spoken.start_s < one.at_s < spoken.end_s)
    return [later - earlier for earlier, later in pairwise((spoken.start_s, *inside, spoken.end_s))]


@dataclass(frozen=True, slots=True)
class Retractions:
    """How often results take back words.

    Attributes:
        interims: interims and preflights.
        retracting: those that take back a word of the one before, of the same utterance.
        words: words that were taken back, by finals too.
        final_words: words of the finals.
    """

    interims: int
    retracting: int
    words: int
    final_words: int

    @classmethod
    def of(cls, streams: Iterable[Sequence[Heard]]) -> Retractions:
        """Count over several streams; a result replaces all since the last final."""
        interims = retracting = words = final_words = 0
        for heard in streams:
            before: list[str] = []
            for result in heard:
                now = tokens(result.text)
                taken_back = len(before) - _kept(before, now)
                words += taken_back
                if result.kind == "final":
                    final_words += len(now)
                    before = []
                else:
                    interims += 1
                    retracting += taken_back > 0
                    before = now
        return cls(interims, retracting, words, final_words)

    @property
    def share(self) -> float | None:
        """Part of the interims that take back words; None without interims."""
        return self.retracting / self.interims if self.interims else None

    @property
    def words_per_final_word(self) -> float | None:
        """None without an interim or a word."""
        return self.words / self.final_words if self.interims and self.final_words else None


def _kept(before: Sequence[str], now: Sequence[str]) -> int:
    matcher = SequenceMatcher(None, before, now, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())


def tokens(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return _WORD.findall(text.lower())


def word_errors(streams: Sequence[Played]) -> tuple[int | None, int]:
    """Wrong words and reference words of all streams; None where a text is not known.

    Needs the extra `bench`.
    """
    import jiwer
    from whisper_normalizer.english import EnglishTextNormalizer

    normalize = EnglishTextNormalizer()
    said = [played.script.text for played in streams]
    if not said or not all(said):
        return None, 0
    references = [normalize(text) for text in said if text is not None]
    found = [
        normalize(" ".join(one.text for one in played.heard if one.kind == "final"))
        for played in streams
    ]
    output = jiwer.process_words(references, found)
    words = output.hits + output.substitutions + output.deletions
    return output.substitutions + output.deletions + output.insertions, words
