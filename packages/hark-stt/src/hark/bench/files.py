"""The files that a benchmark leaves: figures, tables and plots."""

from __future__ import annotations

from pathlib import Path

from hark.bench.plots import draw
from hark.bench.report import Report
from hark.errors import HarkError


class ReportError(HarkError):
    """The files cannot be written; the message says why."""


def write(report: Report, folder: Path) -> None:
    """Write bench.json, bench.md and the plots into a folder, which is made if need be.

    Raises:
        ReportError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.json").write_bytes(report.json())
        (folder / "bench.md").write_text(report.markdown(), encoding="utf-8")
        draw(report, folder)
    except OSError as error:
        raise ReportError(f"cannot write to {folder}: {error.strerror}") from None
