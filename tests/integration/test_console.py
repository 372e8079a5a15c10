"""The voice agent in LiveKit's console: one process, no room, audio from whoever started it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hearing.console import DEADLINE_S, console
from hearing.recordings import two_sentences

EXAMPLE = Path(__file__).parents[2] / "examples" / "voice_agent.py"


@pytest.mark.timeout(120)
async def test_the_agent_hears_and_answers_in_the_console(tmp_path: Path) -> None:
    pytest.importorskip("hibari", reason="the example's voice, hibari-tts, is not installed")
    log = tmp_path / "log"
    async with console(EXAMPLE, log) as (user, agent):
        await asyncio.wait_for(user.until_listening(), DEADLINE_S)
        saying = asyncio.create_task(user.say(two_sentences()))
        said = await asyncio.wait_for(user.until_answered(), DEADLINE_S)
        saying.cancel()
        commands = [" ".join(p.cmdline()) for p in agent.children(recursive=True)]
    assert "Ever tried" in said[0], log.read_text()
    assert not any("hark.shared" in command for command in commands)
    assert any("hark.engines.worker_main" in command for command in commands)
