from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hark.bench.files import ReportError, write
from hark.bench.measures import Measures, Spread
from hark.bench.report import Report, Result, describe_machine
from hark.bench.step import Step
from hark.bench.usage import Usage


def step(streams: int, p95_s: float, *, failures: tuple[str, ...] = (), late_s: float = 0) -> Step:
    final = Spread(0.5, p95_s, p95_s, 100)
    measures = Measures(
        utterances=100,
        lost=0 if math.isfinite(p95_s) else 6,
        failures=failures,
        ends_are_known=True,
        final=final,
        preflight=None,
        word=None,
        words_unseen=None,
        interval=Spread(0.2, 0.4, 0.5, 900),
        retracting=0.25,
        retracted_words=0.5,
        wer=0.031,
        words=1000,
        late_p99_s=late_s,
    )
    usage = Usage(
        server_cores=1.25,
        client_cores=0.1,
        other_cores=0.0,
        start_mb=400,
        peak_mb=450,
        end_mb=440,
        server_lag_p99_s=0.004,
        client_lag_p99_s=0.002,
    )
    return Step(streams, measures, usage, steady_s=80, took_s=95)


def report(*results: Result) -> Report:
    return Report({"played": "turns"}, describe_machine(), 1.0, results)


def test_capacity_is_the_largest_number_inside_the_promise() -> None:
    result = Result("Hark", {}, [step(1, 0.5), step(8, 0.9), step(16, 1.2), step(12, 1.0)])
    assert result.capacity(1.0) == 12
    assert result.capacity(0.4) == 0


def test_a_stream_that_broke_off_or_a_late_load_breaks_the_promise() -> None:
    assert step(1, 0.5).keeps(1.0)
    assert not step(1, 0.5, failures=("lost",)).keeps(1.0)
    assert not step(1, 0.5, late_s=0.2).keeps(1.0)
    assert not step(1, math.inf).keeps(1.0)


def test_the_markdown_has_a_row_for_each_step_and_says_what_is_missing() -> None:
    never = Result("Other", {"other": "1.0"}, [step(4, math.inf)])
    absent = Result("Absent", {}, [], "absent is not installed")
    text = report(Result("Hark", {"hark": "0.1"}, [step(1, 0.5)]), never, absent).markdown()
    assert "| 1 | 500 / 500 / 500 | - | - | 200 / 400 | 25% | 0.50 | 3.1% | 0 of 100 |" in text
    assert "| 4 | 500 / never / never |" in text
    assert "- not measured to the end: absent is not installed" in text
    assert "| Absent | - |" in text


def test_the_files_are_written_and_what_never_came_is_null(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    write(report(Result("Hark", {}, [step(1, 0.5), step(2, math.inf)])), folder)
    figures = json.loads((folder / "bench.json").read_bytes())
    finals = [one["measures"]["final"]["p95_s"] for one in figures["results"][0]["steps"]]
    assert finals == [0.5, None]
    assert (folder / "bench.md").read_text(encoding="utf-8").startswith("# Latency")
    plots = {path.name: path.read_bytes()[:4] for path in folder.glob("*.png")}
    assert set(plots) == {"final-latency.png", "interim-interval.png", "cores.png", "memory.png"}
    assert set(plots.values()) == {b"\x89PNG"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="cannot write to"):
        write(report(), tmp_path / "file" / "folder")
