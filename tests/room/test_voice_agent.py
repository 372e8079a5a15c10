"""The voice agent in a room, with Hark in its own process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rooms.call import Call
from rooms.captions import LONGEST_FINAL_LATENCY_S, assert_in_order
from rooms.livekit_server import LiveKitServer
from rooms.recordings import EPOCH, TIMES, TWO_CITIES
from rooms.words import count_word_errors
from rooms.workers import Worker

pytestmark = [pytest.mark.room, pytest.mark.timeout(120)]

Measured = Callable[[str], None]


async def test_everyone_in_a_room_reads_what_a_caller_says(
    livekit: LiveKitServer, voice_agent: Worker, measured: Measured
) -> None:
    async with Call(livekit, agent=voice_agent.name, callers=("ann",)) as call:
        await call.caller.until_agent_is("listening")
        speech = await call.caller.microphone.say(TWO_CITIES)
        await call.captions.until(
            lambda: call.captions.text("ann").lower().rstrip(".,").endswith("incredulity"),
            timeout_s=10,
        )
    captions = call.captions.of("ann")
    assert_in_order(captions)
    errors = count_word_errors(TWO_CITIES.text, call.captions.text("ann"))
    assert errors.rate <= 0.1, call.captions.text("ann")
    finals = call.captions.finals("ann")
    latency_s = finals[-1].at - speech.last_speech_at
    first_interim_s = captions[0].at - speech.began_at
    assert not captions[0].is_final
    assert 0 < latency_s < LONGEST_FINAL_LATENCY_S
    measured(f"WER {errors.rate:.1%} of {errors.said} words, {len(captions)} texts")
    measured(f"first words read {first_interim_s:.2f} s after the caller began")
    measured(f"final read {latency_s:.2f} s after the last speech")


async def test_a_caller_interrupts_the_agent_and_each_turn_is_answered_once(
    livekit: LiveKitServer, voice_agent: Worker, measured: Measured
) -> None:
    async with Call(livekit, agent=voice_agent.name, callers=("ann",)) as call:
        ann, captions = call.caller, call.captions
        await ann.until_agent_is("listening")
        first = await ann.microphone.say(TIMES)
        await ann.until_agent_is("speaking", timeout_s=10)
        answered_at = await ann.loudspeaker.until_audible(after=first.last_speech_at)

        second = ann.microphone.start_saying(EPOCH)
        await ann.until_agent_is("listening", timeout_s=10)
        silent_at = ann.loudspeaker.last_audible_at
        await ann.until_agent_is("speaking", timeout_s=10)
        await ann.until_agent_is("listening", timeout_s=15)
        agent = call.agent_identity
        await captions.until(lambda: len(captions.finals(agent)) == 3, timeout_s=5)

    said = [caption.text for caption in captions.finals("ann")]
    answers = [caption.text for caption in captions.finals(agent)][1:]
    assert len(said) == 2
    assert count_word_errors(TIMES.text, said[0]).rate <= 0.1, said
    assert count_word_errors(EPOCH.text, said[1]).rate <= 0.2, said
    assert f"You said: {said[0]}".startswith(answers[0])
    assert len(answers[0]) < len(f"You said: {said[0]}")
    assert answers[1] == f"You said: {said[1]}"
    measured(f"answer heard {answered_at - first.last_speech_at:.2f} s after the last speech")
    measured(f"agent silent {silent_at - second.began_at:.2f} s after the caller broke in")
