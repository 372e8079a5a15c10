"""LiveKit's agent session with Hark as its ears, in real time: no room, no language model."""

from __future__ import annotations

import asyncio

from hearing.recordings import Pcm, four_sentences, frames, silence
from hearing.transcripts import DEADLINE_S, hear, texts, until
from livekit.agents import Agent, UserInputTranscribedEvent
from livekit.agents.voice.io import AudioInput

from livekit import rtc
from livekit.plugins import hark

try:
    from livekit.agents import LiveSession
except ImportError:  # before LiveKit Agents 2
    from livekit.agents import AgentSession as LiveSession

FRAME_S = 0.02


class Microphone(AudioInput):
    """Gives a recording as a microphone does: frame by frame, in real time, and then silence."""

    def __init__(self, samples: Pcm) -> None:
        super().__init__(label="recording")
        self._frames = iter(frames(samples))
        (self._silence,) = frames(silence(FRAME_S))
        self._due: float | None = None

    async def __anext__(self) -> rtc.AudioFrame:
        now = asyncio.get_running_loop().time()
        self._due = now if self._due is None else self._due + FRAME_S
        await asyncio.sleep(self._due - now)
        return next(self._frames, self._silence)


class Hearing:
    """An agent session that only listens, and what it understands."""

    def __init__(self, stt: hark.STT) -> None:
        self.heard: list[UserInputTranscribedEvent] = []
        self.states: list[str] = []
        self._session: LiveSession[None] = LiveSession(
            stt=stt, vad=None, turn_handling={"turn_detection": "stt"}
        )
        self._session.on("user_input_transcribed", self.heard.append)
        self._session.on("user_state_changed", lambda change: self.states.append(change.new_state))

    @property
    def finals(self) -> list[str]:
        return [event.transcript for event in self.heard if event.is_final]

    async def listen(self, samples: Pcm, *, until_finals: int) -> None:
        self._session.input.audio = Microphone(samples)
        await self._session.start(Agent(instructions="Listen."))
        try:
            # The end of speech follows the final.
            await until(lambda: len(self.finals) >= until_finals <= self.states.count("listening"))
        finally:
            await asyncio.wait_for(self._session.aclose(), DEADLINE_S)


async def test_an_agent_session_hears_the_same_in_process_and_served(
    embedded: hark.STT, served: hark.STT
) -> None:
    recording = four_sentences()
    expected = texts(await hear(embedded.stream(), frames(recording)))
    assert len(expected) > 1
    hearings = [Hearing(embedded), Hearing(served)]
    await asyncio.gather(*(h.listen(recording, until_finals=len(expected)) for h in hearings))
    for hearing in hearings:
        assert hearing.finals == expected
        assert not all(event.is_final for event in hearing.heard)
        assert hearing.states == ["speaking", "listening"] * len(expected)
