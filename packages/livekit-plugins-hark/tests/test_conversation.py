"""One connection, with a link whose other end is the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from fake_hark import ABLE, LIMITS
from listening import eventually, texts
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.stt import SpeechEvent

from hark_protocol import (
    Audio,
    ClientMessage,
    Close,
    Closed,
    Draining,
    Error,
    Final,
    Progress,
    Ready,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
)
from livekit.plugins.hark import conversation
from livekit.plugins.hark.conversation import Conversation, Outcome
from livekit.plugins.hark.errors import from_message, lost
from livekit.plugins.hark.liveness import Liveness
from livekit.plugins.hark.options import RecognitionOptions
from livekit.plugins.hark.outbox import Outbox
from livekit.plugins.hark.transcript import StreamTimes, Transcript

RATE = 16_000
READY = Ready("s", "m", "en", ABLE, LIMITS)


class TestLink:
    """Takes everything, and gives what it is told to give."""

    __test__ = False

    def __init__(self) -> None:
        self.ready = READY
        self.sent: list[ClientMessage] = []
        self.given: asyncio.Queue[ServerMessage | APIError] = asyncio.Queue()
        self.broken: APIError | None = None

    async def send(self, message: ClientMessage) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent.append(message)

    async def receive(self) -> ServerMessage:
        message = await self.given.get()
        if isinstance(message, APIError):
            raise message
        return message

    async def aclose(self) -> None:
        """Nothing to give up."""


class Setting:
    """A conversation and all that it works with."""

    def __init__(self, *, liveness_timeout_s: float = 4.0, capacity_s: float = 60.0) -> None:
        self.link = TestLink()
        self.news = asyncio.Event()
        self.options = RecognitionOptions()
        self.events: list[SpeechEvent] = []
        self.warnings: list[APIError] = []
        self.outbox = Outbox(capacity=int(capacity_s * RATE), headroom=0)
        times = StreamTimes(RATE, lambda: 0.0, lambda position: None, lambda position: None)
        self.transcript = Transcript(times)
        self.transcript.connected(READY, self.outbox.connect()[0])
        self.conversation = Conversation(
            self.link,
            outbox=self.outbox,
            transcript=self.transcript,
            liveness=Liveness(
                sample_rate=RATE,
                start_sample=0,
                timeout_s=liveness_timeout_s,
                now=asyncio.get_running_loop().time(),
            ),
            sample_rate=RATE,
            sent_options=self.options,
            wanted_options=lambda ready: self.options,
            news=self.news,
            tell=self._tell,
            warn=self.warnings.append,
        )

    def _tell(self, events: Sequence[SpeechEvent]) -> None:
        self.events.extend(events)

    def push(self, seconds: float) -> None:
        self.outbox.push_audio(bytes(2 * int(seconds * RATE)))
        self.news.set()


async def test_the_reason_for_a_broken_connection_is_preferred_to_its_symptom() -> None:
    setting = Setting()
    setting.link.broken = lost("broken pipe")
    setting.push(0.1)
    reason = from_message(Error.from_code("model_not_found", "gone"))
    asyncio.get_running_loop().call_later(0.1, setting.link.given.put_nowait, reason)
    with pytest.raises(APIStatusError, match="gone"):
        await setting.conversation.run()


async def test_a_broken_connection_without_a_reason_does_not_wait_for_one_for_long() -> None:
    setting = Setting()
    setting.link.broken = lost("broken pipe")
    setting.push(0.1)
    began = time.monotonic()
    with pytest.raises(APIConnectionError, match="broken pipe"):
        await setting.conversation.run()
    assert time.monotonic() - began < 1.0


async def test_a_sign_of_life_just_after_the_deadline_still_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "SECOND_LOOK_S", 1.0)
    setting = Setting(liveness_timeout_s=1.0)
    setting.push(2.0)
    running = asyncio.create_task(setting.conversation.run())
    await asyncio.sleep(1.5)  # between the deadline and the second look
    setting.link.given.put_nowait(Progress(2 * RATE, 2 * RATE))
    setting.outbox.end()
    setting.news.set()
    setting.link.given.put_nowait(Closed())
    assert await running is Outcome.FINISHED


async def test_an_utterance_that_the_recogniser_failed_on_is_told_from_one_without_words() -> None:
    setting = Setting()
    setting.push(2.0)
    for number, final in enumerate(
        (Final(1, 0, RATE, ""), Final(2, RATE, 2 * RATE, "", failed=True))
    ):
        setting.link.given.put_nowait(SpeechStarted(number + 1, number * RATE))
        setting.link.given.put_nowait(final)
        setting.link.given.put_nowait(SpeechEnded(number + 1, (number + 1) * RATE))
    setting.link.given.put_nowait(Closed())
    assert await setting.conversation.run() is Outcome.FINISHED
    assert texts(setting.events) == ["", ""]
    assert ["failed to recognise" in str(warning) for warning in setting.warnings] == [True]


async def test_silence_after_audio_is_a_dead_connection() -> None:
    setting = Setting(liveness_timeout_s=0.2)
    setting.push(2.0)
    with pytest.raises(APITimeoutError, match="stopped answering"):
        await asyncio.wait_for(setting.conversation.run(), 5)


async def test_a_server_slower_than_the_audio_is_left_when_audio_was_given_up() -> None:
    setting = Setting(capacity_s=1.0)
    setting.push(2.5)  # more than fits before any of it could be sent
    with pytest.raises(APIConnectionError, match="more slowly"):
        await setting.conversation.run()


async def test_a_draining_server_is_left_at_once_between_utterances() -> None:
    setting = Setting()
    setting.link.given.put_nowait(Draining())
    assert await setting.conversation.run() is Outcome.MOVING


async def test_a_draining_server_that_is_about_to_finish_is_not_left() -> None:
    setting = Setting()
    setting.push(0.1)
    setting.outbox.end()
    running = asyncio.create_task(setting.conversation.run())
    await eventually(lambda: Close() in setting.link.sent)
    setting.link.given.put_nowait(Draining())
    setting.link.given.put_nowait(Closed())
    assert await running is Outcome.FINISHED


async def test_long_audio_goes_out_in_pieces() -> None:
    setting = Setting()
    setting.push(2.5)
    setting.outbox.end()
    running = asyncio.create_task(setting.conversation.run())
    await eventually(lambda: Close() in setting.link.sent)
    pieces = [len(message.pcm) // 2 for message in setting.link.sent if isinstance(message, Audio)]
    assert pieces == [RATE, RATE, RATE // 2]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
