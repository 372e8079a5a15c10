from __future__ import annotations

import asyncio
from dataclasses import replace

from fake_hark import ABLE, LIMITS, RATE

from hark_protocol import Audio, ClientMessage, Config, Ready, ServerMessage
from livekit.plugins.hark.conversation import Conversation
from livekit.plugins.hark.liveness import Liveness
from livekit.plugins.hark.options import RecognitionOptions
from livekit.plugins.hark.outbox import Outbox
from livekit.plugins.hark.transcript import StreamTimes, Transcript


class _Link:
    """Keeps what is sent, and answers nothing. Satisfies `Link`."""

    def __init__(self) -> None:
        self.ready = Ready("s", "m", "en", ABLE, LIMITS)
        self.sent: list[ClientMessage] = []
        self.has_sent = asyncio.Event()

    async def send(self, message: ClientMessage) -> None:
        self.sent.append(message)
        self.has_sent.set()

    async def receive(self) -> ServerMessage:
        return await asyncio.Future()

    async def aclose(self) -> None:
        pass


async def test_new_options_are_told_after_what_was_heard_with_the_old_ones() -> None:
    outbox = Outbox(capacity=1000, headroom=0)
    outbox.push_audio(bytes(2 * 100))
    outbox.next_message(1000)
    outbox.forget(60, context=20)
    assert outbox.connect() == (60, 20)
    link, old = _Link(), RecognitionOptions()
    new = replace(old, endpointing_silence_ms=700)
    conversation = Conversation(
        link,
        outbox=outbox,
        transcript=Transcript(
            StreamTimes(
                RATE, offset_s=lambda: 0.0, began_at=lambda _: None, ended_at=lambda _: None
            )
        ),
        liveness=Liveness(sample_rate=RATE, start_sample=20, timeout_s=4, now=0),
        sample_rate=RATE,
        sent_options=old,
        wanted_options=lambda _: new,
        news=asyncio.Event(),
        tell=lambda _: None,
        warn=lambda _: None,
    )
    running = asyncio.create_task(conversation.run())
    while len(link.sent) < 3:
        link.has_sent.clear()
        await asyncio.wait_for(link.has_sent.wait(), 10)
    running.cancel()
    context, config, rest = link.sent
    assert isinstance(context, Audio)
    assert isinstance(rest, Audio)
    assert len(context.pcm) == len(rest.pcm) == 2 * 40
    assert isinstance(config, Config)
    assert config.endpointing.silence_ms == 700
