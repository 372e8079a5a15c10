"""Calls in which something dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rooms.call import Call
from rooms.captions import Captions, assert_in_order
from rooms.hark_server import HarkServer
from rooms.livekit_server import LiveKitServer
from rooms.microphone import Speech
from rooms.recordings import EPOCH, SAID_ONCE, TIMES, TIMES_AND_WISDOM
from rooms.words import MOST_ERRORS, assert_told_once, count_word_errors
from rooms.workers import Worker, running

pytestmark = [pytest.mark.room, pytest.mark.faults, pytest.mark.timeout(180)]

StartWorker = Callable[..., Worker]
Measured = Callable[[str], None]


@pytest.fixture
def hark_server(logs: Path) -> Iterator[HarkServer]:
    """One for each test, which may leave it dead."""
    server = HarkServer(logs)
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def local_captions_agent(livekit: LiveKitServer, logs: Path) -> Iterator[Worker]:
    """The captions agent with Hark on the same machine."""
    with running(Worker("captions_agent", "dev", livekit, logs)) as worker:
        yield worker


def assert_all_was_told(captions: Captions, speech: Speech) -> str:
    """Each word of the recording once and in order; gives what is to be reported."""
    assert_in_order(captions.of("ann"))
    assert_told_once(SAID_ONCE, captions.text("ann"))
    errors = count_word_errors(TIMES_AND_WISDOM.text, captions.text("ann"))
    assert errors.rate <= 0.1, captions.text("ann")
    latency_s = captions.finals("ann")[-1].at - speech.last_speech_at
    return f"WER {errors.rate:.1%}, last final {latency_s:.2f} s after the last speech"


@pytest.mark.parametrize("victims", ["servers", "models"])
async def test_no_word_is_lost_or_told_twice_when_processes_of_the_recogniser_are_killed(
    livekit: LiveKitServer, local_captions_agent: Worker, victims: str, measured: Measured
) -> None:
    agent = local_captions_agent
    async with Call(livekit, agent=agent.name, callers=("ann",)) as call:
        captions = call.captions
        await call.caller.is_heard()
        speech = call.caller.microphone.start_saying(TIMES_AND_WISDOM)
        await captions.until(lambda: any("worst" in c.text for c in captions.all), timeout_s=30)
        processes = getattr(agent.recogniser, victims)
        assert processes
        for process in processes:
            process.kill()
        await asyncio.wait_for(speech.is_over.wait(), 30)
        await captions.until(lambda: "foolish" in captions.text("ann"), timeout_s=20)
    measured(assert_all_was_told(captions, speech))


@pytest.mark.slow
async def test_a_call_that_begins_before_the_server_is_there_loses_nothing(
    livekit: LiveKitServer, start_worker: StartWorker, hark_server: HarkServer, measured: Measured
) -> None:
    hark_server.kill()
    agent = start_worker("captions_agent", HARK_API_URL=hark_server.url)
    async with Call(livekit, agent=agent.name, callers=("ann",)) as call:
        captions = call.captions
        await call.caller.is_heard()
        speech = await call.caller.microphone.say(TIMES_AND_WISDOM)
        assert not captions.all
        hark_server.start()
        await captions.until(lambda: "foolish" in captions.text("ann"), timeout_s=30)
    measured(assert_all_was_told(captions, speech))


@pytest.mark.slow
async def test_the_fallback_agent_goes_on_by_itself_when_the_server_is_gone(
    livekit: LiveKitServer, start_worker: StartWorker, hark_server: HarkServer, measured: Measured
) -> None:
    agent = start_worker("fallback_agent", HARK_API_URL=hark_server.url)
    # LiveKit's FallbackAdapter says so of audio that comes while it switches.
    agent.known_errors.append("error happened in forwarding input")
    async with Call(livekit, agent=agent.name, callers=("ann",)) as call:
        ann, captions = call.caller, call.captions
        await call.is_greeted()
        await ann.microphone.say(TIMES)
        await ann.until_agent_is("speaking", timeout_s=10)
        assert hark_server.output.count("session started") == 1
        hark_server.kill()
        await ann.until_agent_is("listening", timeout_s=20)

        second = await ann.microphone.say(EPOCH)
        await captions.until(lambda: len(captions.finals("ann")) == 2, timeout_s=10)
        await ann.until_agent_is("speaking", timeout_s=10)
    said = [caption.text for caption in captions.finals("ann")]
    assert count_word_errors(TIMES.text, said[0]).rate <= MOST_ERRORS
    assert count_word_errors(EPOCH.text, said[1]).rate <= MOST_ERRORS
    latency_s = captions.finals("ann")[-1].at - second.last_speech_at
    measured(f"final read {latency_s:.2f} s after the last speech, without the server")


async def test_a_caller_who_leaves_in_the_middle_of_a_sentence_ends_the_call_and_no_other(
    livekit: LiveKitServer, voice_agent: Worker
) -> None:
    recogniser = voice_agent.recogniser
    ended = recogniser.log.count("session ended")
    async with (
        Call(livekit, agent=voice_agent.name, callers=("ann",)) as with_ann,
        Call(livekit, agent=voice_agent.name, callers=("bob",)) as with_bob,
    ):
        ann, bob = with_ann.caller, with_bob.caller
        await asyncio.gather(with_ann.is_greeted(), with_bob.is_greeted())
        ann.microphone.start_saying(TIMES_AND_WISDOM)
        bobs = bob.microphone.start_saying(TIMES)
        captions = with_ann.captions
        await captions.until(lambda: any("worst" in c.text for c in captions.all), timeout_s=15)
        await ann.leave()

        await asyncio.wait_for(bobs.is_over.wait(), 20)
        await bob.until_agent_is("speaking", timeout_s=10)
        heard = with_bob.captions
        await heard.until(lambda: bool(heard.finals("bob")), timeout_s=5)
        assert count_word_errors(TIMES.text, heard.text("bob")).rate <= MOST_ERRORS
        await asyncio.to_thread(recogniser.wait_for, "session ended", count=ended + 1, timeout_s=10)
        assert recogniser.log.count("session ended") == ended + 1
    await asyncio.to_thread(recogniser.wait_for, "session ended", count=ended + 2, timeout_s=10)
    assert "worst" not in recogniser.log
