"""Streams to servers and networks that fail: no word is lost, told twice or shifted in time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np
import pytest
from fake_hark import RATE, FakeHark, Script, frames, silence, speech
from listening import (
    END,
    FINAL,
    INTERIM,
    START,
    Errors,
    Listener,
    assert_order,
    eventually,
    hear,
    of_kind,
    push,
    spans,
    texts,
)
from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.agents.stt import SpeechEvent
from livekit.agents.types import APIConnectOptions
from livekit.agents.utils import http_context

from hark_protocol import (
    Closed,
    Error,
    Final,
    Flushed,
    Preflight,
    Progress,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
)
from livekit.plugins import hark
from livekit.plugins.hark import stream as stream_module

pytestmark = pytest.mark.faults

MakeSTT = Callable[..., hark.STT]

AUDIO = (silence(), speech(1, 2), silence(), speech(3, 4, 5), silence(), speech(6), silence())
TEXTS = ["w1 w2", "w3 w4 w5", "w6"]
SPANS = [(0.4, 0.8), (1.2, 1.8), (2.2, 2.4)]


def assert_whole(events: list[SpeechEvent]) -> None:
    """All of AUDIO was told, once, in its order and at its times."""
    assert texts(events) == TEXTS
    assert spans(events) == SPANS
    assert len(of_kind(events, START)) == len(of_kind(events, END)) == 3
    assert_order(events)


async def wait_for_connections(server: FakeHark, count: int) -> None:
    await eventually(lambda: len(server.connected_at) >= count)


# --- lost connections


@pytest.mark.parametrize("die_at_ms", [200, 500, 799, 850, 1300, 1999, 2300, 2600])
async def test_no_word_is_lost_when_the_connection_dies_at(
    make_stt: MakeSTT, server: FakeHark, die_at_ms: int
) -> None:
    server.scripts = [Script(die_at=RATE * die_at_ms // 1000)]
    stt = make_stt()
    errors = Errors(stt)
    async with stt.stream() as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert len(server.connected_at) == 2
    assert errors.recoverable == [True]


@pytest.mark.parametrize(
    "message", [SpeechStarted, Preflight, Final, SpeechEnded, Progress, Flushed, Closed]
)
async def test_no_word_is_lost_when_the_connection_dies_before(
    make_stt: MakeSTT, server: FakeHark, message: type[ServerMessage]
) -> None:
    server.scripts = [Script(die_before=message)]
    async with make_stt().stream() as stream:
        push(stream, *AUDIO)
        stream.flush()
        events = await hear(stream, silence(20))
    if texts(events)[-1] == "":  # the flush found no speech, as its finals had come before
        events.pop(events.index(of_kind(events, FINAL)[-1]))
    assert_whole(events)
    # Without `closed` everything may be there already, and then nobody connects again.
    assert len(server.connected_at) <= 2


@pytest.mark.usefixtures("quick_backoff")
async def test_no_word_is_lost_in_many_failures_in_a_row(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [
        Script(deaf_at=RATE // 2),
        Script(refuse_with=(503, {})),
        Script(die_before=Final),
    ]
    stt = make_stt(liveness_timeout_s=0.3)
    errors = Errors(stt)
    async with stt.stream() as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert errors.recoverable == [True] * 3


async def test_only_what_was_not_finalised_is_sent_again(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, *AUDIO[:4])
        await listener.until(START, 2)
        server.cut_all()
        await wait_for_connections(server, 2)
        push(stream, *AUDIO[4:])
        stream.end_input()
        assert_whole(await listener.end())
    # The first utterance was over at 0.8 s; the second one was open, and starts at 1.2 s.
    assert RATE * 8 // 10 <= server.configs[1].start_sample <= RATE * 12 // 10


async def test_an_open_utterance_goes_on_without_a_second_start(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(die_at=RATE // 2)]
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, speech(1, 2, 3))
        await listener.until(INTERIM)
        await wait_for_connections(server, 2)
        push(stream, speech(4), silence())
        stream.end_input()
        events = await listener.end()
    assert texts(events) == ["w1 w2 w3 w4"]
    assert len(of_kind(events, START)) == 1


async def test_speech_that_is_not_found_again_is_ended_with_an_empty_final(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(die_at=RATE // 2), Script(hears=False)]
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, speech(1, 2, 3))
        await wait_for_connections(server, 2)
        push(stream, silence(2000))
        await listener.until(END)
        assert texts(listener.events) == [""]
        assert_order(listener.events)


async def test_an_unanswered_flush_is_sent_again(make_stt: MakeSTT, server: FakeHark) -> None:
    server.scripts = [Script(die_before=Flushed)]
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        push(stream, silence())
        stream.flush()
        await listener.until(FINAL)
    assert server.flushes == [1, 1]
    assert texts(listener.events) == [""]


async def test_options_are_as_they_were_after_a_reconnect(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(die_at=RATE)]
    stt = make_stt()
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, speech(1), silence())
        await listener.until(END)
        stt.update_options(endpointing_silence_ms=1000)
        push(stream, silence())
        await wait_for_connections(server, 2)
        push(stream, speech(2), silence(500), speech(3), silence(1100))
        stream.end_input()
        events = await listener.end()
    assert texts(events) == ["w1", "w2 w3"]
    assert server.configs[-1].endpointing.silence_ms == 1000


@pytest.mark.usefixtures("quick_backoff")
async def test_times_do_not_depend_on_how_long_an_outage_lasts(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    stt = make_stt()
    async with stt.stream() as stream:
        stream.start_time_offset = 10.0
        listener = Listener(stream)
        push(stream, silence(), speech(1))
        await listener.until(START)
        server.scripts = [Script(refuse_with=(503, {"Retry-After": "1"}))]
        server.cut_all()
        await wait_for_connections(server, 3)
        push(stream, speech(2), silence(), speech(3), silence())
        stream.end_input()
        events = await listener.end()
    assert texts(events) == ["w1 w2", "w3"]
    assert spans(events) == [(10.4, 10.8), (11.2, 11.4)]


async def test_the_wall_clock_of_speech_is_that_of_its_arrival_not_of_its_replay(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(refuse_with=(503, {"Retry-After": "1"}))]
    async with make_stt().stream() as stream:
        listener = Listener(stream)
        await wait_for_connections(server, 1)
        pushed_at = time.time()
        push(stream, speech(1), silence())
        start = await listener.until(START)
    assert time.time() - pushed_at > 0.9
    assert start.speech_start_time == pytest.approx(pushed_at, abs=0.1)


async def test_usage_counts_replayed_audio_once(make_stt: MakeSTT, server: FakeHark) -> None:
    server.scripts = [Script(die_at=RATE * 13 // 10)]
    async with make_stt().stream() as stream:
        events = await hear(stream, *AUDIO)
    total = sum(e.recognition_usage.audio_duration for e in events if e.recognition_usage)
    assert total == pytest.approx(sum(map(len, AUDIO)) / RATE)


async def test_a_full_replay_buffer_drops_the_oldest_and_keeps_times_right(
    make_stt: MakeSTT, server: FakeHark, caplog: pytest.LogCaptureFixture
) -> None:
    server.scripts = [Script(refuse_with=(503, {}))]
    stt = make_stt(replay_s=1.0)
    async with stt.stream() as stream:
        stream_events = hear(stream, speech(1), silence(1800), speech(2), silence(200))
        with caplog.at_level(logging.WARNING, "livekit.plugins.hark"):
            events = await stream_events
    assert texts(events) == ["w2"]
    assert spans(events) == [(2.0, 2.2)]
    assert server.configs[0].start_sample == RATE * 14 // 10
    assert sum("given up" in record.message for record in caplog.records) == 1
    usage = sum(e.recognition_usage.audio_duration for e in events if e.recognition_usage)
    assert usage == pytest.approx(1.0)


async def test_a_stream_comes_back_although_its_replay_buffer_overflows_all_the_time(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [
        Script(refuse_with=(503, {"Retry-After": "2"})),
        Script(answers_after_s=0.4),
    ]
    async with make_stt(replay_s=1.0).stream() as stream:
        listener = Listener(stream)
        for frame in frames(np.concatenate([speech(1), silence(200)] * 6)):
            stream.push_frame(frame)
            await asyncio.sleep(0.02)
        stream.end_input()
        events = await listener.end()
    assert len(server.connected_at) == 2
    assert 3 <= len(texts(events)) < 6
    assert texts(events)[-1] == "w1"
    assert spans(events)[-1] == (2.0, 2.2)


async def test_a_half_open_connection_is_found_by_its_silence(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(deaf_at=RATE // 2)]
    stt = make_stt(liveness_timeout_s=0.5)
    errors = Errors(stt)
    async with stt.stream() as stream:
        listener = Listener(stream)
        began = time.monotonic()
        for frame in frames(np.concatenate(AUDIO)):
            stream.push_frame(frame)
            await asyncio.sleep(0.02)
        stream.end_input()
        assert_whole(await listener.end())
    assert server.connected_at[1] - began < 0.5 + 0.5 + 0.5 + 1.0
    assert [type(error.error) for error in errors.reported] == [APITimeoutError]


async def test_a_blocked_event_loop_is_not_taken_for_a_dead_connection(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    async with make_stt(liveness_timeout_s=0.2).stream() as stream:
        listener = Listener(stream)
        push(stream, *AUDIO)
        await eventually(lambda: bool(server.audio_messages))
        time.sleep(1.0)  # noqa: ASYNC251 - what a careless agent does
        stream.end_input()
        assert_whole(await listener.end())
    assert len(server.connected_at) == 1


async def test_a_draining_server_is_left_between_two_utterances(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(drain_at=RATE * 13 // 10)]
    stt = make_stt()
    errors = Errors(stt)
    async with stt.stream() as stream:
        listener = Listener(stream)
        push(stream, *AUDIO[:5])
        await listener.until(END, 2)
        push(stream, *AUDIO[5:])
        await wait_for_connections(server, 2)
        stream.end_input()
        assert_whole(await listener.end())
    assert errors.reported == []
    # The second utterance ends at 1.8 s and was not cut by the move.
    assert server.configs[1].start_sample >= RATE * 18 // 10


@pytest.mark.usefixtures("quick_backoff")
async def test_livekits_own_retries_lose_no_word_and_shift_no_time(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [Script(die_at=RATE // 2), Script(die_at=RATE * 13 // 10)]
    stt = make_stt()
    errors = Errors(stt)
    options = APIConnectOptions(max_retry=2, retry_interval=0.3)
    async with stt.stream(conn_options=options) as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert errors.recoverable == [True, True]


async def test_livekits_own_retries_end_when_it_says(make_stt: MakeSTT, server: FakeHark) -> None:
    server.scripts = [Script(refuse_with=(503, {})) for _ in range(9)]
    stt = make_stt()
    async with stt.stream(conn_options=APIConnectOptions(max_retry=1)) as stream:
        with pytest.raises(APIConnectionError, match="after 1 attempts"):
            await hear(stream, *AUDIO)
    assert len(server.connected_at) == 2


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("seed", range(12))
async def test_no_word_is_lost_whatever_happens(
    make_stt: MakeSTT, server: FakeHark, seed: int
) -> None:
    chance = random.Random(seed)
    pieces = [
        np.concatenate(
            (
                silence(chance.choice([0, 30, 150, 400])),
                speech(word, ms=chance.choice([30, 110, 350])),
            )
        )
        for word in range(1, 21)
    ]
    flushes = {piece for piece in range(len(pieces)) if chance.random() < 0.2}

    async def transcribe() -> list[SpeechEvent]:
        async with make_stt().stream() as stream:
            listener = Listener(stream)
            for number, piece in enumerate(pieces):
                push(stream, piece)
                if number in flushes:
                    stream.flush()
                await asyncio.sleep(chance.choice([0, 0, 0.01]))
            stream.end_input()
            return await listener.end()

    def words(events: list[SpeechEvent]) -> list[tuple[str, tuple[float, float]]]:
        # Whether a flush has a final after it, and so needs no empty one, depends on when it comes.
        return [told for told in zip(texts(events), spans(events), strict=True) if told[0]]

    expected = await transcribe()
    length = sum(map(len, pieces))
    kinds = [SpeechStarted, Preflight, Final, SpeechEnded, Progress, Flushed, Closed]
    server.scripts = [
        Script(die_at=chance.randrange(length))
        if chance.random() < 0.5
        else Script(die_before=chance.choice(kinds))
        for _ in range(6)
    ]
    events = await transcribe()
    assert words(events) == words(expected)
    assert_order(events)
    assert len(of_kind(events, START)) == len(of_kind(expected, START))


# --- how often, and for how long


async def test_a_spent_budget_is_one_clear_final_error(make_stt: MakeSTT, server: FakeHark) -> None:
    await server.stop_listening()
    stt = make_stt(reconnect_budget_s=0.5)
    errors = Errors(stt)
    async with stt.stream() as stream:
        with pytest.raises(APIConnectionError, match=r"within 0.5 s \(reconnect_budget_s\)") as e:
            await hear(stream, *AUDIO)
    assert not e.value.retryable
    assert "is it running?" in str(e.value)
    assert errors.recoverable[-1] is False
    assert all(errors.recoverable[:-1])


async def test_audio_that_kills_every_server_is_not_tried_for_ever(
    make_stt: MakeSTT, server: FakeHark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "HEALTHY_AFTER_S", 0.1)
    server.scripts = [Script(die_after_s=0.2) for _ in range(99)]
    async with make_stt(reconnect_budget_s=2.0).stream() as stream:
        push(stream, speech(1, ms=990))
        with pytest.raises(APIConnectionError, match="reconnect_budget_s"):
            await Listener(stream).end()


@pytest.mark.usefixtures("quick_backoff")
async def test_connections_that_get_somewhere_are_not_counted_together(
    make_stt: MakeSTT, server: FakeHark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "HEALTHY_AFTER_S", 0.1)
    server.scripts = [Script(die_after_s=0.3) for _ in range(5)]
    async with make_stt(reconnect_budget_s=0.5).stream() as stream:
        listener = Listener(stream)
        for word in range(1, 7):
            push(stream, speech(word), silence())
            await listener.until(END, word)
            await wait_for_connections(server, min(word + 1, 6))
        stream.end_input()
        assert texts(await listener.end()) == [f"w{word}" for word in range(1, 7)]


async def test_retry_after_is_honoured(make_stt: MakeSTT, server: FakeHark) -> None:
    server.scripts = [Script(refuse_with=(503, {"Retry-After": "1"}))]
    async with make_stt().stream() as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert server.connected_at[1] - server.connected_at[0] >= 1.0


@pytest.mark.usefixtures("quick_backoff")
async def test_a_retry_after_that_is_a_date_is_honoured_by_the_servers_own_clock(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    headers = {
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "Retry-After": "Wed, 21 Oct 2015 07:28:01 GMT",
    }
    server.scripts = [Script(refuse_with=(503, headers))]
    async with make_stt().stream() as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert server.connected_at[1] - server.connected_at[0] >= 1.0


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("nonsense", ["soon", "-1", "", "Wed, 99 Oct 2015 07:28:00 GMT"])
async def test_a_retry_after_that_makes_no_sense_is_passed_over(
    make_stt: MakeSTT, server: FakeHark, nonsense: str
) -> None:
    server.scripts = [Script(refuse_with=(503, {"Retry-After": nonsense}))]
    async with make_stt().stream() as stream:
        assert_whole(await hear(stream, *AUDIO))


async def test_the_error_messages_wait_is_honoured(make_stt: MakeSTT, server: FakeHark) -> None:
    error = Error.from_code("too_many_sessions", "full", retry_after_s=0.7)
    server.scripts = [Script(fail_at=(RATE // 2, error))]
    async with make_stt().stream() as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert server.connected_at[1] - server.connected_at[0] >= 0.7


# --- sessions that are closed


async def test_a_job_that_ends_takes_its_streams_along_in_silence(
    server: FakeHark, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with http_context.open():
            stt = hark.STT(api_url=server.url)
            errors = Errors(stt)
            stream = stt.stream()
            listener = Listener(stream)
            push(stream, silence(), speech(1))
            await listener.until(START)
        assert_order(await listener.end())
    assert errors.reported == []
    assert caplog.records == []
    assert len(server.connected_at) == 1
    await stt.aclose()


async def test_a_given_session_that_is_closed_under_a_stream_is_told(server: FakeHark) -> None:
    async with aiohttp.ClientSession() as session:
        stt = hark.STT(api_url=server.url, http_session=session)
        errors = Errors(stt)
        stream = stt.stream()
        listener = Listener(stream)
        push(stream, silence(), speech(1))
        await listener.until(START)
    with pytest.raises(APIConnectionError, match="http_session is closed"):
        await listener.end()
    assert errors.recoverable == [True, False]
    await stt.aclose()


# --- errors

SECRET = "sesame-in-secret"


def assert_no_secret(error: BaseException) -> None:
    """Neither the error nor anything it is chained to shows the key."""
    seen: list[BaseException] = []
    chain: BaseException | None = error
    while chain is not None and chain not in seen:
        seen.append(chain)
        assert SECRET not in f"{chain!r} {chain} {vars(chain)!r}"
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize(
    ("script", "status", "hint"),
    [
        ({"refuse_with": (401, {})}, 401, "api_key"),
        ({"refuse_with": (403, {})}, 403, "api_key"),
        ({"refuse_with": (404, {})}, 404, "api_url"),
        ({"refuse_with": (200, {})}, 200, "api_url"),
        ({"fail_at": (0, Error.from_code("model_not_found", "no such model"))}, 404, "no such"),
        ({"fail_at": (0, Error.from_code("unauthorized", "key is gone"))}, 401, "key is gone"),
        ({"fail_at": (0, Error("newly_invented", "no", False))}, 400, "newly_invented"),
    ],
)
async def test_a_permanent_refusal_is_told_at_once(
    make_stt: MakeSTT, server: FakeHark, script: dict[str, Any], status: int, hint: str
) -> None:
    server.scripts = [Script(**script) for _ in range(9)]
    stt = make_stt(api_key=SECRET)
    errors = Errors(stt)
    async with stt.stream() as stream:
        with pytest.raises(APIStatusError, match=hint) as refusal:
            await hear(stream, *AUDIO)
    assert refusal.value.status_code == status
    assert not refusal.value.retryable
    assert len(server.connected_at) == 1
    assert errors.recoverable == [False]
    assert_no_secret(refusal.value)


@pytest.mark.parametrize("code", [1003, 1007, 1008, 1009])
async def test_a_permanent_close_code_is_told_at_once(
    make_stt: MakeSTT, server: FakeHark, code: int
) -> None:
    server.scripts = [Script(close_at_once=code)]
    async with make_stt().stream() as stream:
        with pytest.raises(APIConnectionError, match=str(code)) as closed:
            await hear(stream, *AUDIO)
    assert not closed.value.retryable


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ({"refuse_with": (429, {})}, APIStatusError),
        ({"refuse_with": (500, {})}, APIStatusError),
        ({"refuse_with": (503, {})}, APIStatusError),
        ({"never_upgrade": True}, APITimeoutError),
        ({"close_at_once": 1011}, APIConnectionError),
        ({"close_at_once": 1012}, APIConnectionError),
        ({"close_at_once": 1013}, APIConnectionError),
        ({"garbage_at": RATE // 2}, APIConnectionError),
        ({"die_at": RATE // 2}, APIConnectionError),
        ({"fail_at": (RATE, Error.from_code("internal", "broke"))}, APIStatusError),
        ({"fail_at": (RATE, Error.from_code("idle_timeout", "slow"))}, APIStatusError),
        ({"fail_at": (RATE, Error.from_code("session_too_long", "go on"))}, APIStatusError),
        ({"fail_at": (RATE, Error("newly_invented", "again", True))}, APIStatusError),
    ],
)
async def test_a_passing_failure_is_reported_and_overcome(
    make_stt: MakeSTT, server: FakeHark, script: dict[str, Any], kind: type[APIError]
) -> None:
    server.scripts = [Script(**script)]
    stt = make_stt(api_key=SECRET)
    errors = Errors(stt)
    async with stt.stream(conn_options=APIConnectOptions(timeout=0.5)) as stream:
        assert_whole(await hear(stream, *AUDIO))
    assert [type(error.error).__mro__.index(kind) for error in errors.reported] in ([0], [1])
    assert errors.recoverable == [True]
    assert_no_secret(errors.reported[0].error)


@pytest.mark.parametrize("greeting", ["hello", '{"type": "nonsense"}', "\u0000"])
async def test_something_that_is_no_hark_server_is_told_at_once(
    make_stt: MakeSTT, server: FakeHark, greeting: str
) -> None:
    server.scripts = [Script(greeting=greeting)]
    async with make_stt().stream() as stream:
        with pytest.raises(APIConnectionError, match="not a Hark server") as error:
            await hear(stream, *AUDIO)
    assert not error.value.retryable
    assert greeting not in str(error.value)


async def test_an_error_that_a_server_sends_instead_of_ready_is_taken(
    make_stt: MakeSTT, server: FakeHark
) -> None:
    server.scripts = [
        Script(greeting='{"type":"error","code":"loading","message":"soon","retryable":true}')
    ]
    async with make_stt().stream() as stream:
        assert_whole(await hear(stream, *AUDIO))


@pytest.mark.usefixtures("quick_backoff")
async def test_no_speech_is_logged(
    make_stt: MakeSTT, server: FakeHark, caplog: pytest.LogCaptureFixture
) -> None:
    server.scripts = [Script(deaf_at=RATE // 2), Script(garbage_at=RATE), Script(die_at=RATE)]
    with caplog.at_level(logging.DEBUG):
        async with make_stt(api_key=SECRET, liveness_timeout_s=0.2).stream() as stream:
            assert_whole(await hear(stream, *AUDIO))
    ours = [record for record in caplog.records if record.name.startswith("livekit")]
    assert len(ours) >= 3
    for record in ours:
        assert "w1" not in str(vars(record))
        assert SECRET not in str(vars(record))
