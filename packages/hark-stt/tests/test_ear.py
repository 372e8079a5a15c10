"""Tests of hark.ear, with the real detector on real speech."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hark.audio import PcmArray, scale_position
from hark.ear import Ear, EndOfTurnModel, hear_together
from hark.endpointing import (
    GRID,
    EndpointEvent,
    EndpointingOptions,
    SpeechEnded,
    SpeechPaused,
    SpeechStarted,
)
from hark.engines.smart_turn import SmartTurn
from hark.errors import RecognitionError
from hark.vad import WINDOW, silero_model

RATES = [8_000, 16_000, 22_050, 44_100, 48_000]
OPTIONS = EndpointingOptions(silence_ms=240)  # five utterances in the speech


def _ear(rate: int, *, start: int = 0) -> Ear:
    ear = Ear(rate, silero_model(), start=start)
    ear.endpointer.options = OPTIONS
    return ear


def _hear(ear: Ear, samples: PcmArray, chunk: int) -> list[EndpointEvent]:
    events: list[EndpointEvent] = []
    for i in range(0, len(samples), chunk):
        events += ear.push(samples[i : i + chunk])
    return [*events, *ear.flush()]


def _spans(events: list[EndpointEvent]) -> list[tuple[int, int]]:
    starts = [event.start for event in events if isinstance(event, SpeechStarted)]
    ends = [event.end for event in events if isinstance(event, SpeechEnded)]
    return list(zip(starts, ends, strict=True))


@pytest.mark.parametrize("rate", RATES)
def test_any_chunking_gives_the_same_events(
    speech_at: Callable[[int], PcmArray], rate: int
) -> None:
    samples = speech_at(rate)
    at_once = _hear(_ear(rate), samples, len(samples))
    assert len(_spans(at_once)) == 5
    for chunk in (rate // 100, 77_777):
        assert _hear(_ear(rate), samples, chunk) == at_once


@pytest.fixture(scope="module")
def expected(speech: PcmArray) -> list[EndpointEvent]:
    return _hear(_ear(16_000), speech, len(speech))


@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 13 * 16_000), max_size=30))
def test_any_cuts_give_the_same_events(
    speech: PcmArray, expected: list[EndpointEvent], cuts: list[int]
) -> None:
    ear = _ear(16_000)
    events = [event for part in np.split(speech, sorted(cuts)) for event in ear.push(part)]
    assert [*events, *ear.flush()] == expected


@pytest.mark.parametrize("rate", RATES)
def test_all_rates_hear_the_same_utterances(
    speech_at: Callable[[int], PcmArray], expected: list[EndpointEvent], rate: int
) -> None:
    heard = _spans(_hear(_ear(rate), speech_at(rate), rate))
    assert len(heard) == len(_spans(expected))
    # At 8 kHz half of the band is missing, which is another signal for the detector.
    tolerance = 4 * WINDOW if rate == 8_000 else WINDOW
    assert np.abs(np.array(heard) - np.array(_spans(expected))).max() <= tolerance


@pytest.mark.parametrize("rate", RATES)
def test_a_stream_resumed_where_it_is_settled_hears_the_same(
    speech_at: Callable[[int], PcmArray], rate: int
) -> None:
    samples = speech_at(rate)
    undisturbed = _spans(_hear(_ear(rate), samples, len(samples)))
    for second in (4, 9, 11):
        ear = _ear(rate)
        events = ear.push(samples[: second * rate])
        settled = ear.endpointer.settled
        start = scale_position(settled, 16_000, rate)
        resumed = _ear(rate, start=settled)
        closed = sum(isinstance(event, SpeechEnded) for event in events)
        again = _spans(_hear(resumed, samples[start:], rate))
        assert again == undisturbed[closed:], f"resumed after {second} s"


@pytest.mark.parametrize("rate", RATES)
def test_the_audio_kept_is_as_long_as_the_audio_heard(rate: int) -> None:
    ear = _ear(rate, start=1_000)
    pushed = 0
    for length in (1, 333, rate, 7_919):
        ear.push(np.zeros(length, np.int16))
        pushed += length
        ear.flush()
        assert ear.audio.end == 1_000 + scale_position(pushed, rate, 16_000)
        assert ear.endpointer.position == ear.audio.end


def test_after_a_flush_nothing_of_before_is_heard(
    speech: PcmArray, expected: list[EndpointEvent]
) -> None:
    ear = _ear(16_000)
    flushed_at = 157 * GRID  # in the middle of a word
    _hear(ear, speech[:flushed_at], 1_600)
    heard = _spans(_hear(ear, speech, 1_600))
    shifted = [(start - flushed_at, end - flushed_at) for start, end in heard]
    assert shifted == _spans(expected)


def test_what_follows_an_utterance_is_heard_afresh(loudness_detector: type[Any]) -> None:
    detector = loudness_detector()
    ear = Ear(16_000, detector)
    audio = np.zeros(80_000, np.int16)
    audio[16_000:32_000] = 1
    events = ear.push(audio)
    assert len(_spans(events)) == 1
    assert detector.afresh == 2


def test_what_is_left_after_a_cut_is_heard_again(loudness_detector: type[Any]) -> None:
    ear = Ear(16_000, loudness_detector())
    ear.endpointer.options = EndpointingOptions(max_utterance_ms=2_000)
    spans = _spans(_hear(ear, np.ones(160_000, np.int16), 160_000))
    assert len(spans) >= 5
    assert spans[0][0] == 0
    assert spans[-1][1] == 160_000
    assert all(end == start for (_, end), (start, _) in pairwise(spans))


# --- side by side


def _hear_side_by_side(
    ears: list[Ear], streams: list[PcmArray], chunk: int
) -> list[list[EndpointEvent]]:
    """Hear some streams chunk by chunk, each in chunks a little longer than the one before."""
    events: list[list[EndpointEvent]] = [[] for _ in ears]
    for i in range(-(-max(map(len, streams)) // chunk)):
        hearings = [
            ear.hearing(stream[i * (chunk + j) :][: chunk + j])
            for j, (ear, stream) in enumerate(zip(ears, streams, strict=True))
        ]
        hear_together(hearings)
        for heard, hearing in zip(events, hearings, strict=True):
            heard += hearing.events
    closings = [ear.closing() for ear in ears]
    hear_together(closings)
    return [[*heard, *one.events] for heard, one in zip(events, closings, strict=True)]


@pytest.mark.parametrize("chunk", [1_600, 7_777, 300_000])
def test_ears_that_hear_side_by_side_hear_what_each_hears_alone(
    speech: PcmArray, chunk: int
) -> None:
    streams = [np.roll(speech[: 60_000 + 11_000 * i], 5_000 * i) for i in range(14)]
    alone = [_hear(_ear(16_000), stream, chunk) for stream in streams]
    assert sum(len(_spans(events)) for events in alone) > len(streams)
    assert _hear_side_by_side([_ear(16_000) for _ in streams], streams, chunk) == alone


class _Hater:
    """Fails on each window that begins with 13. Satisfies `SpeechDetector`."""

    unheard = np.zeros(0, np.float32)

    def score(self, windows: PcmArray, memories: Any) -> Any:
        if (windows[:, 0] == 13).any():
            raise ZeroDivisionError
        return np.ones(len(windows), np.float32), memories


def test_an_ear_that_fails_is_the_only_one_to_fail() -> None:
    detector = _Hater()
    hearings = [
        Ear(16_000, detector).hearing(np.full(16_000, value, np.int16)) for value in (1, 13, 2)
    ]
    hearings.insert(1, Ear(16_000, detector).hearing(None))  # type: ignore[arg-type]
    hear_together(hearings)
    assert all(hearing.is_over for hearing in hearings)
    for hearing in (hearings[0], hearings[3]):
        assert [type(event) for event in hearing.events] == [SpeechStarted]
    for hearing, error in zip(hearings[1:3], (TypeError, ZeroDivisionError), strict=True):
        with pytest.raises(error):
            hearing.events  # noqa: B018


class _Careless:
    """Forgets the last of those it should score. Satisfies `SpeechDetector`."""

    unheard = np.zeros(0, np.float32)

    def score(self, windows: PcmArray, memories: Any) -> Any:
        return np.zeros(len(windows) - 1, np.float32), memories


def test_a_detector_that_forgets_one_leaves_nobody_untold() -> None:
    detector = _Careless()
    hearings = [Ear(16_000, detector).hearing(np.ones(600, np.int16)) for _ in range(2)]
    told: list[int] = []
    hear_together(hearings, lambda over: told.extend(map(hearings.index, over)))
    assert sorted(told) == [0, 1]
    assert hearings[0].events == []
    with pytest.raises(ValueError, match="shorter"):
        hearings[1].events  # noqa: B018


def test_who_is_over_is_told_of_once_and_at_once() -> None:
    detector = _Hater()
    lengths = (2_000, 300, 16_000, 2_000)
    hearings = [Ear(16_000, detector).hearing(np.ones(n, np.int16)) for n in lengths]
    hearings[3].cancel()
    told: list[list[int]] = []
    hear_together(hearings, lambda over: told.append([hearings.index(one) for one in over]))
    assert told == [[1, 3], [0], [2]]


def test_what_was_cancelled_is_not_heard(loudness_detector: type[Any]) -> None:
    cancelled, other = (Ear(16_000, loudness_detector()) for _ in range(2))
    hearings = [ear.hearing(np.ones(16_000, np.int16)) for ear in (cancelled, other)]
    hearings[0].cancel()
    hear_together(hearings)
    assert cancelled.audio.end == 0
    assert len(hearings[1].events) == 1


# --- with an end-of-turn model

ADAPTIVE = EndpointingOptions(silence_ms=240, max_silence_ms=700)


def _adaptive_ear(model: EndOfTurnModel, *, start: int = 0) -> Ear:
    ear = _ear(16_000, start=start)
    ear.endpointer.options = ADAPTIVE
    ear.end_of_turn = model
    return ear


def test_the_model_hears_each_utterance_up_to_each_of_its_pauses(
    speech: PcmArray, guess: Any
) -> None:
    spans: list[tuple[int, int]] = []
    start = 0
    for event in _hear(_adaptive_ear(guess), speech, 1_600):
        if isinstance(event, SpeechStarted):
            start = event.start
        if isinstance(event, SpeechPaused):
            spans.append((start, event.end))
    assert len(spans) >= 5
    for heard, (start, end) in zip(guess.heard, spans, strict=True):
        assert np.array_equal(heard, speech[start:end])


def test_a_model_that_is_never_sure_of_the_end_joins_utterances(speech: PcmArray) -> None:
    class Never:
        def finished(self, audio: PcmArray) -> float:
            return 0.0

    assert len(_spans(_hear(_adaptive_ear(Never()), speech, 1_600))) == 1


def test_a_model_that_is_sure_of_each_end_changes_nothing(
    speech: PcmArray, expected: list[EndpointEvent]
) -> None:
    class Always:
        def finished(self, audio: PcmArray) -> float:
            return 1.0

    assert _hear(_adaptive_ear(Always()), speech, 1_600) == expected


def test_a_model_that_fails_changes_nothing_either(
    speech: PcmArray, expected: list[EndpointEvent], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def finished(self, audio: PcmArray) -> float:
            raise RecognitionError("onnxruntime failed")

    assert _hear(_adaptive_ear(Broken()), speech, 1_600) == expected
    assert "end-of-turn model failed" in caplog.messages


def test_a_model_that_is_not_wanted_is_not_asked(
    speech: PcmArray, expected: list[EndpointEvent], guess: Any
) -> None:
    ear = _ear(16_000)
    ear.end_of_turn = guess
    assert _hear(ear, speech, 1_600) == expected
    assert guess.heard == []


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 13 * 16_000), max_size=30))
def test_any_cuts_give_the_same_events_with_a_model(
    speech: PcmArray, guess: Any, cuts: list[int]
) -> None:
    at_once = _hear(_adaptive_ear(guess), speech, len(speech))
    ear = _adaptive_ear(guess)
    events = [event for part in np.split(speech, sorted(cuts)) for event in ear.push(part)]
    assert [*events, *ear.flush()] == at_once


@pytest.mark.parametrize("chunk", [160, 1_600, 77_777])
def test_the_real_model_decides_the_same_for_any_chunking(
    speech: PcmArray, end_of_turn: SmartTurn, chunk: int
) -> None:
    at_once = _hear(_adaptive_ear(end_of_turn), speech, len(speech))
    assert _hear(_adaptive_ear(end_of_turn), speech, chunk) == at_once


def _assert_resumed_hears_the_same(model: EndOfTurnModel, samples: PcmArray) -> None:
    undisturbed = _spans(_hear(_adaptive_ear(model), samples, len(samples)))
    for cut in range(16_000, len(samples), 23_456):
        ear = _adaptive_ear(model)
        closed = sum(isinstance(event, SpeechEnded) for event in ear.push(samples[:cut]))
        settled = ear.endpointer.settled
        again = _spans(_hear(_adaptive_ear(model, start=settled), samples[settled:], 1_600))
        assert again == undisturbed[closed:], f"resumed after {cut} samples"


def test_a_resumed_stream_hears_the_same_with_a_model(speech: PcmArray, guess: Any) -> None:
    _assert_resumed_hears_the_same(guess, speech)


def test_a_resumed_stream_hears_the_same_with_the_real_model(
    speech: PcmArray, end_of_turn: SmartTurn
) -> None:
    _assert_resumed_hears_the_same(end_of_turn, speech)
