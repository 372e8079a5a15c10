"""What flushes and preflights are good for: turns of an agent session, without a room.

benchmarks/turns.py says how much time they save.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from livekit.agents.stt import STTCapabilities

from livekit.plugins import hark
from rooms.conversation import Conversation, Step
from rooms.recordings import EPOCH
from rooms.words import count_word_errors

needs_flush = pytest.mark.skipif(
    "manual_flush" not in {field.name for field in dataclasses.fields(STTCapabilities)},
    reason="LiveKit Agents 2.0.0b1 does not flush",
)

LONG_SILENCE_MS = 10_000


@pytest.fixture
async def patient_stt() -> AsyncIterator[hark.STT]:
    """Hark, which by itself waits for 10 s of silence before an utterance is over."""
    async with hark.STT(api_url=None, endpointing_silence_ms=LONG_SILENCE_MS) as stt:
        yield stt


@pytest.fixture
async def stt() -> AsyncIterator[hark.STT]:
    async with hark.STT(api_url=None) as stt:
        yield stt


def texts(conversation: Conversation, step: Step) -> list[str]:
    return [happened.text for happened in conversation.all(step)]


def steps(conversation: Conversation) -> list[Step]:
    """All but interims."""
    return [happened.step for happened in conversation.history if happened.step != "interim"]


def assert_answered_once(conversation: Conversation) -> None:
    """One final, right, made one turn, and the language model was asked of that and no other."""
    (final,) = texts(conversation, "final")
    assert count_word_errors(EPOCH.text, final).rate <= 0.2
    assert texts(conversation, "turn") == texts(conversation, "asked") == [final]


@needs_flush
async def test_livekits_vad_ends_a_turn_by_a_flush_before_the_endpointing_silence_is_over(
    patient_stt: hark.STT,
) -> None:
    # There never is the silence that Hark waits for, so there is no final but by a flush.
    async with Conversation(patient_stt, turn_detection="vad", longest_silence_s=1) as conversation:
        await conversation.microphone.say(EPOCH)
        await conversation.until(lambda: conversation.all("turn"))
        assert_answered_once(conversation)


@needs_flush
async def test_a_turn_that_the_application_ends_is_flushed_before_the_endpointing_silence_is_over(
    patient_stt: hark.STT,
) -> None:
    async with Conversation(
        patient_stt, turn_detection="manual", longest_silence_s=1
    ) as conversation:
        await conversation.microphone.say(EPOCH)
        said = await conversation.session.commit_user_turn(transcript_timeout=20)
        await conversation.until(lambda: conversation.all("asked"))
        assert [said] == texts(conversation, "final")
        assert_answered_once(conversation)


async def test_a_preflight_lets_the_reply_begin_before_the_final(stt: hark.STT) -> None:
    async with Conversation(stt, turn_detection="stt") as conversation:
        await conversation.microphone.say(EPOCH)
        await conversation.until(lambda: conversation.all("turn"))
        assert_answered_once(conversation)
        assert steps(conversation) == ["preflight", "asked", "final", "turn"]


async def test_without_a_preflight_the_reply_waits_for_the_turn_to_be_over(stt: hark.STT) -> None:
    async with Conversation(stt, turn_detection="stt", takes_preflights=False) as conversation:
        await conversation.microphone.say(EPOCH)
        await conversation.until(lambda: conversation.all("asked"))
        assert_answered_once(conversation)
        assert steps(conversation) == ["final", "turn", "asked"]
