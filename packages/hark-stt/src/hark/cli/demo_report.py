"""The demo's closing table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hark.cli.demo_stream import Measurements
from hark.cli.measures import NORMALIZER, Spread, word_errors


def report(
    measurements: Measurements,
    duration_s: float,
    reference: str | None,
    *,
    model: str,
    mode: str,
) -> RenderableType:
    """Sum up a stream.

    Args:
        measurements: of the stream.
        duration_s: of the recording.
        reference: what was said; None where nobody knows.
        model: that recognised.
        mode: where it ran.
    """
    finals = Spread.of([u.latency_s for u in measurements.utterances if u.latency_s is not None])
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("model", model),
        ("mode", mode),
        ("audio", f"{duration_s:.1f} s"),
        ("utterances", str(len(measurements.utterances))),
        ("WER", _wer(reference, measurements.text)),
        ("final latency", _spread(finals)),
        ("interim latency", _spread(Spread.of(measurements.interim_latencies_s))),
    ):
        table.add_row(Text(name, style="bold"), Text(value))
    notes = Text(
        "\nFinal latency: from an utterance's last speech going in to its final coming out; it\n"
        "includes the silence that has to pass before an utterance counts as over. Interim\n"
        "latency: age of the newest audio that an interim knows, when it comes out.",
        style="dim",
    )
    return Group(Text(), table, notes)


def _wer(reference: str | None, text: str) -> str:
    if reference is None:
        return "unknown: give --reference"
    result = word_errors(reference, text)
    if result is None:
        return "unknown: the reference has no words"
    return f"{result.rate:.1%} ({result.errors} errors in {result.words} words; {NORMALIZER})"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "unknown"
    return (
        f"median {spread.median_s * 1000:.0f} ms, p95 {spread.p95_s * 1000:.0f} ms "
        f"(of {spread.count})"
    )
