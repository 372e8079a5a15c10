"""Word error rates: of the model alone, of whole files, and of what a conversation gets.

    python benchmarks/wer.py --speech FOLDER

prints a Markdown table with a line for each set of recordings (see `speech_sets.py`), one for all
of them together, and a column for each way to recognise them:

- whole: each recording as one utterance. The model alone; only for sets of short recordings.
- batch: `hark.transcription.transcribe`, as `hark transcribe` and `POST /v1/transcribe` do.
- streamed: a session fed in pieces of 100 ms, with the default endpointing, and once more for each
  --silence-ms.

Text is compared after the English normaliser of whisper-normalizer, so only English is measured.
Splits that models may have been trained on are left out. Needs `pip install 'hark-stt[bench]'`.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import jiwer
import typer
from sessions import for_each, started, stream
from speech_sets import Recording, SpeechFolder, recordings
from whisper_normalizer.english import EnglishTextNormalizer

from hark.audio import PcmArray, read_audio
from hark.endpointing import EndpointingOptions
from hark.engines.pool import ModelPool
from hark.engines.registry import DEFAULT_MODEL
from hark.recognizer import RecognitionOptions
from hark.scheduler import Priority
from hark.transcription import transcribe
from hark_protocol import Endpointing

LONGEST_WHOLE_S = 40.0
"""Models are made for utterances, not for minutes at once."""

Recognise = Callable[[ModelPool, PcmArray], Awaitable[str]]
"""From samples to text."""

normalize = EnglishTextNormalizer()


@dataclass(frozen=True)
class Errors:
    """What went wrong in the words of a set."""

    wer: float
    substitutions: int
    deletions: int
    insertions: int


@dataclass(frozen=True)
class SetResult:
    name: str
    utterances: int
    words: int
    audio_s: float
    errors: dict[str, Errors | None]  # by way; None where it does not apply


async def whole(models: ModelPool, samples: PcmArray) -> str:
    utterance = models.select(None, "en").open_stream(RecognitionOptions(language="en"))
    try:
        utterance.push(samples)
        decoded = await asyncio.wrap_future(utterance.decode(Priority.RECORDING, final=True))
        return decoded.hypothesis.text
    finally:
        utterance.close()


async def batch(models: ModelPool, samples: PcmArray) -> str:
    return (await transcribe(models, samples, language="en")).text


async def streamed(models: ModelPool, samples: PcmArray, *, silence_ms: int) -> str:
    finals = await stream(models, samples, Endpointing(silence_ms=silence_ms))
    return " ".join(final.text for final in finals if final.text)


def ways_to_recognise(silences_ms: Sequence[int]) -> dict[str, Recognise]:
    silences_ms = list(dict.fromkeys((EndpointingOptions().silence_ms, *silences_ms)))
    return {
        "whole": whole,
        "batch": batch,
        **{f"streamed, {ms} ms": partial(streamed, silence_ms=ms) for ms in silences_ms},
    }


def count_errors(chosen: Sequence[Recording], texts: Sequence[str]) -> Errors:
    references = [normalize(recording.text) for recording in chosen]
    output = jiwer.process_words(references, [normalize(text) for text in texts])
    return Errors(output.wer, output.substitutions, output.deletions, output.insertions)


async def measure_set(
    models: ModelPool,
    name: str,
    chosen: Sequence[Recording],
    ways: dict[str, Recognise],
    workers: int,
) -> SetResult:
    is_short = all(recording.duration_s <= LONGEST_WHOLE_S for recording in chosen)
    errors: dict[str, Errors | None] = {}
    for way, recognise in ways.items():
        if way == "whole" and not is_short:
            errors[way] = None
            continue

        async def text_of(recording: Recording, recognise: Recognise = recognise) -> str:
            return await recognise(models, await asyncio.to_thread(read_audio, recording.path))

        texts = await for_each(chosen, text_of, workers=workers, what=f"{name}: {way}")
        errors[way] = count_errors(chosen, texts)
    return SetResult(
        name=name,
        utterances=len(chosen),
        words=sum(len(normalize(recording.text).split()) for recording in chosen),
        audio_s=round(sum(recording.duration_s for recording in chosen), 1),
        errors=errors,
    )


def together(results: Sequence[SetResult]) -> SetResult:
    """Several sets as one; without the ways that do not apply to all of them."""
    words = sum(result.words for result in results)
    errors: dict[str, Errors | None] = {}
    for way in results[0].errors:
        counted = [found for result in results if (found := result.errors[way])]
        kinds = [
            sum(getattr(found, kind) for found in counted)
            for kind in ("substitutions", "deletions", "insertions")
        ]
        applies = len(counted) == len(results)
        errors[way] = Errors(sum(kinds) / words, *kinds) if applies else None
    return SetResult(
        name="all",
        utterances=sum(result.utterances for result in results),
        words=words,
        audio_s=round(sum(result.audio_s for result in results), 1),
        errors=errors,
    )


def print_row(cells: Sequence[object]) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def print_result(result: SetResult) -> None:
    rates = map(percent, result.errors.values())
    print_row((result.name, result.utterances, result.words, *rates))


def percent(errors: Errors | None) -> str:
    return "-" if errors is None else f"{100 * errors.wer:.1f}"


def versions() -> str:
    named = ("whisper-normalizer", "jiwer")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in named)


def main(
    speech: SpeechFolder,
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = DEFAULT_MODEL,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Instead of all sets.")] = None,
    silence_ms: Annotated[
        list[int] | None, typer.Option(help="Endpointing silences besides the default.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1)] = 2,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File for all figures, errors by kind.")
    ] = None,
) -> None:
    """Measure word error rates on recorded speech."""

    def is_wanted(recording: Recording) -> bool:
        is_training = (recording.split or "").startswith("train")
        if not recording.text or recording.language != "en" or is_training:
            return False
        return not sets or recording.set_name in sets

    chosen = recordings(speech, is_wanted)
    ways = ways_to_recognise(silence_ms or ())
    results = []
    with started(model, workers) as models:
        print(f"WER in percent, {model}; English normaliser; {versions()}\n")
        print_row(("set", "utterances", "words", *ways))
        print_row(["---"] + ["---:"] * (2 + len(ways)))
        for name in dict.fromkeys(recording.set_name for recording in chosen):
            members = [recording for recording in chosen if recording.set_name == name]
            results.append(asyncio.run(measure_set(models, name, members, ways, workers)))
            print_result(results[-1])
    all_sets = together(results)
    print_result(all_sets)
    if json_file is not None:
        figures = {
            "model": model,
            "versions": versions(),
            "sets": list(map(asdict, results)),
            "all": asdict(all_sets),
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
