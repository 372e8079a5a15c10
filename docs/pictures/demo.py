"""Draws `hark demo` as a moving SVG: a real run, with every interim and final when it came.

Usage: demo.py [FOLDER]. Takes as long as the recording.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from dataclasses import dataclass
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from hark import recording
from hark.audio import SAMPLE_RATE, read_audio
from hark.cli.demo_report import report
from hark.cli.demo_stream import open_stt, stream
from hark.cli.demo_view import DemoView

COLUMNS = 98
COLUMN_PX, LINE_PX, MARGIN_PX = 8.4, 20, 20

COLORS = {"cyan": "#6cd5be", "yellow": "#e8c872"}

# Finals are hidden until their time comes, interims are shown for as long as they held. Who wants
# no motion sees what there is in the end.
STYLE = """
  text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #e8f0ed;
    white-space: pre; }
  .interim { visibility: hidden; }
  @media (prefers-reduced-motion: no-preference) {
    .interim { animation: shown; }
    .final { animation: hidden; }
  }
  @keyframes shown { from, to { visibility: visible; } }
  @keyframes hidden { from, to { visibility: hidden; } }
"""

Line = list[Segment]


@dataclass(frozen=True)
class Shown:
    """Lines that came at a time, in seconds from the start; interims go when the next come."""

    at_s: float
    lines: list[Line]
    is_interim: bool


class Terminal(Console):
    """A terminal that keeps what it is given, and when."""

    def __init__(self) -> None:
        super().__init__(file=StringIO(), width=COLUMNS, highlight=False)
        self.shown: list[Shown] = []
        self._started = time.monotonic()

    def print(self, *objects: Any, **options: Any) -> None:
        """Keep lines, broken as a terminal would."""
        for each in objects:
            self._keep(each, is_interim=False)

    def replace_interim(self, line: Text) -> None:
        """Keep an interim."""
        self._keep(line, is_interim=True)

    def _keep(self, shown: RenderableType, *, is_interim: bool) -> None:
        at_s = time.monotonic() - self._started
        self.shown.append(Shown(at_s, self.render_lines(shown, pad=False), is_interim))


class View(DemoView):
    """A demo's view on such a terminal."""

    def __init__(self, terminal: Terminal, duration_s: float) -> None:
        super().__init__(terminal, duration_s)
        self._terminal = terminal

    def interim(self, start_s: float, text: str, stable: int, latency_s: float) -> None:
        """See `DemoView.interim`."""
        super().interim(start_s, text, stable, latency_s)
        self._terminal.replace_interim(self._interim)


async def run_demo(terminal: Terminal) -> None:
    """Do what `hark demo` does."""
    samples = read_audio(recording.path())
    duration_s = len(samples) / SAMPLE_RATE
    async with open_stt(None, None) as stt:
        terminal.print("[bold]$ hark demo[/]", f"{recording.TITLE} ({duration_s:.1f} s)", "")
        with View(terminal, duration_s) as view:
            measurements = await stream(stt, samples, speed=1, view=view)
        closing = report(measurements, duration_s, recording.TEXT, model=stt.model, mode="embedded")
        terminal.print(closing)


def draw(shown: list[Shown]) -> str:
    """Write the SVG."""
    row = rows = 0
    groups = []
    for each, following in itertools.zip_longest(shown, shown[1:]):
        groups.append(_group(each, row, None if following is None else following.at_s))
        rows = max(rows, row + len(each.lines))
        row += 0 if each.is_interim else len(each.lines)
    width, height = COLUMNS * COLUMN_PX + 2 * MARGIN_PX, rows * LINE_PX + 2 * MARGIN_PX
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<title>{escape(recording.TITLE)}, transcribed live in a terminal</title>",
            f"<style>{STYLE}</style>",
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="12" fill="#101514"/>',
            *groups,
            "</svg>\n",
        ]
    )


def _group(shown: Shown, row: int, until_s: float | None) -> str:
    if shown.is_interim and until_s is not None:
        holds_s = until_s - shown.at_s
        timing = f"animation-delay:{shown.at_s:.2f}s;animation-duration:{holds_s:.2f}s"
    else:
        timing = f"animation-duration:{shown.at_s:.2f}s"
    lines = [_text(line, row + index) for index, line in enumerate(shown.lines)]
    kind = "interim" if shown.is_interim else "final"
    return f'<g class="{kind}" style="{timing}">{"".join(lines)}</g>'


def _text(line: Line, row: int) -> str:
    columns = Segment.get_line_length(line)
    if columns == 0:
        return ""
    # The length is given so that columns stand below each other in any font.
    place = f'x="{MARGIN_PX}" y="{MARGIN_PX + (row + 0.75) * LINE_PX:.0f}"'
    spans = "".join(_span(segment) for segment in line)
    return (
        f'<text {place} textLength="{columns * COLUMN_PX:.1f}" xml:space="preserve">{spans}</text>'
    )


def _span(segment: Segment) -> str:
    text = escape(segment.text, quote=False)
    attributes = _attributes(segment.style or Style())
    return f"<tspan{attributes}>{text}</tspan>" if attributes else text


def _attributes(style: Style) -> str:
    values = {
        "fill": COLORS[style.color.name] if style.color else None,
        "font-weight": "bold" if style.bold else None,
        "font-style": "italic" if style.italic else None,
        "opacity": "0.6" if style.dim else None,
    }
    return "".join(f' {name}="{value}"' for name, value in values.items() if value)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    terminal = Terminal()
    asyncio.run(run_demo(terminal))
    (folder / "demo.svg").write_text(draw(terminal.shown), encoding="utf-8")
