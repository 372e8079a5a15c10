"""`hark transcribe`: audio files in, transcripts out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from hark.cli import options
from hark.cli.console import FAILED, complain, err
from hark.cli.extras import require
from hark.cli.lifecycle import run

if TYPE_CHECKING:
    from hark.cli.remote import HarkServer
    from hark.cli.transcribers import Source, Transcriber, TranscriptOptions

STANDARD_INPUT = "-"


class Format(str, Enum):
    """The formats of `hark.formats`, without importing what those need."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


_SUFFIXES = {Format.TEXT: ".txt", Format.JSON: ".json", Format.SRT: ".srt", Format.VTT: ".vtt"}


def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Audio files; - reads one from standard input."),
    ],
    url: options.Url = None,
    api_key: options.ApiKey = None,
    model: options.Model = None,
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="Language of the speech (BCP 47), say en.")
    ] = None,
    keyterm: Annotated[
        list[str] | None,
        typer.Option(metavar="TERM", help="A term to lean towards; may be given several times."),
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="Also give word times.")] = False,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="What to write.", case_sensitive=False)
    ] = Format.TEXT,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR/FILE",
            help="Where to write instead of standard output: a file for one input, else a folder.",
        ),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Stream at the pace of speech; print finals as they come."),
    ] = False,
) -> None:
    """Transcribe audio files.

    Recognises in this process, or on a server with --url. Transcripts go to standard output,
    progress to standard error. A file that fails is reported, the others are still done, and the
    exit code is 1.

    Examples:
    - `hark transcribe meeting.wav`
    - `hark transcribe *.mp3 --format srt -o subtitles/`
    - `hark transcribe --url http://localhost:8000 call.flac --format json`
    - `ffmpeg -i talk.mkv -f wav - | hark transcribe - --realtime`
    """
    job = _Job(files, format, output, in_real_time=realtime)
    server = options.server(url, api_key)
    if server is not None and realtime:
        require("server", "transcribe --realtime with --url")
    from hark.cli.transcribers import TranscriptOptions

    wanted = TranscriptOptions(model, language, words, tuple(keyterm or ()), format.value)
    if run(_transcribe_all(job, wanted, server)):
        raise typer.Exit(FAILED)


class _Job:
    """The files of one call, and where their transcripts go.

    Raises:
        typer.BadParameter: they do not fit together.
    """

    def __init__(
        self, files: Sequence[str], format: Format, output: Path | None, *, in_real_time: bool
    ) -> None:
        self.files = files
        self.in_real_time = in_real_time
        self._paths: list[Path] | None = None
        if files.count(STANDARD_INPUT) > 1:
            raise typer.BadParameter("- can be given once only")
        if STANDARD_INPUT in files and sys.stdin.isatty():
            raise typer.BadParameter("- reads audio from a pipe, but standard input is a terminal")
        if output is not None:
            self._paths = [_output_path(output, file, format, len(files)) for file in files]
            if len(set(self._paths)) < len(files):
                raise typer.BadParameter("several of the files would be written to the same place")
        elif len(files) > 1 and format is not Format.TEXT:
            raise typer.BadParameter(f"{format.value} of several files needs --output DIR")
        # Finals are printed when they come, and then the whole transcript is not.
        self.prints_finals = in_real_time and format is Format.TEXT and output is None

    def announce(self, index: int) -> None:
        """Say which file comes next, as head and tail do; nothing where there is one only."""
        if self._paths is None and len(self.files) > 1:
            typer.echo(f"==> {self.files[index]} <==")

    def write(self, index: int, transcript: str) -> None:
        """Put a transcript where it belongs.

        Raises:
            OSError: it cannot be written there.
        """
        if self._paths is not None:
            path = self._paths[index]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(transcript, encoding="utf-8")
        elif not self.prints_finals:
            self.announce(index)
            typer.echo(transcript, nl=False)


class _Display:
    """Progress and interims on standard error if that is a terminal, finals on standard output."""

    def __init__(self, job: _Job) -> None:
        self._prints_finals = job.prints_finals
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
            redirect_stdout=False,  # standard output may be a file or a pipe
        )
        self._task = self._progress.add_task("", total=None, visible=False)
        self._name = ""

    @contextmanager
    def working_on(self, name: str) -> Iterator[_Display]:
        """Show progress for as long as the context lasts; a `Listener` meanwhile."""
        self._name = name
        self._progress.reset(self._task, total=None, visible=True, description=name)
        with self._progress:
            yield self

    def on_progress(self, part: float) -> None:
        """See `hark.cli.realtime.Listener`."""
        self._progress.update(self._task, total=1.0, completed=part)

    def on_interim(self, text: str) -> None:
        """See `hark.cli.realtime.Listener`."""
        room = max(20, err.width - 40)
        self._progress.update(self._task, description=f"... {text[-room:]}")

    def on_final(self, text: str) -> None:
        """See `hark.cli.realtime.Listener`."""
        self._progress.update(self._task, description=self._name)
        if self._prints_finals:
            self._progress.stop()  # both may be the same terminal
            typer.echo(text)
            self._progress.start()


def _output_path(output: Path, file: str, format: Format, count: int) -> Path:
    if count == 1 and not output.is_dir():
        return output
    stem = "stdin" if file == STANDARD_INPUT else Path(file).stem
    return output / f"{stem}{_SUFFIXES[format]}"


async def _transcribe_all(job: _Job, wanted: TranscriptOptions, server: HarkServer | None) -> int:
    """Do one file after the other; give the number of those that failed."""
    from hark.cli.transcribers import open_transcriber

    display = _Display(job)
    async with AsyncExitStack() as stack:
        with display.working_on("loading the model"):
            transcriber = await stack.enter_async_context(
                open_transcriber(wanted, server, in_real_time=job.in_real_time)
            )
        return sum(
            [
                not await _transcribe_one(job, index, transcriber, display)
                for index in range(len(job.files))
            ]
        )


async def _transcribe_one(
    job: _Job, index: int, transcriber: Transcriber, display: _Display
) -> bool:
    """Do one file; report what is wrong with it, and give whether it worked."""
    from hark.errors import HarkError

    name = job.files[index]
    try:
        source = await _source(name)
        if job.prints_finals:
            job.announce(index)
        with display.working_on(name):
            transcript = await transcriber.transcribe(source, display)
        job.write(index, transcript)
    except HarkError as error:
        complain(f"{name}: {error}")
        return False
    except BrokenPipeError:
        raise  # nobody reads what we print: nothing is left to do
    except OSError as error:
        complain(f"{name}: {error.strerror or error}")
        return False
    return True


async def _source(name: str) -> Source:
    from hark.cli.blocking import in_thread
    from hark.cli.transcribers import Source

    if name == STANDARD_INPUT:
        return Source(await in_thread(sys.stdin.buffer.read))
    return Source(Path(name))
