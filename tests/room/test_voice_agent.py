"""Voice agents in rooms: whole turns, without a cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rooms.call import Call
from rooms.captions import assert_in_order
from rooms.livekit_server import LiveKitServer
from rooms.recordings import AGE, EPOCH, TIMES, Recording
from rooms.words import MOST_ERRORS, count_word_errors
from rooms.workers import Worker

pytestmark = [pytest.mark.room, pytest.mark.timeout(120)]

Measured = Callable[[str], None]


async def test_two_callers_at_once_are_each_understood_by_a_model_that_was_there_before(
    livekit: LiveKitServer, voice_agent: Worker, measured: Measured
) -> None:
    recogniser = voice_agent.recogniser
    await asyncio.to_thread(recogniser.wait_until_loaded)
    loaded, sessions = recogniser.models, recogniser.log.count("session started")
    assert loaded

    async def talk(name: str, recording: Recording) -> None:
        async with Call(livekit, agent=voice_agent.name, callers=(name,)) as call:
            await call.is_greeted()
            speech = await call.caller.microphone.say(recording)
            captions, agent = call.captions, call.agent_identity
            await captions.until(lambda: len(captions.finals(agent)) == 2, timeout_s=20)
        assert_in_order(captions.of(name))
        errors = count_word_errors(recording.text, captions.text(name))
        assert errors.rate <= MOST_ERRORS, captions.text(name)
        assert captions.finals(agent)[1].text == f"You said: {captions.text(name)}"
        first, last = captions.of(name)[0], captions.finals(name)[-1]
        assert not first.is_final
        assert last.at > speech.last_speech_at
        measured(f"{name}: WER {errors.rate:.1%}")
        measured(f"{name}: first words read {first.at - speech.began_at:.2f} s after the first")
        measured(f"{name}: final read {last.at - speech.last_speech_at:.2f} s after last speech")

    await asyncio.gather(talk("ann", EPOCH), talk("bob", AGE))
    assert recogniser.log.count("session started") == sessions + 2
    assert recogniser.models == loaded


@pytest.mark.parametrize(
    "agent", ["voice_agent", pytest.param("vad_agent", marks=pytest.mark.slow)]
)
async def test_a_caller_interrupts_the_agent_and_each_turn_is_answered_once(
    request: pytest.FixtureRequest, livekit: LiveKitServer, agent: str, measured: Measured
) -> None:
    worker: Worker = request.getfixturevalue(agent)
    async with Call(livekit, agent=worker.name, callers=("ann",)) as call:
        ann, captions, speaker = call.caller, call.captions, call.agent_identity
        await call.is_greeted()
        first = await ann.microphone.say(TIMES)
        await ann.until_agent_is("speaking", timeout_s=10)
        answered_at = await ann.loudspeaker.until_audible(after=first.last_speech_at)

        second = ann.microphone.start_saying(EPOCH)
        await captions.until(lambda: len(captions.finals(speaker)) == 2, timeout_s=10)
        silent_at = ann.loudspeaker.last_audible_at
        await asyncio.wait_for(second.is_over.wait(), 20)
        await captions.until(lambda: len(captions.finals(speaker)) == 3, timeout_s=20)
        await ann.until_agent_is("listening", timeout_s=10)

    said = [caption.text for caption in captions.finals("ann")]
    answers = [caption.text for caption in captions.finals(speaker)][1:]
    assert len(said) == 2
    assert count_word_errors(TIMES.text, said[0]).rate <= MOST_ERRORS, said
    assert count_word_errors(EPOCH.text, said[1]).rate <= MOST_ERRORS, said
    assert f"You said: {said[0]}".startswith(answers[0])
    assert len(answers[0]) < len(f"You said: {said[0]}")
    assert answers[1:] == [f"You said: {said[1]}"]
    measured(f"answer heard {answered_at - first.last_speech_at:.2f} s after the last speech")
    measured(f"agent silent {silent_at - second.began_at:.2f} s after the caller broke in")
