"""What LiveKit's agent session relies on in an STT's events."""

from __future__ import annotations

import asyncio

import pytest
from hearing.recordings import RATE, Pcm, frames, silence, two_sentences, two_times
from hearing.transcripts import (
    END,
    FINAL,
    INTERIM,
    PREFLIGHT,
    START,
    Listener,
    assert_in_order,
    hear,
    of_kind,
    texts,
    told,
    usage_s,
)
from livekit.agents.stt import RecognizeStream, SpeechEvent

from livekit.plugins import hark

FRAME_S = 0.02

PAUSE_S = 0.1
"""So much after an utterance's audio Hark has found its pause, but not yet its end."""


def push(stream: RecognizeStream, samples: Pcm) -> None:
    for frame in frames(samples):
        stream.push_frame(frame)


async def without_hypotheses(stt: hark.STT, samples: Pcm) -> list[SpeechEvent]:
    stt.update_options(interim_results=False)
    events = await hear(stt.stream(), frames(samples))
    stt.update_options(interim_results=True)
    return events


async def speak_until_interim(stream: RecognizeStream, listener: Listener, samples: Pcm) -> None:
    """Push in real time until there is a new interim, and then the rest at once."""
    interims = len(of_kind(listener.events, INTERIM))
    waiting = iter(frames(samples))
    while len(of_kind(listener.events, INTERIM)) == interims:
        stream.push_frame(next(waiting))
        await asyncio.sleep(FRAME_S)
    for frame in waiting:
        stream.push_frame(frame)


async def test_an_utterance_has_interims_and_a_preflight_before_its_final(stt: hark.STT) -> None:
    samples = two_times()
    expected = await without_hypotheses(stt, samples)
    spans = [event.alternatives[0] for event in of_kind(expected, FINAL)]
    async with stt.stream() as stream:
        listener = Listener(stream)
        pushed = 0
        for i, span in enumerate(spans):
            pause = int((span.end_time + PAUSE_S) * RATE)
            await speak_until_interim(stream, listener, samples[pushed:pause])
            preflight = await listener.until(PREFLIGHT, i + 1)
            assert preflight.alternatives == [span]
            assert len(of_kind(listener.events, FINAL)) == i
            pushed = pause
        push(stream, samples[pushed:])
        stream.end_input()
        events = await listener.end()
    assert_in_order(events)
    rest = [event for event in events if event.type not in (INTERIM, PREFLIGHT)]
    assert told(rest) == told(expected)


async def test_times_count_from_the_start_time_offset(stt: hark.STT) -> None:
    expected = await without_hypotheses(stt, two_sentences())
    stream = stt.stream()
    stream.start_time_offset = 100.0
    events = await hear(stream, frames(two_sentences()))
    for ours, theirs in zip(of_kind(events, FINAL), of_kind(expected, FINAL), strict=True):
        ((final,), (reference,)) = ours.alternatives, theirs.alternatives
        assert final.start_time == pytest.approx(100 + reference.start_time, abs=1e-6)
        assert final.end_time == pytest.approx(100 + reference.end_time, abs=1e-6)
    assert_in_order(events)


async def test_the_usage_reported_adds_up_to_the_audio(stt: hark.STT) -> None:
    samples = two_times()
    events = await hear(stt.stream(), frames(samples))
    assert usage_s(events) == pytest.approx(len(samples) / RATE, abs=1e-6)


async def test_a_flush_in_the_middle_of_a_sentence_gives_its_final(stt: hark.STT) -> None:
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, two_times()[: 4 * RATE])
        stream.flush()
        final = await listener.until(FINAL)
        assert "best of times" in final.alternatives[0].text
        await listener.until(END)
        assert_in_order(listener.events)


async def test_a_flush_in_silence_gives_an_empty_final(stt: hark.STT) -> None:
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, silence(1))
        stream.flush()
        assert (await listener.until(FINAL)).alternatives[0].text == ""
        assert of_kind(listener.events, START, END) == []


async def test_after_a_flush_the_stream_goes_on(stt: hark.STT) -> None:
    once = texts(await hear(stt.stream(), frames(two_sentences())))
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, two_sentences())
        stream.flush()
        await listener.until(FINAL, len(once))
        push(stream, two_sentences())
        stream.end_input()
        events = await listener.end()
    assert texts(events) == 2 * once
    assert_in_order(events)


async def test_the_end_of_the_input_ends_the_iteration(stt: hark.STT) -> None:
    async with stt.stream() as stream:
        stream.end_input()
        assert [event async for event in stream] == []


async def test_a_stream_is_closed_while_somebody_iterates_over_it(stt: hark.STT) -> None:
    stream = stt.stream()
    listener = Listener(stream)
    push(stream, two_sentences())
    await listener.until(START)
    await asyncio.wait_for(stream.aclose(), 5)
    await listener.end()


async def test_speech_was_spoken_when_its_audio_was_pushed(stt: hark.STT) -> None:
    """Wall-clock times of LiveKit's turn metrics, which are taken of the moment frames came."""
    events = await hear(stt.stream(), frames(two_sentences()))
    for event in of_kind(events, END):
        assert event.speech_end_time is not None
        assert event.speech_end_time <= event.created_at
