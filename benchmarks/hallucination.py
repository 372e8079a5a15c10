"""How often Hark hears words where nothing is said.

    python benchmarks/hallucination.py --speech FOLDER

streams every recording without words (see `speech_sets.py`) with default options, and prints in how
many no final had any text, and the names of the others. The exit code is 1 below --at-least.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from sessions import for_each, started, stream
from speech_sets import Recording, SpeechFolder, recordings

from hark.audio import read_audio
from hark.engines.pool import ModelPool
from hark.engines.registry import DEFAULT_MODEL
from hark_protocol import Final


async def finals_of(models: ModelPool, recording: Recording) -> list[Final]:
    """Those of a recording that have text."""
    samples = await asyncio.to_thread(read_audio, recording.path)
    return [final for final in await stream(models, samples) if final.text]


async def measure(models: ModelPool, chosen: list[Recording], workers: int) -> list[list[Final]]:
    async def work(recording: Recording) -> list[Final]:
        return await finals_of(models, recording)

    return await for_each(chosen, work, workers=workers, what="streaming")


def main(
    speech: SpeechFolder,
    set_name: Annotated[
        str, typer.Option("--set", help="Set of recordings in which nothing is said.")
    ] = "noise_music",
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = DEFAULT_MODEL,
    at_least: Annotated[
        float, typer.Option(help="Share without text below which this fails.", min=0, max=1)
    ] = 0.95,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
) -> None:
    """Measure how often words are heard where nothing is said."""
    chosen = recordings(speech, lambda recording: recording.set_name == set_name)
    with started(model, workers) as models:
        results = asyncio.run(measure(models, chosen, workers))
    heard = {
        recording.path.name: finals
        for recording, finals in zip(chosen, results, strict=True)
        if finals
    }
    silent = len(chosen) - len(heard)
    share = silent / len(chosen)
    print(f"{set_name}, {model}: {silent} of {len(chosen)} recordings without text ({share:.1%})")
    for name, finals in heard.items():
        confidences = ", ".join(
            "?" if f.confidence is None else f"{f.confidence:.2f}" for f in finals
        )
        print(f"- {name}: {len(finals)} finals with text, confidence {confidences}")
    if json_file is not None:
        figures = {
            "model": model,
            "set": set_name,
            "recordings": len(chosen),
            "without_text": silent,
            "with_text": {name: len(finals) for name, finals in heard.items()},
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if share < at_least:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
