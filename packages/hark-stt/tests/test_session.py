"""Tests of hark.session.

Where it matters, with the real model on real speech. `connect` gives clients that hold every
message to the protocol, so that an illegal order or position fails any test here.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hark.audio import PcmArray, PcmBuffer, scale_position
from hark.engines.fake import WORD_SAMPLES, FakeRecognizer, FakeStream
from hark.engines.pool import ModelPool
from hark.errors import RecognitionError, WorkerError
from hark.outbox import CAPACITY
from hark.process_worker import ProcessWorker
from hark.recognizer import (
    Capabilities,
    Context,
    Hypothesis,
    RecognitionOptions,
    RecognitionStream,
)
from hark.scheduler import Scheduler
from hark.session import MAX_OPEN_UTTERANCES, Session, SessionLimits
from hark.worker import DecodeJob, LocalWorker
from hark_protocol import (
    PROTOCOL_VERSION,
    Audio,
    Close,
    Closed,
    Config,
    Draining,
    Endpointing,
    Error,
    Final,
    Flush,
    Flushed,
    Interim,
    Preflight,
    Progress,
    Ready,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
)

Connect = Callable[..., Any]
SpeechAt = Callable[[int], PcmArray]

RATES = [8_000, 16_000, 44_100, 48_000]

SHORT_PAUSES = Endpointing(silence_ms=240)
"""With these there are five utterances in the speech."""

QUICK = Endpointing(silence_ms=320, min_speech_ms=0)


ROUNDING = (0, 1, 2)
"""Samples at 48 kHz by which a position that is not a whole number at 16 kHz may be off."""


def _sound(seconds: float, rate: int = 16_000) -> PcmArray:
    return np.full(int(seconds * rate), 1_000, np.int16)


def _silence(seconds: float, rate: int = 16_000) -> PcmArray:
    return np.zeros(int(seconds * rate), np.int16)


# --- the same audio, the same finals


async def _finals(
    connect: Connect,
    models: ModelPool,
    samples: PcmArray,
    rate: int,
    chunk: int = 1_600,
    **config: Any,
) -> list[tuple[int, int, str]]:
    client = connect(models)
    await client.configure(sample_rate=rate, endpointing=SHORT_PAUSES, **config)
    await client.say(samples, chunk)
    await client.hang_up()
    started = [message.utterance for message in client.of(SpeechStarted)]
    assert started == [message.utterance for message in client.of(Final)]
    assert started == [message.utterance for message in client.of(SpeechEnded)]
    transcripts: list[tuple[int, int, str]] = client.transcripts
    return transcripts


@pytest.mark.parametrize("rate", RATES)
async def test_the_same_audio_in_any_chunks_gives_the_same_finals(
    connect: Connect, pool: ModelPool, speech_at: SpeechAt, rate: int
) -> None:
    samples = speech_at(rate)
    expected = await _finals(connect, pool, samples, rate, rate // 10)
    assert len(expected) == 5
    assert "best of times" in expected[0][2]
    for chunk in (rate // 100, 7_777) if rate == 16_000 else (500_001,):
        config = {"interim_results": chunk == 7_777}
        assert await _finals(connect, pool, samples, rate, chunk, **config) == expected


@settings(max_examples=4)
@given(cuts=st.lists(st.integers(0, 13 * 16_000), max_size=40))
def test_any_cuts_give_the_same_finals(
    pool: ModelPool, speech: PcmArray, finals_at_16_khz: list[Any], cuts: list[int]
) -> None:
    async def run() -> list[ServerMessage]:
        session = Session(pool)

        async def read() -> list[ServerMessage]:
            return [message async for message in session]

        reading = asyncio.create_task(read())
        await session.receive(Config(version=1, endpointing=SHORT_PAUSES, interim_results=False))
        for part in np.split(speech, sorted(cuts)):
            await session.receive(Audio(part.tobytes()))
        await session.receive(Close())
        return await reading

    finals = [message for message in asyncio.run(run()) if isinstance(message, Final)]
    assert [(final.start, final.end, final.text) for final in finals] == finals_at_16_khz


@pytest.fixture(scope="module")
def finals_at_16_khz(pool: ModelPool, speech: PcmArray) -> list[tuple[int, int, str]]:
    """The undisturbed run."""

    async def run() -> list[tuple[int, int, str]]:
        session = Session(pool)

        async def read() -> list[ServerMessage]:
            return [message async for message in session]

        reading = asyncio.create_task(read())
        await session.receive(Config(version=1, endpointing=SHORT_PAUSES))
        await session.receive(Audio(speech.tobytes()))
        await session.receive(Close())
        messages = await reading
        return [(m.start, m.end, m.text) for m in messages if isinstance(m, Final)]

    return asyncio.run(run())


async def test_several_sessions_at_once_give_the_same_finals_as_alone(
    connect: Connect, pool: ModelPool, speech: PcmArray, finals_at_16_khz: list[Any]
) -> None:
    runs = [
        _finals(connect, pool, speech, 16_000, chunk, interim_results=bool(chunk % 2))
        for chunk in (1_600, 1_601, 4_800, 16_001)
    ]
    assert await asyncio.gather(*runs) == [finals_at_16_khz] * 4


async def test_worker_processes_give_the_same_finals_as_threads(
    connect: Connect, speech: PcmArray, finals_at_16_khz: list[Any]
) -> None:
    with_processes = ModelPool(workers=1, kind="process")
    await asyncio.to_thread(with_processes.start)
    try:
        assert await _finals(connect, with_processes, speech, 16_000) == finals_at_16_khz
    finally:
        await asyncio.to_thread(with_processes.close)


async def test_a_worker_that_is_killed_changes_no_final(
    connect: Connect, speech: PcmArray, fake_pool: ModelPool
) -> None:
    expected = await _finals(connect, fake_pool, speech, 16_000)
    worker = ProcessWorker(["-m", "hark.engines.worker_main", "fake"])
    scheduler = Scheduler("fake", [worker])
    await asyncio.to_thread(scheduler.start)
    client = connect(_One(scheduler))
    await client.configure(endpointing=SHORT_PAUSES)
    for i in range(0, len(speech), 52_800):
        process = worker._process
        if process is not None:
            process.kill()
        await client.say(speech[i : i + 52_800])
    await client.hang_up()
    await asyncio.to_thread(scheduler.close)
    assert client.transcripts == expected


# --- resuming

CUTS_S = [random.Random(seed).uniform(0.5, 13.0) for seed in range(12)]


async def _finals_over_a_lost_connection(
    connect: Connect, models: ModelPool, samples: PcmArray, rate: int, cut: int, *, waits: bool
) -> list[tuple[int, int, str]]:
    """Lose the connection after `cut` samples; a new session goes on where the client was told.

    It hears again what the client was told that helps.
    """
    options = {
        "sample_rate": rate,
        "endpointing": SHORT_PAUSES,
        "interim_results": False,
    }
    lost, resumed = connect(models), connect(models)
    await lost.configure(**options)
    await lost.say(samples[:cut], rate // 10)
    if waits:
        await lost.until(lambda: len(lost.of(SpeechEnded)) >= len(lost.of(SpeechStarted)) - 1)
    await lost.aclose()
    await resumed.configure(**options, start_sample=lost.finalized, context_sample=lost.context)
    await resumed.say(samples[lost.context :], rate // 10)
    await resumed.hang_up()
    return [*lost.transcripts, *resumed.transcripts]


def _assert_same(
    finals: Sequence[tuple[int, int, str]], expected: Sequence[tuple[int, int, str]], rate: int
) -> None:
    assert [text for _, _, text in finals] == [text for _, _, text in expected]
    for (start, end, _), (expected_start, expected_end, _) in zip(finals, expected, strict=True):
        assert abs(start - expected_start) <= 0.02 * rate
        assert abs(end - expected_end) <= 0.02 * rate


@pytest.mark.parametrize("cut_s", CUTS_S, ids=lambda cut_s: f"{cut_s:.2f}s")
async def test_a_lost_connection_loses_no_word_and_repeats_none(
    connect: Connect,
    pool: ModelPool,
    speech: PcmArray,
    finals_at_16_khz: list[Any],
    cut_s: float,
) -> None:
    finals = await _finals_over_a_lost_connection(
        connect, pool, speech, 16_000, int(cut_s * 16_000), waits=CUTS_S.index(cut_s) % 2 == 0
    )
    assert finals == finals_at_16_khz


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
async def test_a_lost_connection_shifts_no_timestamp_at_any_rate(
    connect: Connect, fake_pool: ModelPool, speech_at: SpeechAt, rate: int
) -> None:
    samples = speech_at(rate)
    expected = await _finals(connect, fake_pool, samples, rate, interim_results=False)
    for cut_s in CUTS_S[::4]:
        finals = await _finals_over_a_lost_connection(
            connect, fake_pool, samples, rate, int(cut_s * rate), waits=True
        )
        _assert_same(finals, expected, rate)


async def test_a_connection_may_be_lost_again_and_again(
    connect: Connect, fake_pool: ModelPool, speech: PcmArray
) -> None:
    expected = await _finals(connect, fake_pool, speech, 16_000)
    finals: list[tuple[int, int, str]] = []
    position = 0
    for end in range(20_000, len(speech), 20_000):
        client = connect(fake_pool)
        await client.configure(start_sample=position, endpointing=SHORT_PAUSES)
        await client.say(speech[position:end])
        await client.aclose()
        finals += client.transcripts
        position = client.finalized
    client = connect(fake_pool)
    await client.configure(start_sample=position, endpointing=SHORT_PAUSES)
    await client.say(speech[position:])
    await client.hang_up()
    assert [*finals, *client.transcripts] == expected


@pytest.mark.parametrize("rate", RATES)
async def test_positions_count_from_where_the_stream_started(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any, rate: int
) -> None:
    start = 10**9 + 1  # no whole number of samples at 16 kHz
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(sample_rate=rate, start_sample=start, endpointing=QUICK)
    await client.say(np.concatenate([_sound(1, rate), _silence(1, rate), _sound(1, rate)]), 999)
    await client.hang_up()
    first, second = client.of(Final)
    assert first.start - start in ROUNDING
    assert first.end - start == pytest.approx(1.2 * rate, abs=0.2 * rate)
    assert start + 3 * rate - second.end in ROUNDING
    progress = client.of(Progress)[-1]
    assert progress.received == start + 3 * rate
    assert progress.received - progress.finalized in ROUNDING


@pytest.mark.parametrize("rate", RATES)
async def test_rounding_never_reaches_outside_the_audio(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any, rate: int
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(sample_rate=rate, start_sample=1, endpointing=QUICK)
    for id, length in enumerate((4_801, 4_802, 4_803, 4_804, 7, 1, 2)):
        await client.say(np.full(length, 1_000, np.int16))
        await client.send(Flush(id))
    await client.hang_up()
    progress = client.of(Progress)[-1]
    assert progress.received == 1 + 4_801 + 4_802 + 4_803 + 4_804 + 7 + 1 + 2
    assert progress.received - progress.finalized in ROUNDING


# --- the order of messages


async def test_a_flush_in_mid_speech_gives_the_final_and_then_its_answer(
    connect: Connect, pool: ModelPool, speech: PcmArray
) -> None:
    client = connect(pool)
    await client.configure(endpointing=SHORT_PAUSES)
    await client.say(speech[:48_000])  # in the middle of "it was the worst of times"
    await client.send(Flush(7))
    await client.until(lambda: client.of(Flushed))
    kinds = [type(m) for m in client.messages if not isinstance(m, (Interim, Preflight, Progress))]
    assert kinds == [Ready, SpeechStarted, Final, SpeechEnded, Flushed]
    assert client.of(Final)[0].end == 48_000
    assert client.of(Flushed) == [Flushed(7)]
    assert client.finalized == 48_000


async def test_a_flush_in_silence_is_only_answered(connect: Connect, fake_pool: ModelPool) -> None:
    client = connect(fake_pool)
    await client.configure()
    await client.say(_silence(1))
    await client.send(Flush(1))
    await client.send(Flush(2))
    await client.until(lambda: len(client.of(Flushed)) == 2)
    assert {type(message) for message in client.messages} == {Ready, Progress, Flushed}


async def test_a_flush_before_any_audio_is_answered(connect: Connect, fake_pool: ModelPool) -> None:
    client = connect(fake_pool)
    await client.configure()
    await client.send(Flush(0))
    await client.hang_up()
    assert client.of(Flushed) == [Flushed(0)]


async def test_a_flush_takes_speech_that_was_too_short_so_far(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(min_speech_ms=1_000))
    await client.say(np.concatenate([_silence(1), _sound(0.5)]))
    await client.send(Flush(1))
    await client.hang_up()
    (final,) = client.of(Final)
    assert final.end == 24_000


async def test_after_a_flush_the_session_goes_on(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    for id in range(3):
        await client.say(_sound(1))
        await client.send(Flush(id))
    await client.hang_up()
    assert [(final.start, final.end) for final in client.of(Final)] == [
        (0, 16_000),
        (16_000, 32_000),
        (32_000, 48_000),
    ]
    assert [flushed.id for flushed in client.of(Flushed)] == [0, 1, 2]


async def test_closing_finalises_everything_first(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(_sound(2))
    await client.hang_up()
    assert client.transcripts == [(0, 32_000, "one two three four five six")]
    assert client.of(Progress)[-1] == Progress(32_000, 32_000)


async def test_a_session_without_audio_is_closed_at_once(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool)
    await client.configure()
    await client.hang_up()
    assert [type(message) for message in client.messages] == [Ready, Progress, Closed]


async def test_an_utterance_without_text_gets_its_final_too(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(_sound(0.1))
    await client.hang_up()
    (final,) = client.of(Final)
    assert final.text == ""
    assert final.confidence is None
    assert client.of(Interim) == []


# --- interims


async def test_interims_come_while_somebody_speaks_and_only_then(
    connect: Connect, pool: ModelPool, speech: PcmArray
) -> None:
    client = connect(pool)
    await client.configure(endpointing=SHORT_PAUSES)
    for second in (2, 3, 4):  # in the middle of words
        shown = len(client.of(Interim))
        await client.say(speech[(second - 1) * 16_000 : second * 16_000])
        await client.until(lambda shown=shown: len(client.of(Interim)) > shown)
    await client.hang_up()
    interims = client.of(Interim)
    assert interims[-1].stable  # that they precede their final, the client has seen to
    for interim in interims:
        assert interim.text
        assert interim.text[: interim.stable] == interim.text[: interim.stable].rstrip()


async def test_who_wants_no_interims_gets_none(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK, interim_results=False)
    for _ in range(3):
        await client.say(np.concatenate([_sound(1), _silence(0.3)]))
        await asyncio.sleep(0.01)
    await client.hang_up()
    assert {type(m) for m in client.messages}.isdisjoint({Interim, Preflight})
    assert client.of(Final)


async def test_a_pause_gives_the_text_that_becomes_the_final(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(silence_ms=1_000, min_speech_ms=0))
    await client.say(np.concatenate([_sound(1), _silence(0.6)]))
    await client.until(lambda: client.of(Preflight))
    await client.say(_silence(0.6))
    await client.until(lambda: client.of(Final))
    (preflight,), (final,) = client.of(Preflight), client.of(Final)
    assert (preflight.start, preflight.end, preflight.text) == (final.start, final.end, final.text)


async def test_a_pause_does_not_hold_back_what_was_said_just_before_it(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(silence_ms=1_000, min_speech_ms=0))
    speech = _sound(0.5)
    for piece in np.split(speech, 25):
        await client.say(piece)
    await client.until(lambda: any(one.end >= 6_400 for one in client.of(Interim)))
    assert client.of(Interim)[-1].end < len(speech)
    for piece in np.split(_silence(0.14), 7):
        await client.say(piece)
    await client.until(lambda: any(one.end >= len(speech) for one in client.of(Interim)))
    assert not client.of(Preflight)


async def test_speech_after_a_pause_takes_the_preflight_back(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(silence_ms=1_000, min_speech_ms=0))
    await client.say(np.concatenate([_sound(1), _silence(0.6)]))
    await client.until(lambda: client.of(Preflight))
    await client.say(_sound(1))
    await client.until(lambda: isinstance(client.messages[-1], Interim))
    await client.hang_up()
    (final,) = client.of(Final)
    assert final.end == client.of(Progress)[-1].received
    assert len(final.text) > len(client.of(Preflight)[0].text)


@dataclass
class _Gated(FakeRecognizer):
    """Decodes of streams this long, in words, wait for their gate."""

    gates: dict[int, threading.Event] = field(default_factory=dict)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        for stream in streams:
            assert isinstance(stream, FakeStream)
            words = stream.length // WORD_SAMPLES
            self.entered.set()
            if words in self.gates:
                assert self.gates[words].wait(10)
        return super().decode(streams, final=final)


@dataclass
class _Reader(_Gated):
    """Remembers the contexts it is given, in samples and tokens.

    Each hypothesis has one token; those of the shortest utterances are without text.
    """

    contexts: list[tuple[int, tuple[int, ...]] | None] = field(default_factory=list)
    decoded: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, context=True)

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> FakeStream:
        self.contexts.append(context and (len(context.samples), context.tokens))
        return super().open_stream(options)

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        (stream,) = streams
        (hypothesis,) = super().decode(streams, final=final)
        self.decoded.release()
        assert isinstance(stream, FakeStream)
        if stream.length < 12_000:
            return [Hypothesis("")]
        return [replace(hypothesis, tokens=(len(self.contexts),))]


class _Anchored(FakeRecognizer):
    """With an anchor every second."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, anchor=16_000)


