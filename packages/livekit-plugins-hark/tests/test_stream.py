"""Streams to a server that behaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from fake_hark import RATE, FakeHark, Script, frames, silence, speech
from listening import (
    END,
    FINAL,
    INTERIM,
    PREFLIGHT,
    START,
    USAGE,
    Listener,
    assert_order,
    eventually,
    hear,
    of_kind,
    push,
    spans,
    texts,
)
from livekit.agents.metrics import STTMetrics
from livekit.agents.types import NOT_GIVEN

from livekit import rtc
from livekit.plugins import hark

MakeSTT = Callable[..., hark.STT]


async def test_events_come_in_their_order(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        events = await hear(
            stream, silence(), speech(1, 2), silence(), speech(3, ms=100), silence()
        )
    first = [START, INTERIM, INTERIM, PREFLIGHT, FINAL, END]
    assert [event.type for event in events] == [*first, START, PREFLIGHT, FINAL, END, USAGE]
    assert texts(events) == ["w1 w2", "w3"]


async def test_times_are_those_of_the_samples_plus_the_offset(make_stt: MakeSTT) -> None:
    async with make_stt(words=True).stream() as stream:
        stream.start_time_offset = 100.0
        events = await hear(stream, silence(410), speech(1, 2, ms=250), silence())
    (final,) = of_kind(events, FINAL)
    data = final.alternatives[0]
    assert (data.start_time, data.end_time) == (pytest.approx(100.41), pytest.approx(100.91))
    assert data.words is not None
    assert [str(word) for word in data.words] == ["w1", "w2"]
    assert [(w.start_time, w.end_time) for w in data.words] == [
        (pytest.approx(100.41), pytest.approx(100.66)),
        (pytest.approx(100.66), pytest.approx(100.91)),
    ]
    assert {word.start_time_offset for word in data.words} == {100.0}


async def test_confidence_language_and_session_are_told(make_stt: MakeSTT) -> None:
    async with make_stt(words=True).stream() as stream:
        events = await hear(stream, speech(1), silence())
    (final,) = of_kind(events, FINAL)
    data = final.alternatives[0]
    assert (data.confidence, data.language) == (0.8, "en")
    assert data.words is not None
    assert data.words[0].confidence == 0.9
    assert final.request_id == "session-1"


async def test_words_are_told_only_when_asked_for(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        events = await hear(stream, speech(1), silence())
    assert of_kind(events, FINAL)[0].alternatives[0].words is None


async def test_an_interim_says_how_much_of_it_is_stable(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        events = await hear(stream, speech(1, 2), silence())
    assert of_kind(events, INTERIM)[0].alternatives[0].metadata == {"stable": 0}


async def test_no_interim_is_told_when_none_are_wanted(make_stt: MakeSTT) -> None:
    async with make_stt(interim_results=False).stream() as stream:
        events = await hear(stream, speech(1, 2), silence())
    assert [event.type for event in events] == [START, FINAL, END, USAGE]


async def test_usage_adds_up_to_the_audio(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        events = await hear(stream, *[speech(1), silence(800)] * 12)
    usage = [event.recognition_usage for event in of_kind(events, USAGE)]
    assert len(usage) == 3
    assert sum(u.audio_duration for u in usage if u) == pytest.approx(12.0)


async def test_a_flush_gives_the_final_at_once(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, silence(), speech(1, 2))
        stream.flush()
        await listener.until(END)
        push(stream, speech(3), silence())
        stream.end_input()
        events = await listener.end()
    assert texts(events) == ["w1 w2", "w3"]
    assert_order(events)


async def test_a_flush_with_no_speech_gives_an_empty_final(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, silence())
        stream.flush()
        final = await listener.until(FINAL)
        assert (final.alternatives[0].text, final.alternatives[0].end_time) == ("", 0.0)
        push(stream, speech(1))
        stream.flush()
        await listener.until(FINAL, 2)
        push(stream, silence())
        stream.flush()
        await listener.until(FINAL, 3)
    assert texts(listener.events) == ["", "w1", ""]


async def test_two_flushes_with_nothing_in_between_are_one(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    async with make_stt().stream() as stream:
        push(stream, silence())
        stream.flush()
        stream.flush()
        events = await hear(stream, speech(1))
    assert server.flushes == [1]
    assert texts(events) == ["", "w1"]


async def test_the_end_of_input_in_silence_gives_no_final(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        events = await hear(stream, speech(1), silence())
    assert texts(events) == ["w1"]


async def test_the_end_of_input_in_speech_gives_its_final(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        events = await hear(stream, silence(), speech(1, 2))
    assert texts(events) == ["w1 w2"]
    assert_order(events)


async def test_a_stream_without_audio_ends(make_stt: MakeSTT) -> None:
    async with make_stt().stream() as stream:
        stream.end_input()
        assert [event async for event in stream] == []


async def test_every_option_goes_out_in_the_first_config(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    stt = make_stt(
        model="large",
        language="German",
        interim_results=False,
        words=True,
        keyterms=["Hark"],
        endpointing_silence_ms=300,
        max_endpointing_silence_ms=800,
        vad_threshold=0.6,
        min_speech_ms=100,
        max_utterance_ms=9000,
    )
    async with stt.stream() as stream:
        await hear(stream, speech(1), silence())
    assert msgspec.to_builtins(server.configs[0]) == {
        "type": "config",
        "version": 1,
        "model": "large",
        "language": "de",
        "sample_rate": 16000,
        "interim_results": False,
        "words": True,
        "keyterms": ("Hark",),
        "endpointing": {
            "silence_ms": 300,
            "max_silence_ms": 800,
            "threshold": 0.6,
            "min_speech_ms": 100,
            "max_utterance_ms": 9000,
        },
        "start_sample": 0,
    }


async def test_a_stream_may_have_its_own_language(make_stt: MakeSTT, server: FakeHark) -> None:
    stt = make_stt(language="en")
    async with stt.stream(language="de") as stream:
        await hear(stream, speech(1))
    async with stt.stream(language=NOT_GIVEN) as stream:
        await hear(stream, speech(1))
    assert [config.language for config in server.configs] == ["de", "en"]


async def test_options_change_in_band(make_stt: MakeSTT, server: FakeHark) -> None:
    stt = make_stt()
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, speech(1), silence())
        await listener.until(END)
        stt.update_options(endpointing_silence_ms=1000, language="de")
        await eventually(lambda: len(server.configs) >= 2)
        push(stream, speech(2), silence(500), speech(3), silence(500))
        stream.end_input()
        events = await listener.end()
    assert texts(events) == ["w1", "w2 w3"]
    assert len(server.connected_at) == 1
    assert msgspec.to_builtins(server.configs[1]) == {
        "type": "config",
        "language": "de",
        "endpointing": {"silence_ms": 1000},
    }


async def test_changed_options_hold_for_later_streams(make_stt: MakeSTT, server: FakeHark) -> None:
    stt = make_stt()
    stt.update_options(keyterms=("Hark",))
    async with stt.stream() as stream:
        await hear(stream, speech(1))
    assert server.configs[0].keyterms == ("Hark",)


async def test_another_model_takes_over_between_two_utterances(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    stt = make_stt()
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, speech(1, 2))
        await listener.until(INTERIM)
        stt.update_options(model="large", language="de")
        push(stream, speech(3), silence())
        await listener.until(END)
        push(stream, speech(4), silence())
        stream.end_input()
        events = await listener.end()
    assert texts(events) == ["w1 w2 w3", "w4"]
    assert spans(events) == [(0.0, 0.6), (1.0, 1.2)]
    assert_order(events)
    # One config a connection: nothing that is meant for the new model went to the old one.
    assert [config.model for config in server.configs] == [msgspec.UNSET, "large"]
    assert stt.model == "large"


async def test_audio_of_any_rate_and_channels_is_taken(make_stt: MakeSTT, server: FakeHark) -> None:
    left, right = np.full(4800, 3000, np.int16), np.full(4800, 1000, np.int16)
    stereo = np.stack((left, right), axis=1).tobytes()
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        for _ in range(5):
            stream.push_frame(rtc.AudioFrame(stereo, 48000, 2, 4800))
        stream.end_input()
        events = await listener.end()
    assert sum(server.audio_messages) == RATE // 2
    # Resampling rings at both ends; all that lies between is the mean of both channels.
    assert "w2" in texts(events)[0].split()
    assert spans(events)[0][1] == pytest.approx(0.5, abs=0.01)


async def test_flushes_shift_no_time_at_another_rate(make_stt: MakeSTT) -> None:
    word = np.full(24_000 // 5, 2000, np.int16)
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        for count in (1, 2, 3):
            for frame in frames(np.concatenate((np.zeros(12_000, np.int16), word)), rate=24_000):
                stream.push_frame(frame)
            stream.flush()
            await listener.until(END, count)
    starts = [event.alternatives[0].start_time for event in of_kind(listener.events, FINAL)]
    assert starts == [pytest.approx(at, abs=0.02) for at in (0.5, 1.2, 1.9)]


async def test_session_keyterms_reach_a_model_that_takes_them(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    stt = make_stt(keyterms=("Hark",))
    assert not stt.capabilities.keyterms
    stt._update_session_keyterms(["LiveKit", "Hark"])
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, speech(1), silence())
        await listener.until(END)
        stt._update_session_keyterms([])
        push(stream, speech(2), silence())
        stream.end_input()
        await listener.end()
    assert [config.keyterms for config in server.configs] == [
        ("Hark",),
        ("Hark", "LiveKit"),
        ("Hark",),
    ]
    assert stt.capabilities.keyterms


async def test_session_keyterms_do_not_reach_a_model_without_them(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.capabilities = msgspec.structs.replace(server.capabilities, keyterms=False)
    stt = make_stt()
    stt._update_session_keyterms(["LiveKit"])
    async with stt.stream() as stream:
        await hear(stream, speech(1), silence())
    assert len(server.configs) == 1
    assert not stt.capabilities.keyterms


async def test_a_silent_client_keeps_its_session(make_stt: MakeSTT, server: FakeHark) -> None:
    server.limits = msgspec.structs.replace(server.limits, idle_timeout_s=0.3)
    async with make_stt(liveness_timeout_s=0.1).stream():
        await eventually(lambda: server.audio_messages[:2] == [0, 0])
    assert len(server.connected_at) == 1


async def test_speech_times_by_the_wall_clock_survive_a_gap_in_the_audio(
    make_stt: MakeSTT,
) -> None:
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, silence(100))
        await asyncio.sleep(0.5)  # a muted microphone: half a second that is not in the audio
        started = time.time()
        for frame in frames(np.concatenate((speech(1), silence(300)))):
            stream.push_frame(frame)
            await asyncio.sleep(0.02)
        start, end = await listener.until(START), await listener.until(END)
    # A moment is known once its frame is complete, so the first one began 20 ms before it came.
    assert start.speech_start_time == pytest.approx(started - 0.02, abs=0.05)
    assert start.speech_start_time is not None
    assert end.speech_end_time is not None
    assert end.speech_end_time - start.speech_start_time == pytest.approx(0.2, abs=0.1)
    assert end.speech_end_time < end.created_at


async def test_the_time_to_connect_is_reported(make_stt: MakeSTT) -> None:
    stt = make_stt()
    metrics: list[STTMetrics] = []
    stt.on("metrics_collected", metrics.append)
    async with stt.stream() as stream:
        await hear(stream, speech(1), silence())
    assert metrics[0].acquire_time > 0
    assert not metrics[0].connection_reused
    assert metrics[0].metadata is not None
    assert metrics[0].metadata.model_provider == "Hark"


async def test_the_key_goes_into_the_header(make_stt: MakeSTT, server: FakeHark) -> None:
    async with make_stt(api_key="sesame").stream() as stream:
        await hear(stream, speech(1))
    assert server.headers[0]["Authorization"] == "Bearer sesame"


async def test_prewarming_does_not_wait_and_its_connection_is_used(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    stt = make_stt()
    stt.prewarm()
    stt.prewarm()
    assert server.ready_requests == 0
    await eventually(lambda: server.ready_requests > 0)
    async with stt.stream() as stream:
        await hear(stream, speech(1))
    assert server.ready_requests == 1


@pytest.mark.parametrize(
    "moment", ["at once", "in the handshake", "in speech", "after end_input", "while refused"]
)
async def test_a_stream_closes_promptly_at_any_moment(
    make_stt: MakeSTT, server: FakeHark, moment: str
) -> None:
    if moment == "in the handshake":
        server.scripts = [Script(never_upgrade=True)]
    if moment == "while refused":
        server.scripts = [Script(refuse_with=(503, {"Retry-After": "30"}))]
    stream = make_stt().stream()
    listener = Listener(stream)
    if moment != "at once":
        push(stream, speech(1, 2))
        await eventually(lambda: bool(server.connected_at))
    if moment in ("in speech", "after end_input"):
        await listener.until(INTERIM)
    if moment == "after end_input":
        stream.end_input()
    began = time.monotonic()
    await stream.aclose()
    await stream.aclose()
    assert time.monotonic() - began < 1.0
    await listener.end()


async def test_closing_the_stt_closes_its_streams(make_stt: MakeSTT, server: FakeHark) -> None:
    stt = make_stt()
    listeners = [Listener(stt.stream()) for _ in range(3)]
    await eventually(lambda: server.open_sessions == 3)
    await stt.aclose()
    await stt.aclose()
    for listener in listeners:
        await listener.end()
    with pytest.raises(RuntimeError, match="closed"):
        stt.stream()


async def test_audio_goes_out_as_it_comes(make_stt: MakeSTT, server: FakeHark) -> None:
    async with make_stt().stream() as stream:
        pushed = 0
        for frame in frames(speech(1)):
            stream.push_frame(frame)
            pushed += frame.samples_per_channel
            await eventually(lambda pushed=pushed: sum(server.audio_messages) == pushed)
