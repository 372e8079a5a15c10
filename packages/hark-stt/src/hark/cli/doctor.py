"""`hark doctor`: whether Hark can recognise speech here, and what to do if not."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from hark.cli.console import FAILED, err, out
from hark.cli.lifecycle import run
from hark.cli.models import describe_languages, describe_size

if TYPE_CHECKING:
    from hark.cli.diagnosis import Diagnosis


def doctor(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs and bug reports.")
    ] = False,
) -> None:
    """Check what is installed, and whether it can recognise speech.

    Loads the default model, recognises a known recording, and asks the server named by HARK_API_URL
    (if any) whether it is ready and takes the key in HARK_API_KEY. If recognising is impossible,
    says what to do and exits with 1.
    """
    from hark.cli.diagnosis import diagnose

    with err.status("Loading the default model and recognising a recording ..."):
        diagnosis = run(diagnose())
    if json_output:
        typer.echo(json.dumps(_as_json(diagnosis), indent=2))
    else:
        _print(diagnosis)
    if diagnosis.problems:
        raise typer.Exit(FAILED)


def _as_json(diagnosis: Diagnosis) -> dict[str, object]:
    document = dataclasses.asdict(diagnosis)
    if diagnosis.recognition is not None:
        document["recognition"]["rtf"] = round(diagnosis.recognition.rtf, 4)
    return document


def _print(diagnosis: Diagnosis) -> None:
    system = diagnosis.system
    out.print(
        f"hark {system.hark}, Python {system.python}, {system.platform}, {system.cores} cores",
        soft_wrap=True,
    )
    _print_section("Packages", _packages(diagnosis))
    _print_section("Models", _models(diagnosis))
    _print_section("Recognition", _recognition(diagnosis))
    for problem in diagnosis.problems:
        out.print(f"PROBLEM: {problem}", style="bold red", markup=False, soft_wrap=True)
    if not diagnosis.problems:
        out.print("Hark can recognise speech here.", style="green")


def _print_section(title: str, table: Table) -> None:
    out.print(Text(f"\n{title}", style="bold"))
    out.print(table)
    if title == "Recognition":
        out.print()


def _packages(diagnosis: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    for package in diagnosis.packages:
        if package.extra is None:
            table.add_row(package.name, package.version or Text("missing", style="red"))
    for extra in diagnosis.extras:
        state = f"lacks {', '.join(extra.missing)}" if extra.missing else "installed"
        table.add_row(f"extra {extra.name}", state)
    return table


def _models(diagnosis: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    for model in diagnosis.models:
        state = "not here"
        if model.is_installed:
            state = "here, checksums right" if model.is_intact else model.problem or ""
        table.add_row(
            model.name,
            describe_languages(model.languages),
            describe_size(model.size_bytes),
            model.licence,
            Text(state, style="red" if model.problem else ""),
        )
    return table


def _recognition(diagnosis: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    here = diagnosis.recognition
    if here is None:
        table.add_row("here", Text("does not work", style="red"))
    else:
        table.add_row("here", f"{here.model}, loaded in {here.load_s:.1f} s")
        table.add_row(
            "",
            f"RTF {here.rtf:.3f}: {here.audio_s:g} s of audio took {here.decode_s:.2f} s, "
            f"{here.words} words heard",
        )
    server = diagnosis.server
    if server is None:
        table.add_row("server", "none named (HARK_API_URL is not set)")
    elif server.is_ready and server.answer_s is not None:
        table.add_row(
            "server", f"{server.origin} is ready, answered in {server.answer_s * 1000:.0f} ms"
        )
    else:
        table.add_row(
            "server", Text(f"{server.origin or 'HARK_API_URL'} is of no use", style="red")
        )
    return table