class _One:
    """One scheduler, whatever is asked for. Satisfies `hark.session.Models`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.schedulers = (scheduler,)

    def select(self, model: str | None, language: str | None) -> Scheduler:
        return self.schedulers[0]


Start = Callable[..., _One]


@pytest.fixture
def start() -> Iterator[Start]:
    """Models of these recognisers, a worker for each; they are closed after the test."""
    started: list[Scheduler] = []

    def start_one(*recognizers: FakeRecognizer) -> _One:
        scheduler = Scheduler("scripted", [LocalWorker(lambda r=r: r) for r in recognizers])
        started.append(scheduler)
        scheduler.start()
        return _One(scheduler)

    yield start_one
    for scheduler in started:
        scheduler.close()


# --- context


async def _contexts(
    connect: Connect,
    reader: _Reader,
    models: _One,
    detector: Any,
    *parts: PcmArray | Any,
    **config: Any,
) -> Any:
    """Feed audio and other messages to a session without interims; give the client."""
    client = connect(models, is_live=False, detector=detector)
    config = {"endpointing": QUICK, "interim_results": False} | config
    await client.configure(**config)
    for part in parts:
        if isinstance(part, np.ndarray):
            await client.say(part)
        else:
            await client.send(part)
    await client.hang_up()
    return client


_SPEECH_AND_PAUSE = np.concatenate([_sound(1), _silence(0.8)])


async def test_an_utterance_is_read_on_from_those_just_before_it(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    reader = _Reader()
    models = start(reader)
    client = await _contexts(connect, reader, models, loudness_detector, *[_SPEECH_AND_PAUSE] * 3)
    starts = [final.start for final in client.of(Final)]
    assert reader.contexts == [
        None,
        (starts[1] - starts[0], (1,)),
        (starts[2] - starts[0], (1, 2)),
    ]


async def test_after_a_long_silence_an_utterance_stands_for_itself(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    reader = _Reader()
    await _contexts(
        connect, reader, start(reader), loudness_detector, _sound(1), _silence(3), _sound(1)
    )
    assert reader.contexts == [None, None]


async def test_context_has_a_limit_after_which_it_begins_anew(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    reader = _Reader()
    long = np.concatenate([_sound(7), _silence(0.8)])
    await _contexts(connect, reader, start(reader), loudness_detector, *[long] * 4)
    assert [context and context[1] for context in reader.contexts] == [None, (1,), None, (3,)]


@pytest.mark.parametrize(
    "message",
    [Flush(1), Config(endpointing=Endpointing(silence_ms=400))],
    ids=lambda m: type(m).__name__,
)
async def test_what_cannot_be_heard_again_the_same_way_is_no_context(
    connect: Connect, start: Start, loudness_detector: Any, message: Any
) -> None:
    reader = _Reader()
    parts = [_SPEECH_AND_PAUSE, message, _SPEECH_AND_PAUSE]
    await _contexts(connect, reader, start(reader), loudness_detector, *parts)
    assert reader.contexts == [None, None]


async def test_an_utterance_without_text_is_nothing_to_go_on_from(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    reader = _Reader()
    click = np.concatenate([_sound(0.1), _silence(0.8)])
    parts = [_SPEECH_AND_PAUSE, click, _SPEECH_AND_PAUSE]
    client = await _contexts(connect, reader, start(reader), loudness_detector, *parts)
    assert [bool(final.text) for final in client.of(Final)] == [True, False, True]
    assert [context is None for context in reader.contexts] == [True, False, True]


async def test_a_resumed_session_reads_on_as_the_lost_one_would_have(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    reader = _Reader()
    models = start(reader)
    options = {"endpointing": QUICK, "interim_results": False}
    lost = connect(models, detector=loudness_detector)
    await lost.configure(**options)
    await lost.say(np.concatenate([_SPEECH_AND_PAUSE] * 2))
    await lost.until(lambda: len(lost.of(SpeechEnded)) == 2)
    await lost.until(lambda: lost.of(Progress)[-1].context == 0)
    await lost.aclose()
    resumed = connect(models, detector=loudness_detector)
    await resumed.configure(**options, start_sample=lost.finalized, context_sample=lost.context)
    audio = np.concatenate([_SPEECH_AND_PAUSE] * 3)
    await resumed.say(audio[:16_000])
    await resumed.until(lambda: bool(resumed.of(Progress)))
    assert resumed.context == 0  # should this connection be lost, too
    await resumed.say(audio[16_000:])
    await resumed.hang_up()
    assert lost.context == 0 < lost.finalized
    (final,) = resumed.of(Final)
    assert final.start > lost.transcripts[-1][1]
    context = reader.contexts[-1]
    assert context is not None
    assert context[0] == final.start - lost.transcripts[0][0]


async def test_context_is_kept_while_utterances_wait_in_line_with_their_text(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    # The first utterance takes longer than the three after it, which belong together.
    slow, decoded = threading.Event(), threading.Semaphore(0)
    gates = {(5 * 16_000 + 2_560) // WORD_SAMPLES: slow}
    models = start(_Reader(gates, decoded=decoded), _Reader(gates, decoded=decoded))
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=QUICK, interim_results=False)
    await client.say(np.concatenate([_sound(5), _silence(3), *[_SPEECH_AND_PAUSE] * 3]))
    for _ in range(3):
        assert await asyncio.to_thread(decoded.acquire, timeout=10)
    assert client.of(Final) == []
    slow.set()
    await client.until(lambda: len(client.of(SpeechEnded)) == 4)
    await client.until(lambda: client.of(Progress)[-1].finalized == client.transcripts[-1][1])
    assert client.transcripts[0][1] <= client.context <= client.transcripts[1][0]


async def test_an_interim_that_was_overtaken_is_not_shown(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    # The decode of a pause is under way when speech goes on, and is slower than the next interim.
    pause_words = (16_000 + 4_096) // WORD_SAMPLES
    slow = _Gated(gates={pause_words: threading.Event()})
    models = start(slow, _Gated(slow.gates, slow.entered))
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(silence_ms=1_000, min_speech_ms=0))
    await client.say(np.concatenate([_sound(1), _silence(0.4)]), 22_400)
    await asyncio.to_thread(slow.entered.wait, 10)
    await client.say(_sound(2), 16_000)
    await client.until(lambda: client.of(Interim))
    newest = client.of(Interim)[-1]
    slow.gates[pause_words].set()
    await client.hang_up()
    assert client.of(Preflight) == []
    ends = [interim.end for interim in client.of(Interim)]
    assert ends == sorted(ends)
    assert newest.end > 22_400


async def test_an_interim_that_comes_after_a_preflight_does_not_take_it_back(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    early_words = 16_000 // WORD_SAMPLES
    slow = _Gated(gates={early_words: threading.Event()})
    models = start(slow, _Gated(slow.gates, slow.entered))
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(silence_ms=1_000, min_speech_ms=0))
    await client.say(_sound(1), 16_000)
    await asyncio.to_thread(slow.entered.wait, 10)
    await client.say(_silence(0.6), 9_600)
    await client.until(lambda: client.of(Preflight))
    slow.gates[early_words].set()
    await client.say(_silence(1))
    await client.hang_up()
    kinds = [type(m) for m in client.messages if isinstance(m, (Interim, Preflight, Final))]
    assert kinds == [Preflight, Final]


@pytest.mark.parametrize("interval_s", [0.2, 0.7, 60.0])
async def test_there_is_an_interim_for_each_anchor_however_busy_the_workers_are(
    connect: Connect,
    start: Start,
    loudness_detector: Any,
    monkeypatch: pytest.MonkeyPatch,
    interval_s: float,
) -> None:
    monkeypatch.setattr(Scheduler, "interim_interval_s", interval_s)
    client = connect(start(_Anchored()), detector=loudness_detector)
    await client.configure(endpointing=QUICK)

    def ends() -> list[int]:
        return [interim.end for interim in client.of(Interim)]

    for position in range(800, 64_001, 800):
        await client.say(_sound(0.05), 800)
        if position % 16_000 == 0:
            await client.until(lambda position=position: position in ends())
    await client.hang_up()
    assert {16_000, 32_000, 48_000, 64_000} <= set(ends())


async def test_words_of_interims_stay_inside_them_however_late_they_come(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    # An interim is decoded with the audio there is by then, and says so.
    client = connect(start(FakeRecognizer(decode_delay_s=0.05)), detector=loudness_detector)
    await client.configure(endpointing=QUICK, words=True)
    for _ in range(20):
        await client.say(_sound(0.3))
        await asyncio.sleep(0.01)
    await client.hang_up()
    interims = client.of(Interim)
    assert interims
    assert all(interim.words[-1].end <= interim.end for interim in interims if interim.words)


async def test_finals_come_in_order_even_if_they_are_decoded_out_of_order(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    first_words = (32_000 + 2_560) // WORD_SAMPLES
    gates = {first_words: threading.Event()}
    models = start(_Gated(gates=gates), _Gated(gates=gates))
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(np.concatenate([_sound(2), _silence(0.5), _sound(1), _silence(0.5)]), 64_000)
    await client.say(_sound(0.5))
    assert client.of(Final) == []
    assert [message.utterance for message in client.of(SpeechStarted)] == [1]
    gates[first_words].set()
    await client.hang_up()
    assert [final.utterance for final in client.of(Final)] == [1, 2, 3]
    assert client.transcripts[0][2] == "one two three four five six seven"


# --- options


async def test_ready_says_what_the_model_can_do(connect: Connect, pool: ModelPool) -> None:
    client = connect(pool, SessionLimits(1 << 17, 600, 30.0))
    await client.configure(language="en-GB")
    await client.until(lambda: client.messages)
    (ready,) = client.of(Ready)
    assert ready.session == client.session.id
    assert (ready.model, ready.language) == ("moonshine-tiny-en", "en")
    assert ready.capabilities.languages == ("en",)
    assert (ready.capabilities.words, ready.capabilities.confidence) == (False, True)
    assert msgspec.structs.astuple(ready.limits) == (1 << 17, 600, 30.0)


async def test_words_come_with_their_times_in_the_client_s_samples(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(sample_rate=48_000, words=True, endpointing=QUICK)
    await client.say(np.concatenate([_silence(1, 48_000), _sound(1, 48_000)]))
    await client.hang_up()
    (final,) = client.of(Final)
    word = 3 * WORD_SAMPLES
    assert final.words is not None
    assert [(w.start, w.end) for w in final.words] == [
        (final.start + i * word, final.start + (i + 1) * word) for i in range(len(final.words))
    ]


async def test_options_change_with_the_next_utterance(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(_sound(0.5))
    await client.send(Config(words=True, keyterms=("hark",)))
    await client.say(_sound(0.5))
    await client.send(Flush(1))
    await client.say(_sound(1))
    await client.send(Flush(2))
    await client.send(Config(words=False, keyterms=()))
    await client.say(_sound(1))
    await client.hang_up()
    finals = client.of(Final)
    assert [final.text for final in finals] == ["one two three", "hark two three", "one two three"]
    assert [final.words is not None for final in finals] == [False, True, False]


async def test_endpointing_changes_at_once(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(silence_ms=10_000, min_speech_ms=0))
    await client.say(np.concatenate([_sound(1), _silence(1)]))
    await client.send(Config(endpointing=Endpointing(silence_ms=320)))
    await client.say(_silence(0.1))
    await client.until(lambda: client.of(Final))
    await client.send(Config(endpointing=Endpointing(threshold=0.9)))
    assert client.session._ear.endpointer.options.silence_ms == 320


async def test_interims_can_be_turned_off_and_on(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK, interim_results=False)
    await client.say(_sound(1))
    await client.send(Config(interim_results=True))
    await client.say(_sound(1))
    await client.until(lambda: client.of(Interim))
    await client.send(Config(interim_results=False))
    count = len(client.of(Interim))
    await client.say(_sound(2))
    await client.hang_up()
    assert len(client.of(Interim)) <= count + 1  # one may have been under way


async def test_the_language_can_be_left_to_the_model(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool)
    await client.configure(language="en")
    await client.send(Config(language=None))
    await client.hang_up()


async def test_a_session_without_a_model_s_name_gets_the_first(connect: Connect) -> None:
    models = ModelPool(["fake", "moonshine-tiny-en"], workers=1, kind="thread")
    await asyncio.to_thread(models.start)
    one, other = connect(models), connect(models)
    await one.configure()
    await other.configure(model="moonshine-tiny-en")
    await one.hang_up()
    await other.hang_up()
    models.close()
    assert [client.of(Ready)[0].model for client in (one, other)] == ["fake", "moonshine-tiny-en"]
    assert one.session.model == "fake"


# --- what cannot be done


@pytest.mark.parametrize(
    ("config", "code", "says"),
    [
        ({"model": "whisper-9"}, "model_not_found", "available: moonshine-tiny-en"),
        ({"language": "de"}, "language_not_supported", "it knows: en"),
        ({"model": "moonshine-tiny-en", "language": "de"}, "language_not_supported", "knows: en"),
        ({"words": True}, "option_not_supported", "no word times"),
        ({"keyterms": ("hark",)}, "option_not_supported", "takes no keyterms"),
    ],
)
async def test_what_the_models_cannot_do_is_refused_with_what_they_can(
    connect: Connect, pool: ModelPool, config: dict[str, Any], code: str, says: str
) -> None:
    client = connect(pool)
    await client.configure(**config)
    await client.until_over()
    assert client.messages == [client.error]
    assert client.error.code == code
    assert says in client.error.message
    assert not client.error.retryable


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (Config(language="de"), "language_not_supported"),
        (Config(words=True), "option_not_supported"),
        (Config(keyterms=("hark",)), "option_not_supported"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_later_too(
    connect: Connect, pool: ModelPool, config: Config, code: str
) -> None:
    client = connect(pool)
    await client.configure()
    await client.say(_silence(0.5))
    await client.send(config)
    await client.until_over()
    assert client.error.code == code


async def _answers(models: ModelPool, *messages: Any, **kwargs: Any) -> list[ServerMessage]:
    """What a session says to messages that no connection would let through."""
    session = Session(models, **kwargs)
    for message in messages:
        await session.receive(message)
    return [message async for message in session]


FIRST = Config(version=PROTOCOL_VERSION)


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([Audio(bytes(320))], "unexpected_message"),
        ([Flush(1)], "unexpected_message"),
        ([Close()], "unexpected_message"),
        ([FIRST, Audio(bytes(321))], "invalid_audio"),
        ([FIRST, Config(model="other")], "option_not_supported"),
        ([FIRST, Config(endpointing=Endpointing(silence_ms=1))], "invalid_message"),
    ],
)
async def test_nonsense_ends_the_session_with_an_error(
    fake_pool: ModelPool, messages: list[Any], code: str
) -> None:
    answers = await _answers(fake_pool, *messages)
    assert isinstance(answers[-1], Error)
    assert answers[-1].code == code


async def test_a_refused_config_changes_nothing(connect: Connect, pool: ModelPool) -> None:
    client = connect(pool)
    await client.configure()
    before = client.session._ear.endpointer.options
    await client.send(Config(words=True, endpointing=Endpointing(silence_ms=9_000)))
    assert client.session._ear.endpointer.options == before


async def test_a_bug_is_an_internal_error_and_shows_in_the_log(
    fake_pool: ModelPool, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        unheard = np.zeros(0, np.float32)

        def score(self, windows: PcmArray, memories: Any) -> Any:
            raise ZeroDivisionError

    answers = await _answers(fake_pool, FIRST, Audio(bytes(32_000)), detector=Broken)
    assert isinstance(answers[-1], Error)
    assert (answers[-1].code, answers[-1].retryable) == ("internal", True)
    (record,) = (record for record in caplog.records if record.message == "session failed")
    assert record.error == "ZeroDivisionError"
    assert "in score" in record.trace


async def test_after_an_error_everything_is_ignored(fake_pool: ModelPool) -> None:
    answers = await _answers(fake_pool, Flush(1), FIRST, Audio(bytes(32_000)), Close())
    assert len(answers) == 1


async def test_a_session_may_not_last_longer_than_its_limit(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool, SessionLimits(max_session_s=2))
    await client.configure(start_sample=1_000_000)
    await client.say(_silence(2))
    assert client.session.audio_s == 2
    await client.say(_silence(0.1), 1_600)
    await client.until_over()
    assert client.error.code == "session_too_long"
    assert client.error.retryable
    assert client.of(Progress)[-1].received == 1_032_000


async def test_a_message_longer_than_a_second_is_taken_too(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool)
    await client.configure(sample_rate=8_000)
    await client.say(_silence(30, 8_000), 240_000)
    await client.hang_up()
    received = [progress.received for progress in client.of(Progress)]
    assert max(b - a for a, b in zip([0, *received], received, strict=False)) <= 8_000


class _Failing(FakeRecognizer):
    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        raise RecognitionError("what was said cannot be decoded")


async def test_an_utterance_that_the_engine_fails_on_gets_an_empty_final_and_the_next_goes_on(
    connect: Connect, start: Start, loudness_detector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(start(_Failing()), detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(np.concatenate((_sound(1), _silence(1), _sound(1))))
    await client.hang_up()
    assert [final.text for final in client.of(Final)] == ["", ""]
    assert "utterance not recognised" in caplog.messages
    assert [final.failed for final in client.of(Final)] == [
        not final.text for final in client.of(Final)
    ]
    assert "what was said" not in caplog.text


class _Doomed(LocalWorker):
    """A worker that dies of its first decode, for good."""

    def __init__(self) -> None:
        super().__init__(FakeRecognizer)
        self.starts = 0

    def start(self) -> Capabilities:
        self.starts += 1
        if self.starts > 1:
            raise WorkerError("does not come up")
        return super().start()

    def decode(
        self, jobs: Sequence[DecodeJob], forget: Sequence[int] = (), *, threads: int = 1
    ) -> list[Hypothesis]:
        raise WorkerError("died")


async def test_without_workers_the_session_ends_so_that_it_moves(
    connect: Connect, loudness_detector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.scheduler._RESTART_DELAYS_S", (0.0, 0.001))
    scheduler = Scheduler("doomed", [_Doomed()])
    scheduler.start()
    client = connect(_One(scheduler), detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(np.concatenate([_sound(1), _silence(1)]))
    await client.until_over()
    scheduler.close()
    assert (client.error.code, client.error.retryable) == ("loading", True)
    assert client.of(Final) == []
    assert client.finalized == 0


async def test_a_closed_scheduler_ends_the_session_so_that_it_moves(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    models = start(FakeRecognizer())
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    models.schedulers[0].close()
    await client.say(_sound(1))
    await client.until_over()
    assert (client.error.code, client.error.retryable) == ("draining", True)


async def test_a_transport_s_complaint_is_the_last_message(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    client = connect(fake_pool, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(_sound(1))
    client.session.fail(Error.from_code("idle_timeout", "no message for 60 s"))
    client.session.fail(Error.from_code("internal", "again"))
    await client.until_over()
    assert client.error.code == "idle_timeout"


# --- draining


async def test_draining_is_said_once(connect: Connect, fake_pool: ModelPool) -> None:
    client = connect(fake_pool)
    await client.configure()
    client.session.drain()
    client.session.drain()
    await client.hang_up()
    assert client.of(Draining) == [Draining()]


async def test_draining_before_the_first_config_is_said_after_ready(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool)
    client.session.drain()
    await client.configure()
    await client.hang_up()
    assert [type(message) for message in client.messages[:2]] == [Ready, Draining]


# --- pressure


async def test_progress_comes_once_a_second_of_audio(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool)
    await client.configure(sample_rate=48_000)
    for _ in range(50):
        await client.say(_silence(0.1, 48_000), 480)
        await client.until(lambda: True)
    await client.hang_up()
    received = [progress.received for progress in client.of(Progress)]
    assert sorted(set(received)) == [48_000 * second for second in range(1, 6)]


async def test_progress_comes_in_time_although_a_long_message_follows_short_ones(
    connect: Connect, fake_pool: ModelPool
) -> None:
    client = connect(fake_pool)
    await client.configure()
    for _ in range(3):
        await client.say(_silence(0.95), 800)
        await client.say(_silence(1), 16_000)
    await client.hang_up()
    received = [progress.received for progress in client.of(Progress)]
    assert max(b - a for a, b in zip([0, *received], received, strict=False)) <= 16_000


async def test_audio_of_finished_utterances_is_freed_without_a_garbage_collection(
    connect: Connect, fake_pool: ModelPool, speech: PcmArray
) -> None:
    def buffers() -> int:
        return sum(isinstance(one, PcmBuffer) for one in gc.get_objects())

    client = connect(fake_pool)
    gc.collect()
    gc.disable()
    try:
        await client.configure(endpointing=SHORT_PAUSES)
        await client.say(speech)
        await client.hang_up()
        await asyncio.sleep(0.2)  # the workers' threads let go of what they decoded last
        uncollected = buffers()
        gc.collect()
        assert buffers() == uncollected
    finally:
        gc.enable()
    assert len(client.of(Final)) == 5


async def test_a_reader_that_stops_reading_stops_the_session(
    fake_pool: ModelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.session._STALL_S", 0.01)
    session = Session(fake_pool)
    await session.receive(FIRST)
    taken = 0

    async def flood() -> None:
        nonlocal taken
        for id in range(10 * CAPACITY):
            await session.receive(Flush(id))
            taken += 1

    flooding = asyncio.create_task(flood())
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(flooding), 0.3)
    assert 0 < taken <= CAPACITY
    assert len(session._outbox._messages) <= CAPACITY + 2
    answered = 0
    async for message in session:
        answered += isinstance(message, Flushed)
        if answered == 10 * CAPACITY:
            break
    await asyncio.wait_for(flooding, 10)
    await session.aclose()


async def test_a_slow_engine_stops_the_session_which_still_shows_that_it_lives(
    connect: Connect, start: Start, loudness_detector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.session._STALL_S", 0.01)
    gate = threading.Event()
    words = (4_800 + 2_560) // WORD_SAMPLES
    client = connect(start(_Gated(gates={words: gate})), detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    utterance = np.concatenate([_sound(0.3), _silence(0.5)])
    saying = asyncio.create_task(client.say(np.tile(utterance, 3 * MAX_OPEN_UTTERANCES)))
    await client.until(lambda: len(client.session._line) > MAX_OPEN_UTTERANCES)
    stalled_at = client.session.audio_s
    seen = len(client.of(Progress))
    await client.until(lambda: len(client.of(Progress)) > seen + 3)
    assert client.session.audio_s == stalled_at
    assert not saying.done()
    gate.set()
    await saying
    await client.hang_up()
    assert len(client.of(Final)) == 3 * MAX_OPEN_UTTERANCES


@pytest.mark.parametrize("message", [Flush(1), Close()])
async def test_whoever_waits_for_an_answer_is_shown_that_it_is_worked_on(
    connect: Connect,
    start: Start,
    loudness_detector: Any,
    monkeypatch: pytest.MonkeyPatch,
    message: Flush | Close,
) -> None:
    monkeypatch.setattr("hark.session._STALL_S", 0.01)
    gate = threading.Event()
    words = (4_800 + 2_560) // WORD_SAMPLES
    client = connect(start(_Gated(gates={words: gate})), detector=loudness_detector)
    await client.configure(endpointing=QUICK, interim_results=False)
    await client.say(np.concatenate([_sound(0.3), _silence(0.5)]))
    await client.send(message)
    seen = len(client.of(Progress))
    await client.until(lambda: len(client.of(Progress)) > seen + 3)
    gate.set()
    await client.until(lambda: bool(client.of(Flushed) or client.of(Closed)))
    assert len(client.of(Final)) == 1
    await client.session.aclose()


async def test_a_session_that_waits_for_room_ends_when_it_is_cancelled_at_that_very_moment(
    fake_pool: ModelPool,
) -> None:
    session = Session(fake_pool)
    await session.receive(FIRST)
    for id in range(CAPACITY):
        if not session._outbox.has_room:
            break
        waiting = asyncio.create_task(session.receive(Flush(id)))
        await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    session._moved.set()  # there is room, or so it seems
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=10)
    assert waiting.cancelled()
    await session.aclose()


# --- the end, at any moment


async def _feed_forever(client: Any) -> None:
    while not client.session._outbox.is_finished:
        await client.say(np.concatenate([_sound(0.7), _silence(0.5)]), 1_000)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144])
async def test_a_session_closed_at_any_moment_leaves_nothing_behind(
    connect: Connect, start: Start, loudness_detector: Any, turns: int
) -> None:
    models = start(FakeRecognizer(decode_delay_s=0.005))
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    feeding = asyncio.create_task(_feed_forever(client))
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.session.aclose()
    await client.session.aclose()
    await client.until_over()
    await asyncio.wait_for(feeding, 10)
    assert not models.schedulers[0]._streams
    assert models.schedulers[0].waiting == 0
    assert client.session._line == type(client.session._line)()


@pytest.mark.parametrize("last", [Flush(1), Close(), Audio(_sound(3).tobytes())])
async def test_a_session_closed_while_it_takes_a_message_leaves_nothing_behind(
    connect: Connect, start: Start, loudness_detector: Any, last: Any
) -> None:
    models = start(FakeRecognizer())
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=Endpointing(min_speech_ms=1_000))
    await client.say(_sound(0.5))  # not enough to open an utterance; a flush will
    taking = asyncio.create_task(client.session.receive(last))
    await asyncio.sleep(0)  # now the ear is listening, in its thread
    await client.session.aclose()
    await asyncio.wait_for(taking, 10)
    assert not models.schedulers[0]._streams
    assert not any(isinstance(m, (SpeechStarted, Final, Closed)) for m in client.messages)


async def test_a_cancelled_receive_leaves_a_session_that_can_be_closed(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    models = start(FakeRecognizer())
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    taking = asyncio.create_task(client.session.receive(Audio(_sound(5).tobytes())))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await client.aclose()
    assert not models.schedulers[0]._streams


async def test_closing_does_not_wait_for_a_decode(
    connect: Connect, start: Start, loudness_detector: Any
) -> None:
    gates = {words: threading.Event() for words in range(1, 20)}
    recognizer = _Gated(gates=gates)
    models = start(recognizer)
    client = connect(models, detector=loudness_detector)
    await client.configure(endpointing=QUICK)
    await client.say(_sound(2))
    await asyncio.wait_for(client.aclose(), 5)
    assert not models.schedulers[0]._streams
    for gate in gates.values():
        gate.set()


def test_a_decode_may_outlive_the_event_loop(start: Start, loudness_detector: Any) -> None:
    gate = threading.Event()
    recognizer = _Gated(gates=dict.fromkeys(range(1, 20), gate))
    models = start(recognizer)

    async def leave_a_decode_behind() -> None:
        session = Session(models, detector=loudness_detector)
        await session.receive(FIRST)
        await session.receive(Audio(_sound(1).tobytes()))
        await asyncio.to_thread(recognizer.entered.wait, 10)

    asyncio.run(leave_a_decode_behind())
    gate.set()
    models.schedulers[0].close()  # an error in the worker's thread would fail this test


async def test_one_session_s_failure_is_not_another_s(
    connect: Connect, fake_pool: ModelPool, loudness_detector: Any
) -> None:
    good, bad = (connect(fake_pool, detector=loudness_detector) for _ in range(2))
    await good.configure(endpointing=QUICK)
    await good.say(_sound(1))
    await bad.configure(model="no-such-model")
    await bad.until_over()
    await good.hang_up()
    assert good.transcripts == [(0, 16_000, "one two three")]


@pytest.mark.parametrize("rate", RATES)
async def test_the_seconds_of_audio_are_counted(
    connect: Connect, fake_pool: ModelPool, rate: int
) -> None:
    client = connect(fake_pool)
    assert client.session.audio_s == 0
    assert client.session.model is None
    await client.configure(sample_rate=rate, start_sample=scale_position(99, 1, rate))
    await client.say(_silence(1.5, rate))
    assert client.session.audio_s == 1.5
