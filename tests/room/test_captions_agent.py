"""The captions agent in a room, with Hark on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rooms.call import Call
from rooms.captions import LONGEST_FINAL_LATENCY_S, assert_in_order
from rooms.hark_server import HarkServer
from rooms.livekit_server import LiveKitServer
from rooms.recordings import TIMES, TRY_AGAIN, TWO_CITIES, TWO_CITIES_ONCE
from rooms.words import assert_told_once, count_word_errors
from rooms.workers import Worker

pytestmark = [pytest.mark.room, pytest.mark.timeout(120)]

Measured = Callable[[str], None]


@pytest.fixture(scope="module")
def hark_server(logs: Path) -> Iterator[HarkServer]:
    server = HarkServer(logs)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def captions_agent(livekit: LiveKitServer, hark_server: HarkServer, logs: Path) -> Iterator[Worker]:
    worker = Worker("captions_agent", "start", livekit, logs, HARK_API_URL=hark_server.url)
    worker.wait_until_ready()
    yield worker
    worker.stop()


async def test_two_callers_who_talk_at_once_are_both_captioned(
    livekit: LiveKitServer, captions_agent: Worker, measured: Measured
) -> None:
    async with Call(livekit, agent=captions_agent.name, callers=("ann", "bob")) as call:
        ann, bob = call.callers
        await asyncio.gather(ann.is_heard(), bob.is_heard())
        of_ann, of_bob = await asyncio.gather(
            ann.microphone.say(TWO_CITIES), bob.microphone.say(TRY_AGAIN)
        )
        captions = call.captions
        await captions.until(
            lambda: "incredul" in captions.text("ann") and "again" in captions.text("bob"),
            timeout_s=10,
        )
    for speech, name, most_errors in ((of_ann, "ann", 0.1), (of_bob, "bob", 0.25)):
        assert_in_order(captions.of(name))
        errors = count_word_errors(speech.recording.text, captions.text(name))
        assert errors.rate <= most_errors, captions.text(name)
        latency_s = captions.finals(name)[-1].at - speech.last_speech_at
        assert 0 < latency_s < LONGEST_FINAL_LATENCY_S
        measured(f"{name}: WER {errors.rate:.1%}, final read {latency_s:.2f} s after last speech")


async def test_no_word_is_lost_or_told_twice_when_the_server_is_killed_and_comes_back(
    livekit: LiveKitServer, captions_agent: Worker, hark_server: HarkServer, measured: Measured
) -> None:
    async with Call(livekit, agent=captions_agent.name, callers=("ann",)) as call:
        captions = call.captions
        await call.caller.is_heard()
        speech = call.caller.microphone.start_saying(TWO_CITIES)
        await captions.until(lambda: any("worst" in c.text for c in captions.all), timeout_s=15)
        hark_server.kill()
        hark_server.start()
        await asyncio.wait_for(speech.is_over.wait(), 30)
        await captions.until(lambda: "incredul" in captions.text("ann"), timeout_s=20)
    assert_in_order(captions.of("ann"))
    assert_told_once(TWO_CITIES_ONCE, captions.text("ann"))
    errors = count_word_errors(TWO_CITIES.text, captions.text("ann"))
    assert errors.rate <= 0.1, captions.text("ann")
    latency_s = captions.finals("ann")[-1].at - speech.last_speech_at
    measured(f"WER {errors.rate:.1%}, last final {latency_s:.2f} s after the last speech")


@pytest.mark.slow
async def test_what_a_caller_said_before_leaving_in_the_middle_of_a_sentence_is_captioned(
    livekit: LiveKitServer, captions_agent: Worker, hark_server: HarkServer
) -> None:
    async with Call(livekit, agent=captions_agent.name, callers=("ann", "bob")) as call:
        ann, bob = call.callers
        captions = call.captions
        await asyncio.gather(ann.is_heard(), bob.is_heard())
        ann.microphone.start_saying(TWO_CITIES)
        await captions.until(lambda: any("worst" in c.text for c in captions.all), timeout_s=15)
        await ann.leave()
        await captions.until(lambda: bool(captions.finals("ann")), timeout_s=5)
        await bob.microphone.say(TIMES)
        await captions.until(lambda: bool(captions.finals("bob")), timeout_s=10)
    assert_in_order(captions.of("ann"))
    said = "It was the best of times, it was the worst"
    assert count_word_errors(said, captions.text("ann")).rate <= 0.3, captions.text("ann")
    assert count_word_errors(TIMES.text, captions.text("bob")).rate <= 0.1
