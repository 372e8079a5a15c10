"""What one model costs on one thread: finals against real time, and interims against finals.

    python benchmarks/engine_cost.py --speech FOLDER

decodes each recording (see `speech_sets.py`) as it grows by 0.3 s at a time: an interim of what is
there so far, which goes on from the interim before it, and beside it a final of the same audio. It
prints a Markdown table by the length of the audio. Without VAD, sessions and workers.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from speech_sets import Recording, SpeechFolder, recordings

from hark.audio import SAMPLE_RATE, read_audio
from hark.engines import registry
from hark.recognizer import RecognitionOptions, RecognitionStream, Recognizer

STEP_SAMPLES = 3 * SAMPLE_RATE // 10
LENGTH_STEP_S = 2
LONGEST_S = 30.0


@dataclass
class Cost:
    """Seconds that each decode took, of audio of about the same length."""

    audio_s: list[float] = field(default_factory=list)
    interim_s: list[float] = field(default_factory=list)
    final_s: list[float] = field(default_factory=list)


def seconds_for(recognizer: Recognizer, stream: RecognitionStream, *, final: bool) -> float:
    started = time.perf_counter()
    recognizer.decode([stream], final=[final])
    return time.perf_counter() - started


def measure(recognizer: Recognizer, chosen: list[Recording]) -> dict[int, Cost]:
    """Costs by the length of the audio in seconds, rounded down to `LENGTH_STEP_S`."""
    by_length: dict[int, Cost] = defaultdict(Cost)
    for recording in track(chosen, "decoding", console=Console(stderr=True), transient=True):
        samples = read_audio(recording.path)
        growing = recognizer.open_stream(RecognitionOptions())
        for start in range(0, len(samples), STEP_SAMPLES):
            growing.push(samples[start : start + STEP_SAMPLES])
            # A stream of its own, so that the next interim has an interim to go on from.
            whole = recognizer.open_stream(RecognitionOptions())
            whole.push(samples[: start + STEP_SAMPLES])
            length_s = min(len(samples), start + STEP_SAMPLES) / SAMPLE_RATE
            cost = by_length[int(length_s // LENGTH_STEP_S) * LENGTH_STEP_S]
            cost.audio_s.append(length_s)
            cost.interim_s.append(seconds_for(recognizer, growing, final=False))
            cost.final_s.append(seconds_for(recognizer, whole, final=True))
    return by_length


def mean_ms(seconds: list[float]) -> str:
    return f"{1000 * sum(seconds) / len(seconds):.0f}"


def main(
    speech: SpeechFolder,
    model: Annotated[str, typer.Option(help="Name or folder of the model.")] = (
        registry.DEFAULT_MODEL
    ),
    set_name: Annotated[
        str, typer.Option("--set", help="Set of recordings.")
    ] = "librispeech_test_clean",
    count: Annotated[int, typer.Option(help="Recordings of it.", min=1)] = 10,
) -> None:
    """Measure what one model costs."""

    def is_wanted(recording: Recording) -> bool:
        return recording.set_name == set_name and recording.duration_s <= LONGEST_S

    chosen = list(islice(recordings(speech, is_wanted), count))
    recognizer = registry.load(model, threads=1)
    recognizer.warm_up()
    costs = measure(recognizer, chosen)
    print(f"{model}, 1 thread, {len(chosen)} recordings of {set_name}\n")
    print("| audio, s | decodes | interim, ms | final, ms | final, of real time |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for start, cost in sorted(costs.items()):
        share = sum(cost.final_s) / sum(cost.audio_s)
        row = f"{start} to {start + LENGTH_STEP_S} | {len(cost.final_s)}"
        print(f"| {row} | {mean_ms(cost.interim_s)} | {mean_ms(cost.final_s)} | {share:.3f} |")


if __name__ == "__main__":
    typer.run(main)
