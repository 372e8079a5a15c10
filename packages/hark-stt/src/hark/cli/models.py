"""`hark models`: what models there are, which of them are here, and how to get the rest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from hark.cli.console import err, out
from hark.cli.lifecycle import exit_codes

if TYPE_CHECKING:
    from hark.engines.model_info import ModelInfo

app = typer.Typer(
    help="""List models, download them, and find their files.

Models come from an installed package, or are downloaded once, with progress and a checksum. Nothing
is ever downloaded while something is being recognised.

Examples:

- `hark models`
- `hark models download whisper-base`
- `ls "$(hark models path moonshine-tiny-en)"`""",
    epilog="Environment: HARK_MODELS_DIR (where downloads go; default: the user's cache folder), "
    "HF_ENDPOINT (a mirror of huggingface.co).",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of `hark models`.")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the models where no subcommand is given."""
    if context.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models() -> None:
    """List all models: what for, what they know, how large they are, and whether they are here."""
    from hark.engines import catalogue
    from hark.engines.registry import DEFAULT_MODEL

    installed = catalogue.installed()
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for heading in ("for", "languages", "size", "licence", "here"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for model in real_models():
        table.add_row(
            f"{model.name} (default)" if model.name == DEFAULT_MODEL else model.name,
            "end of turn" if model.engine == "smart-turn" else "speech",
            describe_languages(model.languages),
            describe_size(model.size_bytes),
            model.licence,
            "yes" if model.name in installed else "no",
        )
    out.print(table)


@app.command()
def download(name: Name) -> None:
    """Download a model, verify it, and print its folder. Does nothing if it is here already."""
    from hark.engines import catalogue

    with exit_codes(), _progress() as progress:
        task = progress.add_task(name, total=None)

        def show(done_bytes: int, total_bytes: int) -> None:
            progress.update(task, completed=done_bytes, total=total_bytes)

        folder = catalogue.download(name, show)
    typer.echo(folder)


@app.command()
def path(name: Name) -> None:
    """Print the folder of a model that is here."""
    from hark.engines import catalogue

    with exit_codes():
        typer.echo(catalogue.locate(name))


def real_models() -> list[ModelInfo]:
    """The models of the catalogue that have files; the others are there for tests."""
    from hark.engines import catalogue

    return [model for model in catalogue.CATALOGUE.values() if model.files]


def describe_languages(languages: tuple[str, ...]) -> str:
    """The codes, or how many there are where they would fill the line."""
    return ", ".join(languages) if len(languages) <= 4 else f"{len(languages)} languages"


def describe_size(size_bytes: int) -> str:
    """Decimal megabytes, as download pages count them."""
    return f"{size_bytes / 1e6:,.0f} MB"


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        disable=not sys.stderr.isatty(),
    )
