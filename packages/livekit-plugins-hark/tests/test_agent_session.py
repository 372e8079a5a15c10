"""The plugin under LiveKit's own pipeline."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from fake_hark import FakeHark, Script, frames, silence, speech
from listening import eventually
from livekit.agents.voice import io

from livekit import agents, rtc
from livekit.plugins import hark

MakeSTT = Callable[..., hark.STT]

# LiveKit Agents 2 renames it.
IS_LIVEKIT_2 = importlib.metadata.version("livekit-agents").startswith("2.")
Session: Any = getattr(agents, "LiveSession" if IS_LIVEKIT_2 else "AgentSession")


class Microphone(io.AudioInput):
    """Gives what it is fed."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    def hear(self, *audio: np.ndarray) -> None:
        for frame in frames(np.concatenate(audio)):
            self._frames.put_nowait(frame)

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class Listener(agents.Agent):
    """Notes the turns of its user and says nothing."""

    def __init__(self) -> None:
        super().__init__(instructions="")
        self.turns: list[str | None] = []

    async def on_user_turn_completed(self, turn_ctx: Any, new_message: Any) -> None:
        self.turns.append(new_message.text_content)
        raise agents.StopResponse


class Call:
    """A session with a microphone and a listening agent."""

    def __init__(self, stt: hark.STT, turn_detection: str) -> None:
        self.heard: list[str] = []
        self.errors: list[Any] = []
        self.agent = Listener()
        self.microphone = Microphone()
        self.session = Session(stt=stt, turn_handling={"turn_detection": turn_detection})
        self.session.on("user_input_transcribed", self._note)
        self.session.on("error", self.errors.append)
        self.session.input.audio = self.microphone

    def _note(self, event: Any) -> None:
        if event.is_final:
            self.heard.append(event.transcript)


@asynccontextmanager
async def calling(stt: hark.STT, turn_detection: str) -> AsyncIterator[Call]:
    call = Call(stt, turn_detection)
    await call.session.start(call.agent)
    try:
        yield call
    finally:
        await call.session.aclose()


@pytest.mark.faults
async def test_a_turn_is_committed_once_across_a_lost_connection(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(die_at=8000)]
    async with calling(make_stt(), "stt") as call:
        call.microphone.hear(silence(200), speech(1, 2, 3), silence())
        await eventually(lambda: bool(call.agent.turns))
        call.microphone.hear(speech(4), silence())
        await eventually(lambda: len(call.agent.turns) == 2)
    assert call.heard == ["w1 w2 w3", "w4"]
    assert call.agent.turns == ["w1 w2 w3", "w4"]
    assert len(server.connected_at) == 2


@pytest.mark.skipif(IS_LIVEKIT_2, reason="LiveKit Agents 2.0.0b1 does not flush")
async def test_a_manual_commit_flushes_instead_of_waiting(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    async with calling(make_stt(), "manual") as call:
        call.microphone.hear(silence(200), speech(1, 2))
        await eventually(lambda: sum(server.audio_messages) == 9600)
        assert await call.session.commit_user_turn(skip_reply=True) == "w1 w2"
        assert server.flushes == [1]


@pytest.mark.skipif(IS_LIVEKIT_2, reason="LiveKit Agents 2.0.0b1 does not flush")
async def test_a_manual_commit_without_speech_does_not_wait_for_its_timeout(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    async with calling(make_stt(), "manual") as call:
        call.microphone.hear(silence(200))
        await eventually(lambda: sum(server.audio_messages) == 3200)
        committed = call.session.commit_user_turn(skip_reply=True, transcript_timeout=60)
        assert await asyncio.wait_for(committed, 5) == ""


@pytest.mark.faults
@pytest.mark.usefixtures("quick_backoff")
async def test_a_session_outlives_a_server_that_is_away_for_a_while(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(refuse_with=(503, {})) for _ in range(3)]
    async with calling(make_stt(), "stt") as call:
        call.microphone.hear(silence(200), speech(1), silence())
        await eventually(lambda: call.agent.turns == ["w1"])
    assert len(server.connected_at) == 4
    assert all(event.error.recoverable for event in call.errors)
