"""`hark bench`: how many streams this machine carries in real time, and how late results are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hark.cli import options
from hark.cli.console import FAILED, err, out
from hark.cli.extras import require
from hark.cli.lifecycle import exit_codes, run

if TYPE_CHECKING:
    from rich.progress import TaskID

    from hark.bench.job import Prepare, Recordings
    from hark.bench.report import Result
    from hark.bench.step import Step

SPEECH_VARIABLE = "HARK_SPEECH_DIR"
AUTO = "auto"
ALL = "all"


def bench(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="[RECORDING]...",
            help="Audio files; a manifest.jsonl beside them says what is known of them.",
            show_default="what comes with the default model",
        ),
    ] = None,
    set_name: Annotated[
        str | None,
        typer.Option("--set", help=f"A set of the manifest in the folder {SPEECH_VARIABLE}."),
    ] = None,
    streams: Annotated[
        str,
        typer.Option(
            help="Streams at a time, several numbers with commas between; auto doubles them until "
            "the promise breaks, then looks for the most that keep it."
        ),
    ] = AUTO,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Seconds that each stream plays, to its next pause.")
    ] = 90.0,
    promise_s: Annotated[
        float,
        typer.Option("--promise", min=0.1, help="Longest p95 of the final latency, in seconds."),
    ] = 1.0,
    silence_ms: Annotated[
        int, typer.Option(min=160, max=10_000, help="Silence that ends an utterance.")
    ] = 400,
    chunk_ms: Annotated[
        int,
        typer.Option(
            min=10, max=1000, help="Milliseconds of audio in a message; LiveKit's agents send 50."
        ),
    ] = 50,
    seed: Annotated[int, typer.Option(help="Of where streams begin.")] = 1,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Measure a peer, too, by itself after Hark; may be repeated, all for every one.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for bench.json, bench.md and plots (PNG)."),
    ] = None,
    format: Annotated[
        Literal["markdown", "json"], typer.Option(help="What is printed at the end.")
    ] = "markdown",
    url: options.Url = None,
    api_key: options.ApiKey = None,
    model: options.Model = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.", show_default="one for each core")
    ] = None,
) -> None:
    """Measure latency and capacity with recordings that are played in real time.

    Starts `hark serve` on a free port of this machine (or uses --url), plays recordings to it with
    several clients at once, and shows how late results are, how often they change, how many words
    are wrong and what it costs.

    Examples:
    - `hark bench`
    - `HARK_SPEECH_DIR=speech hark bench --set turns --streams 1,8,16 --output results`
    - `hark bench interview.flac --promise 0.8 --against sherpa-onnx`
    """
    numbers = _stream_numbers(streams)
    server = options.server(url, api_key)
    require("server", "hark bench")
    require("bench", "hark bench")
    from hark.bench import contestants, job
    from hark.bench.report import Report, describe_machine

    names = [contestants.HARK, *_peers(against or [])]
    with exit_codes():
        chosen = _recordings(recordings or [], set_name)
    prepare = job.Prepare(
        contestant=contestants.HARK,
        options=job.Options(
            silence_ms=silence_ms,
            url=None if server is None else server.address.stream,
            api_key=None if server is None else server.api_key,
            model=model,
            workers=workers,
        ),
        recordings=chosen,
        seconds=seconds,
        chunk_ms=chunk_ms,
        seed=seed,
    )
    results = run(_measure(prepare, names, numbers, promise_s))
    settings = {
        "played": set_name or ", ".join(Path(file).name for file in chosen.files),
        "streams": f"{seconds:g} s or more each, in chunks of {chunk_ms} ms, seed {seed}",
    }
    report = Report(settings, describe_machine(), promise_s, results)
    shown = report.markdown() if format == "markdown" else report.json().decode()
    out.print(shown, markup=False, soft_wrap=True, end="")
    if output is not None:
        from hark.bench.files import write  # matplotlib takes a second to import

        with exit_codes():
            write(report, output)
    if any(result.problem is not None for result in results):
        raise typer.Exit(FAILED)


def _stream_numbers(text: str) -> list[int] | None:
    if text == AUTO:
        return None
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"must be like 1,2,4 or {AUTO}", param_hint="--streams")
    return numbers


def _peers(against: list[str]) -> list[str]:
    from hark.bench.contestants import PEERS

    if against == [ALL]:
        return list(PEERS)
    for name in against:
        if name not in PEERS:
            raise typer.BadParameter(
                f"{name!r} is none of: {', '.join((*PEERS, ALL))}", param_hint="--against"
            )
    return against


def _recordings(paths: list[Path], set_name: str | None) -> Recordings:
    from hark import recording
    from hark.bench.job import Recordings

    if set_name is None:
        files = paths or [recording.path()]
        return Recordings(files=tuple(str(path.resolve()) for path in files))
    if paths:
        raise typer.BadParameter("goes without recordings", param_hint="--set")
    folder = os.environ.get(SPEECH_VARIABLE)
    if not folder:
        raise typer.BadParameter(
            f"{SPEECH_VARIABLE} must name the folder with the manifest", param_hint="--set"
        )
    return Recordings(folder=str(Path(folder).resolve()), set_name=set_name)


async def _measure(
    prepare: Prepare, names: list[str], numbers: list[int] | None, promise_s: float
) -> list[Result]:
    from msgspec.structs import replace

    from hark.bench.benchmark import measure_contestant

    with _View() as view:
        return [
            await measure_contestant(replace(prepare, contestant=name), numbers, promise_s, view)
            for name in names
        ]


class _View:
    """The progress of a benchmark on standard error. See `hark.bench.benchmark.Onlooker`."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> _View:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def starting(self, title: str) -> None:
        self._show(f"{title}: starting", total=None)

    def running(self, title: str, streams: int) -> Callable[[float], None]:
        task = self._show(f"{title}: {streams} streams", total=1.0)
        return lambda part: self._progress.update(task, completed=part)

    def done(self, title: str, step: Step) -> None:
        from hark.bench.report import in_one_line

        self._hide()
        err.print(f"{title}: {in_one_line(step)}", markup=False)

    def failed(self, title: str, problem: str) -> None:
        self._hide()
        err.print(f"{title}: {problem}", style="red", markup=False)

    def _show(self, text: str, total: float | None) -> TaskID:
        self._hide()
        self._task = self._progress.add_task(text, total=total)
        return self._task

    def _hide(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
