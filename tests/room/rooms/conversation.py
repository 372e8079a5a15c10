"""An agent session that hears recordings in real time, without a room, and when it does what."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from livekit.agents import Agent, ModelSettings, io, llm, stt, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import shortuuid

from livekit import rtc
from livekit.plugins import hark

from .microphone import Speech
from .recordings import Recording

try:
    from livekit.agents import LiveSession
except ImportError:  # before LiveKit Agents 2
    from livekit.agents import AgentSession as LiveSession

RATE = 16_000
FRAME_SAMPLES = RATE // 50

Step = Literal["interim", "preflight", "final", "turn", "asked", "heard"]
"""A text from the STT, the commit of a turn, a request to the language model, or the first sound of
a reply."""

_STEPS: dict[stt.SpeechEventType, Step] = {
    stt.SpeechEventType.INTERIM_TRANSCRIPT: "interim",
    stt.SpeechEventType.PREFLIGHT_TRANSCRIPT: "preflight",
    stt.SpeechEventType.FINAL_TRANSCRIPT: "final",
}


@dataclass(frozen=True)
class Happened:
    """A step, when it was taken in seconds of the monotonic clock, and the text it is about."""

    at: float
    step: Step
    text: str = ""


class Unflushed(hark.STT):
    """Hark, as if it could not be flushed."""

    @property
    def capabilities(self) -> stt.STTCapabilities:
        return dataclasses.replace(super().capabilities, manual_flush=False)


class Conversation:
    """A session with a microphone, a language model that thinks for a while, and a loudspeaker.

    ```python
    async with Conversation(hark.STT(), turn_detection="stt") as conversation:
        await conversation.microphone.say(TIMES)
        await conversation.until(lambda: conversation.all("heard"))
    ```

    Attributes:
        history: all that has happened, in order.
    """

    def __init__(
        self,
        stt: hark.STT,
        *,
        turn_detection: Literal["stt", "vad", "manual"],
        voice: tts.TTS[Any] | None = None,
        think_s: float = 0.0,
        takes_preflights: bool = True,
        longest_silence_s: float = math.inf,
    ) -> None:
        """Nothing starts before the session is entered.

        Args:
            stt: to recognise with.
            turn_detection: who decides when a turn is over; "vad" is LiveKit's own.
            voice: for the replies; without one they are text.
            think_s: until the language model says its first word.
            takes_preflights: whether the session gets to see them.
            longest_silence_s: after this much silence the microphone waits for speech.
        """
        self.history: list[Happened] = []
        self.microphone = SessionMicrophone(longest_silence_s)
        self.session: LiveSession[None] = LiveSession(
            stt=stt,
            llm=ThinkingLLM(think_s, lambda said: self.note("asked", said)),
            turn_handling={
                "turn_detection": turn_detection,
                "interruption": {"resume_false_interruption": False},  # the loudspeaker cannot
            },
            aec_warmup_duration=None,
            **({"tts": voice} if voice else {}),
            **({"vad": None} if turn_detection != "vad" else {}),
        )
        self.session.input.audio = self.microphone
        if voice is not None:
            self.session.output.audio = SessionLoudspeaker(lambda: self.note("heard"))
        self._agent = _Listener(self.note, takes_preflights=takes_preflights)
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Conversation:
        await self.session.start(self._agent)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.wait_for(self.session.aclose(), 20)

    def note(self, step: Step, text: str = "") -> None:
        """Take note of something that happens now."""
        self.history.append(Happened(time.monotonic(), step, text))
        self._changed.set()

    def all(self, step: Step, *, after: float = 0.0) -> list[Happened]:
        """All that happened of a kind, after a time."""
        return [h for h in self.history if h.step == step and h.at > after]

    async def until(self, is_so: Callable[[], object], *, timeout_s: float = 20.0) -> None:
        """Wait for something to become true that depends on the history alone.

        Raises:
            TimeoutError: asyncio's; it did not.
        """

        async def wait() -> None:
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), timeout_s)


class SessionMicrophone(io.AudioInput):
    """Gives what is said, in real time, and silence where nothing is."""

    def __init__(self, longest_silence_s: float) -> None:
        super().__init__(label="microphone")
        self._longest_silence_s = longest_silence_s
        self._speeches: asyncio.Queue[Speech] = asyncio.Queue()
        self._frames = self._play()

    async def say(self, recording: Recording) -> Speech:
        """Say something, to its end."""
        speech = Speech(recording)
        self._speeches.put_nowait(speech)
        await asyncio.wait_for(speech.is_over.wait(), recording.duration_s + 20)
        return speech

    async def __anext__(self) -> rtc.AudioFrame:
        return await anext(self._frames)

    async def _play(self) -> AsyncIterator[rtc.AudioFrame]:
        silence, silence_s = np.zeros(FRAME_SAMPLES, np.int16), 0.0
        due = time.monotonic()
        while True:
            if self._speeches.empty() and silence_s < self._longest_silence_s:
                due = await _sleep_until(due)
                silence_s += FRAME_SAMPLES / RATE
                yield _frame(silence)
                continue
            speech = await self._speeches.get()
            silence_s, due = 0.0, max(due, time.monotonic())
            samples = speech.recording.samples_at(RATE)
            last_speech = int(speech.recording.last_speech_s * RATE)
            speech.began_at = due
            for start in range(0, len(samples), FRAME_SAMPLES):
                due = await _sleep_until(due)
                if start < last_speech:
                    speech.last_speech_at = time.monotonic()
                piece = samples[start : start + FRAME_SAMPLES]
                yield _frame(np.pad(piece, (0, FRAME_SAMPLES - len(piece))))
            speech.is_over.set()


class SessionLoudspeaker(io.AudioOutput):
    """Tells when a reply is first heard. A reply is over as soon as it is complete."""

    def __init__(self, on_sound: Callable[[], None]) -> None:
        super().__init__(label="loudspeaker", capabilities=io.AudioOutputCapabilities(pause=False))
        self._on_sound = on_sound
        self._played_s = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._played_s:
            self.on_playback_started(created_at=time.time())
            self._on_sound()
        self._played_s += frame.duration

    def flush(self) -> None:
        super().flush()
        self._end(interrupted=False)

    def clear_buffer(self) -> None:
        self._end(interrupted=True)

    def _end(self, *, interrupted: bool) -> None:
        played_s, self._played_s = self._played_s, 0.0
        if played_s:
            self.on_playback_finished(playback_position=played_s, interrupted=interrupted)


class ThinkingLLM(llm.LLM[Any]):
    """Thinks for a while, and then repeats what the user said."""

    def __init__(self, think_s: float, on_asked: Callable[[str], None]) -> None:
        super().__init__()
        self._think_s = think_s
        self._on_asked = on_asked

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        said = [m.text_content or "" for m in chat_ctx.messages() if m.role == "user"][-1]
        self._on_asked(said)
        reply = _Reply(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)
        reply.text, reply.think_s = f"You said: {said}", self._think_s
        return reply


class _Reply(llm.LLMStream):
    text: str
    think_s: float

    async def _run(self) -> None:
        await asyncio.sleep(self.think_s)
        delta = llm.ChoiceDelta(role="assistant", content=self.text)
        self._event_ch.send_nowait(llm.ChatChunk(id=shortuuid("reply_"), delta=delta))


class _Listener(Agent):
    """Tells what the session is told of its user."""

    def __init__(self, note: Callable[[Step, str], None], *, takes_preflights: bool) -> None:
        super().__init__(instructions="Repeat what the user says.")
        self._note = note
        self._takes_preflights = takes_preflights

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterator[stt.SpeechEvent]:
        async for event in Agent.default.stt_node(self, audio, model_settings):
            step = _STEPS.get(event.type)
            if step == "preflight" and not self._takes_preflights:
                continue
            if step is not None:
                self._note(step, event.alternatives[0].text)
            yield event

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        self._note("turn", new_message.text_content or "")


async def _sleep_until(due: float) -> float:
    """Sleep until a frame is due.

    Returns:
        When the next one is.
    """
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    return due + FRAME_SAMPLES / RATE


def _frame(samples: npt.NDArray[np.int16]) -> rtc.AudioFrame:
    return rtc.AudioFrame(samples.astype(np.int16).tobytes(), RATE, 1, len(samples))
