"""The plots of a benchmark, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hark.bench.measures import Spread
from hark.bench.report import Report
from hark.bench.step import Step

_SIZE_INCHES = (8.0, 4.8)
_DPI = 150

Value = Callable[[Step], float | None]
"""What a line shows of a step; None where there is nothing to show."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: a solid line for each contestant, and perhaps a dotted one beside it."""

    name: str
    title: str
    unit: str
    solid: Value
    dotted: Value | None = None
    is_logarithmic: bool = False


def _p50(spread: Spread | None) -> float | None:
    return None if spread is None else spread.p50_s


def _p95(spread: Spread | None) -> float | None:
    return None if spread is None else spread.p95_s


FINAL = Plot(
    "final-latency",
    "Final latency: p95, dotted p50",
    "seconds",
    lambda step: _p95(step.measures.final),
    lambda step: _p50(step.measures.final),
    is_logarithmic=True,
)

PLOTS = (
    FINAL,
    Plot(
        "interim-interval",
        "Time between interims while somebody speaks: p95, dotted p50",
        "seconds",
        lambda step: _p95(step.measures.interval),
        lambda step: _p50(step.measures.interval),
        is_logarithmic=True,
    ),
    Plot(
        "word-latency",
        "From the end of a word to the first result that shows it: p95, dotted p50",
        "seconds",
        lambda step: _p95(step.measures.word),
        lambda step: _p50(step.measures.word),
        is_logarithmic=True,
    ),
    Plot("cores", "Processor", "cores in use", lambda step: step.usage.server_cores),
    Plot("memory", "Memory", "MB at most", lambda step: step.usage.peak_mb),
)


def draw(report: Report, folder: Path) -> None:
    """Draw every plot for which there are figures. Needs the extra `bench`.

    Raises:
        OSError: a file cannot be written.
    """
    for plot in PLOTS:
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
        for number, result in enumerate(report.results):
            colour = f"C{number}"  # the same in all plots
            drawn = _line(axes, result.steps, plot.solid, "o-", colour, result.name)
            if drawn and plot.dotted is not None:
                _line(axes, result.steps, plot.dotted, "o:", colour, None)
        if not axes.lines:
            continue
        if plot is FINAL:
            axes.axhline(report.promise_s, color="0.5", linestyle="--", label="promise")
        _finish(axes, plot)
        figure.savefig(folder / f"{plot.name}.png", dpi=_DPI)


def _line(
    axes: Axes, steps: Sequence[Step], value: Value, style: str, colour: str, label: str | None
) -> bool:
    """Draw a line; gives whether there was anything to draw."""
    points = sorted(
        (step.streams, shown)
        for step in steps
        if (shown := value(step)) is not None and math.isfinite(shown)
    )
    if points:
        axes.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=4)
    return bool(points)


def _finish(axes: Axes, plot: Plot) -> None:
    axes.set_title(plot.title)
    axes.set_xlabel("streams at once")
    axes.set_ylabel(plot.unit)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    if plot.is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
