"""`hark demo`: a recording through the LiveKit plugin at the pace of speech, and measured."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hark.cli import options
from hark.cli.console import err, out
from hark.cli.extras import require
from hark.cli.lifecycle import run

if TYPE_CHECKING:
    from hark.cli.remote import HarkServer


def demo(
    audio: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Another recording; give --reference to get its WER."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="TEXT/FILE", help="What is said in --audio, or a file with it."),
    ] = None,
    url: options.Url = None,
    api_key: options.ApiKey = None,
    model: options.Model = None,
    speed: Annotated[
        float,
        typer.Option(min=0.1, max=20.0, help="Pace; latencies mean something at 1 only."),
    ] = 1.0,
) -> None:
    """Transcribe a recording live, and show what is measured.

    Streams 44 seconds of public-domain speech, which come with the default model, through the
    LiveKit plugin (`livekit.plugins.hark`), frame by frame as a microphone would. Shows the text as
    it becomes final, each final's latency, and at the end the word error rate against what was
    really said.

    Examples:
    - `hark demo`
    - `hark demo --url http://localhost:8000`
    - `hark demo --audio interview.flac --reference interview.txt`
    """
    if reference is not None and audio is None:
        raise typer.BadParameter(
            "goes with --audio: what the shipped recording says is known", param_hint="--reference"
        )
    server = options.server(url, api_key)
    require("demo", "hark demo")
    run(_run(audio, _reference_text(audio, reference), server, model, speed))


def _reference_text(audio: Path | None, reference: str | None) -> str | None:
    from hark import recording

    if audio is None:
        return recording.TEXT
    if reference is None:
        return None
    try:
        is_file = Path(reference).is_file()
    except OSError:  # a long text is no file name
        is_file = False
    try:
        return Path(reference).read_text(encoding="utf-8") if is_file else reference
    except (OSError, UnicodeDecodeError):
        raise typer.BadParameter("cannot be read as UTF-8 text", param_hint="--reference") from None


async def _run(
    audio: Path | None,
    reference: str | None,
    server: HarkServer | None,
    model: str | None,
    speed: float,
) -> None:
    async with AsyncExitStack() as stack:
        with err.status("Loading ..."):  # LiveKit alone takes a second or two to import
            from hark import recording
            from hark.audio import SAMPLE_RATE, read_audio
            from hark.cli.blocking import in_thread

            if server is not None:
                await in_thread(server.check_ready)
            from hark.cli.demo_report import report
            from hark.cli.demo_stream import open_stt, stream
            from hark.cli.demo_view import DemoView

            path = audio or recording.path()
            samples = await in_thread(lambda: read_audio(path))
            stt = await stack.enter_async_context(open_stt(server, model))
        duration_s = len(samples) / SAMPLE_RATE
        mode = "embedded" if server is None else f"server {server.address.origin}"
        title = recording.TITLE if audio is None else audio.name
        out.print(f"{title} ({duration_s:.1f} s), {mode}\n", markup=False)
        with DemoView(out, duration_s) as view:
            measurements = await stream(stt, samples, speed=speed, view=view)
        out.print(report(measurements, duration_s, reference, model=stt.model, mode=mode))
