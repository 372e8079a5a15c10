"""Sets of recordings: a folder with a `manifest.jsonl`.

One JSON object a line: `path` below the folder, `set`, `duration_s`, `text` (null where nothing is
said), `language` (BCP 47), and perhaps `split`, of the corpus that it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

SpeechFolder: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--speech",
        envvar="HARK_SPEECH_DIR",
        help="Folder with recordings and a manifest.jsonl.",
        exists=True,
        file_okay=False,
    ),
]


@dataclass(frozen=True)
class Recording:
    set_name: str
    path: Path
    duration_s: float
    text: str | None
    language: str | None
    split: str | None


def recordings(folder: Path, wanted: Callable[[Recording], bool]) -> list[Recording]:
    """Those of a folder that are wanted, in its order."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise typer.BadParameter(f"{folder} has no manifest.jsonl")
    rows = map(json.loads, manifest.read_text(encoding="utf-8").splitlines())
    found = (
        Recording(
            set_name=row["set"],
            path=folder / row["path"],
            duration_s=row["duration_s"],
            text=row["text"],
            language=row["language"],
            split=row.get("split"),
        )
        for row in rows
    )
    chosen = [recording for recording in found if wanted(recording)]
    if not chosen:
        raise typer.BadParameter(f"{manifest} has none of the recordings that this measures on")
    return chosen
