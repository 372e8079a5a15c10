"""What LiveKit's flushes and Hark's preflights save in a conversation, as a Markdown table.

    python benchmarks/turns.py

An agent session hears one utterance after the other, in real time, and answers each: with Hark in
this process, LiveKit's own VAD, a language model that does nothing but think for a while, and a
voice that speaks on this machine. All times count from where the speech in the recording ends.

Medians are over the utterances that all settings take for one turn: some end it at a pause within.

With --speech (or HARK_SPEECH_DIR), the shorter utterances of its set `turns_test_clean` are used,
which has the ends of speech written down; otherwise those of recordings that a dependency of Hark
brings, by their level. Takes some seven seconds for each utterance and row. Needs what `make venv`
installs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "room"))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from livekit.plugins import hark
from local_tts import HibariTTS
from rooms.conversation import Conversation, Unflushed
from rooms.recordings import BELIEF, EPOCH, TIMES, TRY_AGAIN, WISDOM, Recording
from rooms.words import count_word_errors

SET = "turns_test_clean"

LONGEST_S = 5.0
"""Longer utterances are left out: hardly anybody says them in one breath."""

LEAD_S = 0.3
RELEASE_S = 0.1
"""Seconds of the recording that are played after its last speech, before silence. An application
that ends turns itself does so then."""

QUIET_S = 1.0
"""Between a reply and the next utterance."""

ROUND = 5
"""Utterances that a setting hears before the next one's turn."""

PATIENCE_S = 4.0
"""How long a reply is waited for."""


@dataclass(frozen=True)
class Setting:
    """A row of the table."""

    name: str
    turn_detection: Literal["stt", "vad", "manual"]
    is_flushed: bool
    takes_preflights: bool


SETTINGS = (
    Setting("Hark (`stt`)", "stt", False, False),
    Setting("Hark (`stt`)", "stt", False, True),
    Setting("LiveKit's VAD (`vad`)", "vad", False, False),
    Setting("LiveKit's VAD (`vad`)", "vad", False, True),
    Setting("LiveKit's VAD (`vad`)", "vad", True, False),
    Setting("LiveKit's VAD (`vad`)", "vad", True, True),
    Setting("the application (`manual`)", "manual", False, True),
    Setting("the application (`manual`)", "manual", True, True),
)


@dataclass(frozen=True)
class Turn:
    """When, in seconds after the last speech, what happened; and what was understood."""

    final_s: float
    asked_s: float
    heard_s: float
    said: str
    understood: str


async def converse(
    setting: Setting,
    recordings: Sequence[Recording],
    *,
    think_s: float,
    silence_ms: int | None,
    voice: HibariTTS,
) -> list[Turn | None]:
    """The turn that each recording became; None where it became more than one."""
    kind = hark.STT if setting.is_flushed else Unflushed
    turns = []
    async with kind(api_url=None, endpointing_silence_ms=silence_ms) as stt:
        conversation = Conversation(
            stt,
            turn_detection=setting.turn_detection,
            voice=voice,
            think_s=think_s,
            takes_preflights=setting.takes_preflights,
        )
        async with conversation:
            await asyncio.sleep(QUIET_S)
            for recording in recordings:
                turn = await take_turn(conversation, recording, setting)
                turns.append(turn)
                await asyncio.sleep(PATIENCE_S if turn is None else QUIET_S)
    return turns


async def take_turn(
    conversation: Conversation, recording: Recording, setting: Setting
) -> Turn | None:
    speech = await conversation.microphone.say(recording)
    end = speech.last_speech_at
    if setting.turn_detection == "manual":
        await conversation.session.commit_user_turn(transcript_timeout=PATIENCE_S)
    try:
        await conversation.until(lambda: conversation.all("heard", after=end), timeout_s=PATIENCE_S)
    except asyncio.TimeoutError:
        return None
    heard = conversation.all("heard", after=end)[0]
    before = [h for h in conversation.history if speech.began_at < h.at <= heard.at]
    turns = [happened for happened in before if happened.step == "turn"]
    if len(turns) != 1 or turns[0].at < end:
        return None
    # What the model was asked last is what it answered: it is asked anew when the text changes.
    asked = [happened for happened in before if happened.step == "asked"][-1]
    finals = [happened for happened in before if happened.step == "final" and happened.text]
    return Turn(
        final_s=finals[-1].at - end,
        asked_s=asked.at - end,
        heard_s=heard.at - end,
        said=recording.text,
        understood=" ".join(final.text for final in finals),
    )


