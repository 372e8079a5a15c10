"""The outcome of a benchmark, and how it is shown: rows for tables, Markdown, JSON."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from hark.bench.measures import NORMALIZER, Spread
from hark.bench.ramp import capacity
from hark.bench.step import Step
from hark.cores import usable_cores

UNKNOWN = "-"

UNKNOWN_ENDS = (
    "nobody knows where the speech in these recordings ends: the final latency counts from the end "
    "that each final itself gives, so the silence that ends an utterance is in it only in part"
)


@dataclass(frozen=True, slots=True)
class Result:
    """What one contestant came to.

    Attributes:
        name: of the contestant.
        settings: its versions and settings.
        steps: in the order in which they ran.
        problem: why it could not be measured, or not to the end; None if it could.
    """

    name: str
    settings: Mapping[str, str]
    steps: Sequence[Step]
    problem: str | None = None

    def capacity(self, promise_s: float) -> int:
        """The most streams that kept the promise; 0 for none."""
        return capacity({step.streams: step.keeps(promise_s) for step in self.steps})


@dataclass(frozen=True, slots=True)
class Report:
    """A whole benchmark.

    Attributes:
        settings: what was played and how, for people.
        machine: where.
        promise_s: longest p95 of the final latency, in seconds.
        results: one for each contestant.
    """

    settings: Mapping[str, str]
    machine: Mapping[str, str]
    promise_s: float
    results: Sequence[Result]

    def json(self) -> bytes:
        """Everything, as JSON; what never came is null."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def markdown(self) -> str:
        """The tables, and how they came about."""
        lines = ["# Latency and capacity", ""]
        lines += [f"- {name}: {value}" for name, value in {**self.machine, **self.settings}.items()]
        if len(self.results) > 1:
            lines += ["", *_table(SUMMARY_TITLES, [self._summary(one) for one in self.results])]
        for result in self.results:
            lines += ["", f"## {result.name}", ""]
            lines += [f"- {name}: {value}" for name, value in result.settings.items()]
            lines.append(f"- {verdict(result, self.promise_s)}")
            if not all(step.measures.ends_are_known for step in result.steps):
                lines.append(f"- {UNKNOWN_ENDS}")
            lines.append("")
            if result.steps:
                titles = [column.title for column in COLUMNS]
                lines += _table(titles, [cells(step) for step in result.steps])
        return "\n".join(lines) + "\n"

    def _summary(self, result: Result) -> list[str]:
        by_streams = {step.streams: step for step in result.steps}
        if not by_streams:
            return [result.name, *[UNKNOWN] * (len(SUMMARY_TITLES) - 1)]
        capacity = result.capacity(self.promise_s)
        least, most = by_streams[min(by_streams)], by_streams.get(capacity)
        return [
            result.name,
            str(capacity),
            f"{_ms(least.measures.final, 'p50_s', 'p95_s')} ({least.streams})",
            UNKNOWN if most is None else _ms(most.measures.final, "p50_s", "p95_s"),
            UNKNOWN if most is None else _ms(most.measures.interval, "p95_s"),
            _number(least.measures.wer, ".1%"),
            UNKNOWN if most is None else _number(most.usage.peak_mb, ".0f"),
        ]


def in_one_line(step: Step) -> str:
    """A step for somebody who waits for the rest."""
    final = f"final {_ms(step.measures.final, 'p50_s', 'p95_s')} ms (p50 / p95)"
    lost = f"{step.measures.lost} of {step.measures.utterances} lost"
    cores = f"{_number(step.usage.server_cores, '.2f')} cores"
    return f"{_streams(step)} streams, {final}, {lost}, {cores}"


def verdict(result: Result, promise_s: float) -> str:
    """One sentence on a contestant."""
    if result.problem is not None:
        return f"not measured to the end: {result.problem}"
    return (
        f"capacity: {result.capacity(promise_s)} streams with a p95 of the final latency of at "
        f"most {promise_s:g} s"
    )


def describe_machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "machine": f"{_processor()}, {usable_cores()} cores, "
        f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "words": NORMALIZER,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the tables."""

    title: str
    cell: Callable[[Step], str]


def cells(step: Step) -> list[str]:
    """A step as a row under `COLUMNS`."""
    return [column.cell(step) for column in COLUMNS]


SUMMARY_TITLES = (
    "",
    "capacity, streams",
    "final p50 / p95, ms, at fewest streams",
    "at capacity",
    "interim every p95, ms, at capacity",
    "WER at fewest streams",
    "MB at capacity",
)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (titles, ["---:"] * len(titles), *rows)]


def _ms(spread: Spread | None, *names: str) -> str:
    if spread is None:
        return UNKNOWN
    times = [getattr(spread, name) for name in names]
    return " / ".join("never" if time == math.inf else f"{1000 * time:.0f}" for time in times)


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _in_ms(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{1000 * seconds:.0f}"


def _streams(step: Step) -> str:
    return str(step.streams) if step.is_valid else f"{step.streams} (load late)"


COLUMNS = (
    Column("streams", _streams),
    Column("final p50 / p95 / p99, ms", lambda s: _ms(s.measures.final, "p50_s", "p95_s", "p99_s")),
    Column("preflight p50, ms", lambda s: _ms(s.measures.preflight, "p50_s")),
    Column("word p50 / p95, ms", lambda s: _ms(s.measures.word, "p50_s", "p95_s")),
    Column("interim every p50 / p95, ms", lambda s: _ms(s.measures.interval, "p50_s", "p95_s")),
    Column("retracting", lambda s: _number(s.measures.retracting, ".0%")),
    Column("words taken back", lambda s: _number(s.measures.retracted_words, ".2f")),
    Column("WER", lambda s: _number(s.measures.wer, ".1%")),
    Column("lost", lambda s: f"{s.measures.lost} of {s.measures.utterances}"),
    Column("failed", lambda s: str(len(s.measures.failures))),
    Column("cores", lambda s: _number(s.usage.server_cores, ".2f")),
    Column("load", lambda s: _number(s.usage.client_cores, ".2f")),
    Column("others", lambda s: _number(s.usage.other_cores, ".2f")),
    Column("MB", lambda s: _number(s.usage.peak_mb, ".0f")),
    Column("loop lag p99, ms", lambda s: _in_ms(s.usage.server_lag_p99_s)),
    Column("load lag p99, ms", lambda s: _in_ms(s.usage.client_lag_p99_s)),
)
