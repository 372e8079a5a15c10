"""What the demo shows: finals, and on a terminal also what is still being said."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hark.audio import PcmArray, to_float

LEVELS = " ▁▂▃▄▅▆▇█"
QUIETEST_DB = -60.0
"""Decibels relative to full scale that still show: the noise floor of a quiet room."""

FRAMES_PER_LEVEL = 5
LEVELS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Utterance:
    """A final as the demo received it.

    Attributes:
        latency_s: from its last speech being handed over to its arrival; None where unknown.
    """

    start_s: float
    end_s: float
    text: str
    latency_s: float | None


class DemoView:
    """Shows a stream while it runs; a context manager, because it takes over the terminal.

    Without a terminal it writes one plain line for each final and nothing else.
    """

    def __init__(self, console: Console, duration_s: float) -> None:
        self._console = console
        self._duration_s = duration_s
        self._position_s = 0.0
        self._interim = Text()
        self._levels: deque[str] = deque(LEVELS[0] * LEVELS_SHOWN, maxlen=LEVELS_SHOWN)
        self._loudest = 0.0
        self._frames = 0
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=12, transient=True
        )

    def __enter__(self) -> DemoView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def pushed(self, frame: PcmArray, position_s: float) -> None:
        """Show how far the audio is, and how loud."""
        self._position_s = position_s
        self._loudest = max(self._loudest, float(np.sqrt(np.mean(to_float(frame) ** 2))))
        self._frames += 1
        if self._frames % FRAMES_PER_LEVEL == 0:
            self._levels.append(_level(self._loudest))
            self._loudest = 0.0

    def interim(self, start_s: float, text: str, stable: int, latency_s: float) -> None:
        """Show the hypothesis of the open utterance in place of the one before.

        Args:
            start_s: where the utterance starts.
            text: of the hypothesis.
            stable: how many of its leading characters will hardly change.
            latency_s: how old its newest audio is.
        """
        line = _line(f"{start_s:7.2f} - {'...':6}", text, latency_s)
        line.stylize("italic dim", len(line) - len(text) + stable)
        self._interim = line

    def final(self, utterance: Utterance) -> None:
        """Add an utterance for good."""
        self._interim = Text()
        times = f"{utterance.start_s:7.2f} - {utterance.end_s:6.2f}"
        self._console.print(_line(times, utterance.text, utterance.latency_s), soft_wrap=True)

    def _render(self) -> RenderableType:
        status = Table.grid(padding=(0, 1))
        status.add_row(
            Text("".join(self._levels), style="green"),
            ProgressBar(total=self._duration_s, completed=self._position_s, width=40),
            f"{self._position_s:5.1f} / {self._duration_s:.1f} s",
        )
        return Group(self._interim, status)


def _line(times: str, text: str, latency_s: float | None) -> Text:
    latency = "" if latency_s is None else f"{latency_s * 1000:.0f} ms"
    return Text.assemble((times, "cyan"), "  ", (f"{latency:>7}", "yellow"), "  ", text)


def _level(rms: float) -> str:
    decibels = 20 * math.log10(max(rms, 1e-6))
    loudness = min(1.0, max(0.0, 1 - decibels / QUIETEST_DB))
    return LEVELS[round(loudness * (len(LEVELS) - 1))]