def recordings_of(folder: Path) -> Iterable[Recording]:
    """The shorter utterances of the set, of each speaker in turn."""
    rows = map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    speakers = [
        [
            Recording(
                folder / row["path"],
                start_s=segment["start"] - LEAD_S,
                end_s=segment["end"] + RELEASE_S,
                text=segment["text"],
                speech_end_s=segment["end"],
            )
            for segment in row["segments"]
            if segment["end"] - segment["start"] <= LONGEST_S
        ]
        for row in rows
        if row["set"] == SET
    ]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*speakers))
    return (recording for recording in in_turn if recording is not None)


def own_recordings() -> Iterable[Recording]:
    parts = (TIMES, WISDOM, BELIEF, EPOCH, TRY_AGAIN)
    return itertools.cycle(
        Recording(
            part.file,
            part.start_s,
            end_s=part.start_s + part.last_speech_s + RELEASE_S,
            text=part.text,
            speech_end_s=part.start_s + part.last_speech_s,
        )
        for part in parts
    )


def print_row(cells: Iterable[object]) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def row(setting: Setting, turns: Sequence[Turn | None], is_common: Sequence[bool]) -> list[str]:
    common = [turn for turn, is_in in zip(turns, is_common, strict=True) if turn and is_in]
    errors = count_word_errors(
        " ".join(turn.said for turn in common), " ".join(turn.understood for turn in common)
    )
    return [
        setting.name,
        "yes" if setting.is_flushed else "no",
        "yes" if setting.takes_preflights else "no",
        median(turn.final_s for turn in common),
        median(turn.asked_s for turn in common),
        median(turn.heard_s for turn in common),
        f"{errors.rate:.1%}",
        f"{sum(turn is not None for turn in turns)} of {len(turns)}",
    ]


def median(times: Iterable[float]) -> str:
    return f"{statistics.median(times):.2f} s"


async def measure(
    recordings: Sequence[Recording], think_s: float, silence_ms: int | None
) -> list[list[Turn | None]]:
    """What each setting makes of the recordings.

    Settings take turns, so that all suffer alike from what else the machine does.
    """
    voice = HibariTTS()
    results: list[list[Turn | None]] = [[] for _ in SETTINGS]
    async with hark.STT(api_url=None) as loaded:  # so that no setting has to load the model
        loaded.prewarm()
        for start in range(0, len(recordings), ROUND):
            print(f"{start} of {len(recordings)} utterances", file=sys.stderr)
            for setting, result in zip(SETTINGS, results, strict=True):
                result += await converse(
                    setting,
                    recordings[start : start + ROUND],
                    think_s=think_s,
                    silence_ms=silence_ms,
                    voice=voice,
                )
    return results


def main(
    speech: Annotated[
        Path | None,
        typer.Option(
            envvar="HARK_SPEECH_DIR",
            help=f"Folder with recordings and a manifest.jsonl that has the set {SET}.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    utterances: Annotated[int, typer.Option(help="How many are said for each row.", min=1)] = 24,
    think_ms: Annotated[
        int, typer.Option(help="What the language model takes for its first words.", min=0)
    ] = 500,
    silence_ms: Annotated[
        int | None, typer.Option(help="Hark's endpointing silence, instead of its default.")
    ] = None,
) -> None:
    """Measure how long a final and a reply take in an agent session."""
    available = own_recordings() if speech is None else recordings_of(speech)
    recordings = list(itertools.islice(available, utterances))
    results = asyncio.run(measure(recordings, think_ms / 1_000, silence_ms))
    is_common = [all(turns) for turns in zip(*results, strict=True)]
    print(f"Medians of {sum(is_common)} turns; the language model thinks for {think_ms} ms.\n")
    print_row(
        ("turns end by", "flush", "preflights", "final", "LLM asked", "reply heard", "WER", "whole")
    )
    print_row(["---", "---", "---"] + ["---:"] * 5)
    for setting, turns in zip(SETTINGS, results, strict=True):
        print_row(row(setting, turns, is_common))


if __name__ == "__main__":
    typer.run(main)
