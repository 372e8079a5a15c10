"""What the examples do on the command line besides taking calls."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from livekit import rtc
from livekit.plugins import hark
from rooms.processes import Program
from rooms.recordings import TIMES
from rooms.sound_card import RATE, SoundCard
from rooms.words import count_word_errors
from rooms.workers import EXAMPLES

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def sound_card(logs: Path) -> Iterator[SoundCard]:
    card = SoundCard(logs)
    yield card
    card.stop()


@pytest.mark.parametrize(
    "example",
    [
        "voice_agent",
        pytest.param("captions_agent", marks=pytest.mark.slow),
        pytest.param("fallback_agent", marks=pytest.mark.slow),
    ],
)
def test_an_example_downloads_its_files(example: str) -> None:
    command = [sys.executable, EXAMPLES / f"{example}.py", "download-files"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "Finished downloading files for livekit.plugins.hark" in said


async def test_the_voice_agent_talks_in_the_terminal(sound_card: SoundCard, logs: Path) -> None:
    keyboard, terminal = pty.openpty()
    console = Program(
        [sys.executable, EXAMPLES / "voice_agent.py", "console"],
        logs / "console.log",
        env={**sound_card.env, "HARK_API_URL": ""},
        stdin=terminal,
    )
    try:
        greeted = await sound_card.until_played()
        await sound_card.say(TIMES)
        await sound_card.until_played(after=greeted)
    finally:
        os.write(keyboard, b"\x03")  # Ctrl-C
        console.stop()
        os.close(keyboard)
        os.close(terminal)
    played = sound_card.played
    async with hark.STT(api_url=None) as stt:
        heard = await stt.recognize(rtc.AudioFrame(played.tobytes(), RATE, 1, len(played)))
    said = f"Hello! Say something, and I will repeat it. You said: {TIMES.text}"
    assert count_word_errors(said, heard.alternatives[0].text).rate <= 0.2
