"""Where the time goes that the default model takes for an utterance under load.

    python benchmarks/decode_profile.py --speech FOLDER

Decodes utterances as sessions under load have them decoded, an interim at each anchor and a final,
on one thread, with the graphs that Hark builds and with the exported ones. Prints a Markdown table:
milliseconds for a second of speech, by the part of a decode. Utterances take turns between the two,
so that noise meets both.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from speech_sets import SpeechFolder

from hark.audio import SAMPLE_RATE, PcmArray
from hark.bench.recordings import read_set
from hark.engines import catalogue, moonshine_model
from hark.engines.moonshine import ANCHOR, MoonshineRecognizer
from hark.engines.moonshine_model import ExportedModel, MoonshineModel
from hark.engines.registry import DEFAULT_MODEL
from hark.recognizer import Hypothesis, RecognitionOptions
from hark.scheduler import ANCHOR_MARGIN

PADDING_S = 0.3
"""Seconds before and after the speech that are decoded with it."""

PARTS = {
    "encode": "reading audio",
    "begin": "reading a draft of the text",
    "extend": "writing tokens",
}


class Profiled:
    """A recogniser that notes how long each part of its decodes takes."""

    def __init__(self, model: MoonshineModel) -> None:
        folder = catalogue.verify(DEFAULT_MODEL)
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._recognizer = MoonshineRecognizer(folder)
        for part in PARTS:
            setattr(model, part, self._timed(part, getattr(model, part)))
        self._recognizer._model = model

    def decode(self, samples: PcmArray, previous: Hypothesis | None) -> Hypothesis:
        stream = self._recognizer.open_stream(RecognitionOptions(), previous=previous)
        stream.push(samples)
        started = time.perf_counter()
        (hypothesis,) = self._recognizer.decode([stream], final=[True])
        self.seconds["all"] += time.perf_counter() - started
        return hypothesis

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds[part] += time.perf_counter() - started
                self.calls[part] += 1

        return timed


def utterances(speech: SpeechFolder, set_name: str) -> Iterator[PcmArray]:
    padding = int(PADDING_S * SAMPLE_RATE)
    for recording in read_set(speech, set_name):
        for piece in recording:
            for spoken in piece.spoken:
                start = max(0, int(spoken.start_s * SAMPLE_RATE) - padding)
                yield piece.samples[start : int(spoken.end_s * SAMPLE_RATE) + padding]


def decode_by_anchors(profiled: Profiled, samples: PcmArray) -> None:
    previous = None
    for end in range(ANCHOR, len(samples) - ANCHOR_MARGIN + 1, ANCHOR):
        previous = profiled.decode(samples[:end], previous)
    profiled.decode(samples, previous)


def main(
    speech: SpeechFolder,
    set_name: Annotated[str, typer.Option("--set", help="Of recordings.")] = "turns_test_clean",
    count: Annotated[int, typer.Option(min=1, help="Utterances of it.")] = 30,
) -> None:
    """Measure where the time goes."""
    folder = catalogue.verify(DEFAULT_MODEL)
    files = folder / "encoder_model.ort", folder / "decoder_model_merged.ort"
    profiles = {
        "built": Profiled(moonshine_model.load(folder)),
        "exported": Profiled(ExportedModel(*files)),
    }
    chosen = list(islice(utterances(speech, set_name), count))
    for samples in track(chosen, "decoding", console=Console(stderr=True), transient=True):
        for profiled in profiles.values():
            decode_by_anchors(profiled, samples)

    speech_s = sum(map(len, chosen)) / SAMPLE_RATE
    print(f"{DEFAULT_MODEL}, 1 thread, {len(chosen)} utterances of {set_name}, {speech_s:.0f} s\n")
    print(f"| ms for a second of speech | {' | '.join(profiles)} | calls |")
    print("| --- | ---: | ---: | ---: |")
    for part, title in (*PARTS.items(), ("rest", "probabilities and the rest"), ("all", "all")):
        cells = []
        for profiled in profiles.values():
            seconds = profiled.seconds
            parts_s = sum(seconds[one] for one in PARTS)
            part_s = seconds["all"] - parts_s if part == "rest" else seconds[part]
            cells.append(f"{1000 * part_s / speech_s:.1f}")
        calls = profiles["built"].calls[part] or ""
        print(f"| {title} | {' | '.join(cells)} | {calls} |")


if __name__ == "__main__":
    typer.run(main)
