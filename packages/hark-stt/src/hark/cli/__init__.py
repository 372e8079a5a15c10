"""The `hark` command line: one module for each command.

Every module here imports only what its options need; models, LiveKit and the server are imported
when a command runs, so that `hark --help` answers at once and a command never fails for an extra
that only another one needs.
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from hark.cli import models
from hark.cli.bench import bench
from hark.cli.demo import demo
from hark.cli.doctor import doctor
from hark.cli.serve import serve
from hark.cli.transcribe import transcribe
from hark.version import __version__

__all__ = ["app"]

app = typer.Typer(
    name="hark",
    help="Speech-to-text that you run yourself, for LiveKit Agents and everything else.",
    epilog="Environment: HARK_API_URL and HARK_API_KEY (the server to use), HARK_MODELS_DIR. "
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    # A plain traceback is shorter, and shows no local variables: they hold speech and keys.
    pretty_exceptions_enable=False,
)

app.command()(demo)
app.command()(transcribe)
app.command()(serve)
app.command()(bench)
app.add_typer(models.app, name="models")
app.command()(doctor)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"hark {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            metavar="",
            show_default=False,
            help="Log to stderr what happens; twice for details.",
        ),
    ] = 0,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Set up what all commands share."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    # Only Hark's own: libraries write whole messages, with speech and keys, into their debug logs.
    for name in ("hark", "livekit.plugins.hark"):
        logging.getLogger(name).setLevel(level)
