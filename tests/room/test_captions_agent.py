"""The captions agent in a room, with Hark on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rooms.call import Call
from rooms.captions import assert_in_order
from rooms.hark_server import HarkServer
from rooms.livekit_server import LiveKitServer
from rooms.recordings import (
    BELIEF,
    EPOCH,
    SAID_ONCE,
    TIMES,
    TIMES_AND_WISDOM,
    TRY_AGAIN,
)
from rooms.words import MOST_ERRORS, assert_told_once, count_word_errors
from rooms.workers import Worker

pytestmark = [pytest.mark.room, pytest.mark.timeout(120)]

Measured = Callable[[str], None]

CALLERS = ("ann", "bob", "cat")


async def test_three_people_who_talk_at_once_are_each_captioned_with_their_own_words(
    livekit: LiveKitServer, captions_agent: Worker, measured: Measured
) -> None:
    async with Call(livekit, agent=captions_agent.name, callers=CALLERS) as call:
        await asyncio.gather(*(caller.is_heard() for caller in call.callers))
        speeches = await asyncio.gather(
            *(
                caller.microphone.say(recording)
                for caller, recording in zip(call.callers, (TIMES, TRY_AGAIN, BELIEF), strict=True)
            )
        )
        captions = call.captions
        heard = dict(zip(CALLERS, speeches, strict=True))

        def is_all_final(name: str) -> bool:
            last = captions.of(name)[-1:]
            return any(one.is_final and one.at > heard[name].last_speech_at for one in last)

        await captions.until(lambda: all(map(is_all_final, CALLERS)), timeout_s=10)
    assert {caption.speaker for caption in captions.all} == set(CALLERS)
    for name, speech in heard.items():
        assert_in_order(captions.of(name))
        errors = count_word_errors(speech.recording.text, captions.text(name))
        assert errors.rate <= MOST_ERRORS, captions.text(name)
        assert not captions.of(name)[0].is_final
        latency_s = captions.finals(name)[-1].at - speech.last_speech_at
        assert latency_s > 0
        measured(f"{name}: WER {errors.rate:.1%}, final read {latency_s:.2f} s after last speech")


async def test_no_word_is_lost_or_told_twice_when_the_server_is_killed_and_comes_back(
    livekit: LiveKitServer, captions_agent: Worker, hark_server: HarkServer, measured: Measured
) -> None:
    async with Call(livekit, agent=captions_agent.name, callers=("ann",)) as call:
        captions = call.captions
        await call.caller.is_heard()
        speech = call.caller.microphone.start_saying(TIMES_AND_WISDOM)
        await captions.until(lambda: any("worst" in c.text for c in captions.all), timeout_s=15)
        hark_server.kill()
        hark_server.start()
        await asyncio.wait_for(speech.is_over.wait(), 30)
        await captions.until(lambda: "foolish" in captions.text("ann"), timeout_s=20)
    assert_in_order(captions.of("ann"))
    assert_told_once(SAID_ONCE, captions.text("ann"))
    errors = count_word_errors(TIMES_AND_WISDOM.text, captions.text("ann"))
    assert errors.rate <= 0.1, captions.text("ann")
    latency_s = captions.finals("ann")[-1].at - speech.last_speech_at
    measured(f"WER {errors.rate:.1%}, last final {latency_s:.2f} s after the last speech")


async def test_what_a_caller_said_before_leaving_in_the_middle_of_a_sentence_is_captioned(
    livekit: LiveKitServer, captions_agent: Worker
) -> None:
    async with Call(livekit, agent=captions_agent.name, callers=("ann", "bob")) as call:
        ann, bob = call.callers
        captions = call.captions
        await asyncio.gather(ann.is_heard(), bob.is_heard())
        ann.microphone.start_saying(TIMES)
        await captions.until(lambda: any("worst" in c.text for c in captions.all), timeout_s=15)
        await ann.leave()
        await captions.until(lambda: bool(captions.finals("ann")), timeout_s=5)
        await bob.microphone.say(EPOCH)
        await captions.until(lambda: bool(captions.finals("bob")), timeout_s=10)
    assert_in_order(captions.of("ann"))
    said = "It was the best of times, it was the worst"
    assert count_word_errors(said, captions.text("ann")).rate <= MOST_ERRORS, captions.text("ann")
    assert count_word_errors(EPOCH.text, captions.text("bob")).rate <= MOST_ERRORS
