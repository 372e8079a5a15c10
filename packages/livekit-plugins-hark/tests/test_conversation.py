from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fake_hark import ABLE, LIMITS, RATE
from livekit.agents import APITimeoutError

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


def _conversation(
    link: _Link, outbox: Outbox, liveness: Liveness, *, sent: RecognitionOptions, **wanted: int
) -> Conversation:
    times = StreamTimes(
        RATE, offset_s=lambda: 0.0, began_at=lambda _: None, ended_at=lambda _: None
    )
    options = replace(sent, **wanted)
    return Conversation(
        link,
        outbox=outbox,
        transcript=Transcript(times),
        liveness=liveness,
        sample_rate=RATE,
        sent_options=sent,
        wanted_options=lambda _: options,
        news=asyncio.Event(),
        tell=lambda _: None,
        warn=lambda _: None,
    )


async def test_new_options_are_told_after_what_was_heard_with_the_old_ones() -> None:
    outbox = Outbox(capacity=1000, headroom=0)
    outbox.push_audio(bytes(2 * 100))
    outbox.next_message(1000)
    outbox.forget(60, context=20)
    assert outbox.connect() == (60, 20)
    link = _Link()
    liveness = Liveness(sample_rate=RATE, start_sample=20, timeout_s=4, now=0)
    conversation = _conversation(
        link, outbox, liveness, sent=RecognitionOptions(), endpointing_silence_ms=700
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


class _Watched(Liveness):
    """Counts who looks."""

    looks = 0

    def is_dead(self, now: float) -> bool:
        self.looks += 1
        return super().is_dead(now)


@pytest.mark.parametrize(("timeout_s", "is_given_up"), [(30, False), (0.1, True)])
async def test_nobody_looks_at_a_connection_before_it_can_have_died(
    timeout_s: float, is_given_up: bool
) -> None:
    outbox = Outbox(capacity=3 * RATE, headroom=0)
    outbox.push_audio(bytes(2 * 2 * RATE))  # more than may wait for its answer
    outbox.connect()
    liveness = _Watched(
        sample_rate=RATE, start_sample=0, timeout_s=timeout_s, now=asyncio.get_running_loop().time()
    )
    running = asyncio.create_task(
        _conversation(_Link(), outbox, liveness, sent=RecognitionOptions()).run()
    )
    await asyncio.wait({running}, timeout=1.5)
    assert running.done() == is_given_up
    # Once when it can have died first of all, once when it is dead, once more to be sure.
    assert liveness.looks <= 4 if is_given_up else liveness.looks == 0
    if is_given_up:
        with pytest.raises(APITimeoutError):
            await running
    running.cancel()
