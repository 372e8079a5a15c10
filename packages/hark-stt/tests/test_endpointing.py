"""Tests of hark.endpointing.

Speech is drawn, a character for each 20 ms: `#` is speech, `.` is silence, `~` is between the two
thresholds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.audio import SAMPLE_RATE
from hark.endpointing import (
    GRID,
    LEAD,
    LONG_SILENCE,
    TAIL,
    WARM_UP,
    Endpointer,
    EndpointEvent,
    EndpointingOptions,
    SpeechEnded,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
)
from hark.errors import SettingsError

W = 320
OPTIONS = EndpointingOptions(silence_ms=600, min_speech_ms=100, max_utterance_ms=15_000)
SILENCE_W = 30  # the 600 ms above
PROBABILITIES = {"#": 0.9, "~": 0.4, ".": 0.0}


def _tail_end(pause_start: int) -> int:
    return (pause_start + TAIL) // GRID * GRID


def _hear(
    endpointer: Endpointer, probability_at: Callable[[int], float], until: int, window: int = W
) -> list[EndpointEvent]:
    """Give the endpointer all whole windows, again from wherever it goes back to."""
    events: list[EndpointEvent] = []
    while endpointer.position + window <= until:
        events += endpointer.push(probability_at(endpointer.position))
    return events


def _drawn(drawing: str) -> Callable[[int], float]:
    return lambda position: PROBABILITIES[drawing[position // W]]


def _events(
    drawing: str, options: EndpointingOptions = OPTIONS, *, flush: bool = False
) -> list[EndpointEvent]:
    endpointer = Endpointer(W, options)
    events = _hear(endpointer, _drawn(drawing), len(drawing) * W)
    return [*events, *endpointer.flush(len(drawing) * W)] if flush else events


def _utterances(events: list[EndpointEvent]) -> list[tuple[int, int]]:
    starts = [event.start for event in events if isinstance(event, SpeechStarted)]
    ends = [event.end for event in events if isinstance(event, SpeechEnded)]
    return list(zip(starts, ends, strict=True))


# --- utterances


def test_silence_has_no_utterance() -> None:
    assert _events("." * 200, flush=True) == []


def test_an_utterance_has_padding_on_both_sides_of_its_speech() -> None:
    assert _events("." * 40 + "#" * 20 + "." * 40) == [
        SpeechStarted(40 * W - LEAD, 0),
        SpeechPaused(_tail_end(60 * W)),
        SpeechEnded(_tail_end(60 * W), 60 * W),
    ]


def test_padding_does_not_reach_before_the_stream() -> None:
    assert _events("..." + "#" * 20)[0] == SpeechStarted(0, 0)


def test_padding_does_not_reach_into_the_utterance_before() -> None:
    first_pause = 30 + 20
    again = first_pause + SILENCE_W + 1
    events = _events("." * 30 + "#" * 20 + "." * (SILENCE_W + 1) + "#" * 20)
    floor = _tail_end(first_pause * W)
    assert events[-1] == SpeechStarted(max(floor, again * W - LEAD), floor)
    assert events[-1].start >= floor > again * W - LEAD - W


def test_a_pause_shorter_than_the_endpointing_silence_keeps_the_utterance_open() -> None:
    events = _events("." * 40 + "#" * 10 + "." * (SILENCE_W - 1) + "#" * 10)
    assert [type(event) for event in events] == [SpeechStarted, SpeechPaused, SpeechResumed]


def test_the_endpointing_silence_ends_the_utterance() -> None:
    events = _events("." * 40 + "#" * 10 + "." * SILENCE_W)
    assert [type(event) for event in events] == [SpeechStarted, SpeechPaused, SpeechEnded]


def test_a_pause_shorter_than_the_tail_is_not_announced() -> None:
    shorter = TAIL // W - 1
    events = _events("." * 40 + "#" * 10 + "." * shorter + "#" * 10)
    assert [type(event) for event in events] == [SpeechStarted]


@pytest.mark.parametrize(("silence_ms", "windows"), [(200, 4), (300, 5), (350, 6), (450, 8)])
def test_the_tail_of_a_short_silence_is_half_of_it_up_to_the_end_of_a_window(
    silence_ms: int, windows: int
) -> None:
    endpointer = Endpointer(512, replace(OPTIONS, silence_ms=silence_ms))
    speech = 20 * 512
    events = _hear(endpointer, lambda position: 0.9 if position < speech else 0.0, 40 * 512, 512)
    end = (speech + windows * 512) // GRID * GRID
    assert events == [SpeechStarted(0, 0), SpeechPaused(end), SpeechEnded(end, speech)]


def test_every_announced_pause_is_taken_back_or_ends_the_utterance() -> None:
    pause = "." * (SILENCE_W - 1) + "#" * 5
    events = _events("." * 40 + "#" * 10 + pause * 3 + "." * SILENCE_W)
    kinds = [type(event) for event in events]
    assert kinds == [
        SpeechStarted,
        *[SpeechPaused, SpeechResumed] * 3,
        SpeechPaused,
        SpeechEnded,
    ]


def test_a_click_shorter_than_the_least_speech_opens_no_utterance() -> None:
    assert _events("." * 40 + "#" * 4 + "." * 100) == []


def test_the_least_speech_opens_an_utterance() -> None:
    assert _events("." * 40 + "#" * 5) == [SpeechStarted(40 * W - LEAD, 0)]


def test_clicks_do_not_add_up_to_an_utterance() -> None:
    assert _events("." * 40 + "####." * 10) == []


def test_with_no_least_speech_a_single_window_opens_an_utterance() -> None:
    options = replace(OPTIONS, min_speech_ms=0)
    assert _events("." * 40 + "#", options) == [SpeechStarted(40 * W - LEAD, 0)]


def test_a_voice_between_the_thresholds_opens_nothing() -> None:
    assert _events("~" * 100) == []


def test_a_voice_between_the_thresholds_goes_on() -> None:
    assert len(_events("." * 40 + "#" * 5 + "~" * 200)) == 1


def test_a_voice_between_the_thresholds_does_not_resume_after_a_pause() -> None:
    events = _events("." * 40 + "#" * 5 + "." + "~" * (SILENCE_W - 1))
    assert [type(event) for event in events] == [SpeechStarted, SpeechPaused, SpeechEnded]


def test_even_with_the_lowest_threshold_silence_ends_an_utterance() -> None:
    options = replace(OPTIONS, threshold=0.05)
    events = _events("." * 40 + "#" * 10 + "." * SILENCE_W, options)
    assert isinstance(events[-1], SpeechEnded)


# --- the end-of-turn model

ADAPTIVE = replace(OPTIONS, max_silence_ms=1_000)
MAX_SILENCE_W = 50


def _silence_to_the_end(options: EndpointingOptions, *judgements: float | None) -> list[int]:
    """How many windows of silence end each of some utterances; None leaves its pause unjudged."""
    endpointer = Endpointer(W, options)
    silences = []
    for judgement in judgements:
        for _ in range(20):
            endpointer.push(0.9)
        silence, events = 0, set[type]()
        while silence < 100 and SpeechEnded not in events:
            events = {type(event) for event in endpointer.push(0.0)}
            silence += 1
            if SpeechPaused in events and judgement is not None:
                endpointer.judge(judgement)
        silences.append(silence)
    return silences


@pytest.mark.parametrize(
    ("judgement", "silence_w"),
    [(1.0, SILENCE_W), (0.75, 35), (0.5, 40), (0.0, MAX_SILENCE_W), (None, SILENCE_W)],
)
def test_the_less_likely_the_end_the_more_silence_it_needs(
    judgement: float | None, silence_w: int
) -> None:
    assert _silence_to_the_end(ADAPTIVE, judgement) == [silence_w]


def test_a_judgement_is_of_one_pause_only() -> None:
    silences = _silence_to_the_end(ADAPTIVE, 0.0, None, 0.5, 1.0)
    assert silences == [MAX_SILENCE_W, SILENCE_W, 40, SILENCE_W]


def test_a_judgement_is_forgotten_when_speech_resumes() -> None:
    endpointer = Endpointer(W, ADAPTIVE)
    events: list[EndpointEvent] = []
    for probability in [0.9] * 20 + [0.0] * SILENCE_W + [0.9] * 5 + [0.0] * SILENCE_W:
        for event in endpointer.push(probability):
            events.append(event)
            if event == SpeechPaused(_tail_end(20 * W)):
                endpointer.judge(0.0)
    kinds = [type(event) for event in events]
    assert kinds == [SpeechStarted, SpeechPaused, SpeechResumed, SpeechPaused, SpeechEnded]


def test_a_pause_is_announced_before_it_ends_whatever_options_change() -> None:
    endpointer = Endpointer(W, replace(OPTIONS, silence_ms=2_000))
    for probability in [0.9] * 20 + [0.0] * 10:
        endpointer.push(probability)
    endpointer.options = replace(ADAPTIVE, silence_ms=160)  # of which so much has passed already
    (pause,) = endpointer.push(0.0)
    assert isinstance(pause, SpeechPaused)
    endpointer.judge(0.0)
    assert endpointer.push(0.0) == ()


@pytest.mark.parametrize("max_silence_ms", [0, 160, 600])
def test_a_longest_silence_that_is_no_longer_lets_no_model_decide(max_silence_ms: int) -> None:
    options = replace(OPTIONS, max_silence_ms=max_silence_ms)
    assert not options.asks_model
    assert _silence_to_the_end(options, 0.0) == [SILENCE_W]


def test_the_utterance_ends_at_the_same_place_however_long_the_silence() -> None:
    endpointer = Endpointer(W, ADAPTIVE)
    events: list[EndpointEvent] = []
    for probability in [0.9] * 20 + [0.0] * MAX_SILENCE_W:
        for event in endpointer.push(probability):
            events.append(event)
            if isinstance(event, SpeechPaused):
                endpointer.judge(0.0)
    assert events[1:] == [SpeechPaused(_tail_end(20 * W)), SpeechEnded(_tail_end(20 * W), 20 * W)]


def test_the_open_utterance_tells_where_it_starts() -> None:
    endpointer = Endpointer(W, OPTIONS)
    (started,) = _hear(endpointer, _drawn("." * 40 + "#" * 10), 50 * W)
    assert started == SpeechStarted(endpointer.start, 0)


# --- long utterances

TWO_SECONDS = replace(OPTIONS, max_utterance_ms=2_000)
LIMIT_W = 100  # the two seconds


def test_a_long_utterance_is_cut_where_the_voice_is_weakest() -> None:
    drawing = "#" * 70 + "~~~" + "#" * 60
    events = _events(drawing, TWO_SECONDS)
    assert events == [
        SpeechStarted(0, 0),
        SpeechEnded(71 * W, 71 * W),
        SpeechStarted(71 * W, 71 * W),
    ]


def test_a_long_utterance_is_not_cut_in_its_first_half() -> None:
    drawing = "#" * 20 + "~~~" + "#" * 47 + "~~" + "#" * 60
    first_end = _utterances(_events(drawing, TWO_SECONDS, flush=True))[0][1]
    assert 70 * W <= first_end <= 72 * W


def test_what_is_left_after_a_cut_is_long_enough_to_be_an_utterance() -> None:
    # The weakest place is at the very end; what follows it is silence.
    drawing = "#" * (LIMIT_W - 3) + "~~~" + "." * 100
    utterances = _utterances(_events(drawing, TWO_SECONDS))
    assert len(utterances) == 2
    assert utterances[1][0] == utterances[0][1]


def test_nobody_is_cut_while_pausing() -> None:
    drawing = "#" * (LIMIT_W - 1) + "." * SILENCE_W
    assert _utterances(_events(drawing, TWO_SECONDS)) == [(0, _tail_end((LIMIT_W - 1) * W))]


def test_whoever_speaks_on_after_a_pause_past_the_limit_is_cut_in_the_pause() -> None:
    pause_start = LIMIT_W - 10
    drawing = "#" * pause_start + "." * (SILENCE_W - 5) + "#" * 20
    events = _events(drawing, TWO_SECONDS)
    assert [type(event) for event in events[1:4]] == [SpeechPaused, SpeechResumed, SpeechEnded]
    assert pause_start * W < events[3].end < (pause_start + SILENCE_W - 5) * W


def test_endless_speech_is_cut_into_utterances_without_gaps() -> None:
    utterances = _utterances(_events("#" * 1_000, TWO_SECONDS, flush=True))
    assert len(utterances) >= 10
    assert utterances[0][0] == 0
    assert utterances[-1][1] == 1_000 * W
    assert all(a[1] == b[0] for a, b in pairwise(utterances))


# --- flush


def test_a_flush_in_silence_closes_nothing() -> None:
    assert _events("." * 10, flush=True) == []


def test_a_flush_in_speech_closes_the_utterance_there() -> None:
    events = _events("." * 40 + "#" * 10, flush=True)
    assert events[-1] == SpeechEnded(50 * W, 50 * W)


def test_a_flush_takes_speech_that_was_too_short_so_far() -> None:
    assert _events("." * 40 + "##", flush=True) == [
        SpeechStarted(40 * W - LEAD, 0),
        SpeechEnded(42 * W, 42 * W),
    ]


def test_a_flush_early_in_a_pause_takes_the_silence_there_is() -> None:
    events = _events("." * 40 + "#" * 10 + "..", flush=True)
    assert events[-1] == SpeechEnded(52 * W, 50 * W)


def test_a_flush_late_in_a_pause_ends_the_utterance_as_announced() -> None:
    events = _events("." * 40 + "#" * 10 + "." * (SILENCE_W - 1), flush=True)
    assert events[1:] == [
        SpeechPaused(_tail_end(50 * W)),
        SpeechEnded(_tail_end(50 * W), 50 * W),
    ]


def test_after_a_flush_the_next_window_starts_there() -> None:
    endpointer = Endpointer(W, OPTIONS)
    _hear(endpointer, lambda _: 0.9, 50 * W)
    position = 50 * W + 123  # in the middle of a window
    endpointer.flush(position)
    assert endpointer.position == endpointer.settled == position
    events = _hear(endpointer, lambda _: 0.9, position + 20 * W)
    assert events == [SpeechStarted(position, position)]


def test_a_second_flush_closes_nothing_more() -> None:
    endpointer = Endpointer(W, OPTIONS)
    _hear(endpointer, lambda _: 0.9, 50 * W)
    assert len(endpointer.flush(50 * W)) == 1
    assert endpointer.flush(50 * W) == []


# --- options


def test_options_may_change_while_an_utterance_is_open() -> None:
    endpointer = Endpointer(W, OPTIONS)
    drawing = _drawn("." * 40 + "#" * 10 + "." * 100)
    assert len(_hear(endpointer, drawing, 60 * W)) == 1
    endpointer.options = replace(OPTIONS, silence_ms=240)
    events = _hear(endpointer, drawing, (50 + 12) * W)
    assert [type(event) for event in events] == [SpeechPaused, SpeechEnded]


@pytest.mark.parametrize("silence_ms", [160, 500, 10_000])
def test_an_announced_end_holds_even_if_the_endpointing_silence_changes(silence_ms: int) -> None:
    endpointer = Endpointer(W, OPTIONS)
    drawing = _drawn("." * 40 + "#" * 10 + "." * 600)
    announced = _hear(endpointer, drawing, (50 + SILENCE_W - 1) * W)[-1]
    assert isinstance(announced, SpeechPaused)
    endpointer.options = replace(OPTIONS, silence_ms=silence_ms)
    ended = _hear(endpointer, drawing, 600 * W)
    assert ended == [SpeechEnded(announced.end, 50 * W)]


def test_an_announced_pause_is_taken_back_even_if_the_endpointing_silence_changes() -> None:
    endpointer = Endpointer(W, replace(OPTIONS, silence_ms=320))
    drawing = _drawn("." * 40 + "#" * 10 + "." * 10 + "#" * 10)
    assert isinstance(_hear(endpointer, drawing, 60 * W)[-1], SpeechPaused)
    endpointer.options = replace(OPTIONS, silence_ms=10_000)
    assert _hear(endpointer, drawing, 70 * W) == [SpeechResumed()]


def test_a_lower_limit_holds_for_the_open_utterance_too() -> None:
    endpointer = Endpointer(W, OPTIONS)
    _hear(endpointer, lambda _: 0.9, 300 * W)
    endpointer.options = TWO_SECONDS
    events = _hear(endpointer, lambda _: 0.9, 500 * W)
    assert isinstance(events[0], SpeechEnded)
    assert len(events) > 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("silence_ms", 159),
        ("silence_ms", 10_001),
        ("max_silence_ms", -1),
        ("max_silence_ms", 10_001),
        ("threshold", 0.04),
        ("threshold", 0.96),
        ("threshold", float("nan")),
        ("min_speech_ms", -1),
        ("min_speech_ms", 1_001),
        ("max_utterance_ms", 1_999),
        ("max_utterance_ms", 30_001),
    ],
)
def test_an_option_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        replace(OPTIONS, **{name: value})


# --- resuming


def test_in_long_silence_little_needs_to_be_kept() -> None:
    endpointer = Endpointer(W, OPTIONS)
    for position in range(W, 10 * LONG_SILENCE, W):
        assert _hear(endpointer, lambda _: 0.0, position) == []
        assert position - endpointer.settled <= LONG_SILENCE + W


def test_after_long_silence_the_stream_is_heard_again_from_before_the_padding() -> None:
    endpointer = Endpointer(W, OPTIONS)
    before = 0
    while endpointer.position >= before:
        before = endpointer.position
        endpointer.push(0.0)
    assert before + W - endpointer.position >= LEAD + WARM_UP
    assert endpointer.position == endpointer.settled


def test_while_an_utterance_is_open_it_is_not_settled() -> None:
    endpointer = Endpointer(W, OPTIONS)
    (started,) = _hear(endpointer, _drawn("." * 40 + "#" * 50), 90 * W)
    assert isinstance(started, SpeechStarted)
    assert endpointer.settled == started.resume_from <= started.start


def test_when_an_utterance_has_ended_it_is_settled() -> None:
    endpointer = Endpointer(W, OPTIONS)
    drawing = _drawn("." * 40 + "#" * 10 + "." * SILENCE_W)
    events: list[EndpointEvent] = []
    while not any(isinstance(event, SpeechEnded) for event in events):
        events += endpointer.push(drawing(endpointer.position))
    assert endpointer.settled == endpointer.position == _tail_end(50 * W)


def test_utterances_end_where_a_client_of_any_common_rate_can_resume() -> None:
    endpointer = Endpointer(512, OPTIONS)
    events = _hear(endpointer, lambda p: 0.9 if p // 16_000 % 3 else 0.0, 400_000, 512)
    ends = [event.end for event in events if isinstance(event, SpeechEnded)]
    assert len(ends) > 5
    for rate in (8_000, 22_050, 24_000, 32_000, 44_100, 48_000):
        assert all(end * rate % SAMPLE_RATE == 0 for end in ends)


# --- any probabilities

WINDOW = 512
RUNS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(1, 60)), min_size=1, max_size=25
)  # of windows with the same probability
ANY_OPTIONS = st.builds(
    EndpointingOptions,
    silence_ms=st.integers(160, 2_000),
    threshold=st.floats(0.05, 0.95),
    min_speech_ms=st.integers(0, 1_000),
    max_utterance_ms=st.integers(2_000, 30_000),
)


def _of_runs(runs: list[tuple[float, int]]) -> tuple[Callable[[int], float], int]:
    windows = [probability for probability, count in runs for _ in range(count)]
    return lambda position: windows[position // WINDOW], len(windows) * WINDOW


@given(RUNS, ANY_OPTIONS)
def test_events_come_in_a_legal_order(
    runs: list[tuple[float, int]], options: EndpointingOptions
) -> None:
    probability_at, length = _of_runs(runs)
    endpointer = Endpointer(WINDOW, options)
    events = _hear(endpointer, probability_at, length, WINDOW)
    letters = {SpeechStarted: "S", SpeechPaused: "p", SpeechResumed: "r", SpeechEnded: "E"}
    state = "E"
    legal = {"E": "S", "S": "pE", "p": "rE", "r": "pE"}
    for event in [*events, *endpointer.flush(length)]:
        assert letters[type(event)] in legal[state]
        state = letters[type(event)]
    assert state == "E"


@given(RUNS, ANY_OPTIONS)
def test_utterances_are_in_order_apart_and_not_too_long(
    runs: list[tuple[float, int]], options: EndpointingOptions
) -> None:
    probability_at, length = _of_runs(runs)
    endpointer = Endpointer(WINDOW, options)
    events = _hear(endpointer, probability_at, length, WINDOW)
    events += endpointer.flush(length)
    longest = (options.max_utterance_ms + options.silence_ms) * SAMPLE_RATE // 1000 + WINDOW
    previous_end = 0
    for start, end in _utterances(events):
        assert previous_end <= start < end <= length
        assert end - start <= longest
        previous_end = end
    for event in events:
        if isinstance(event, SpeechEnded):
            assert event.speech_end <= event.end


@given(RUNS, ANY_OPTIONS)
def test_an_utterance_ends_as_its_last_pause_announced(
    runs: list[tuple[float, int]], options: EndpointingOptions
) -> None:
    probability_at, length = _of_runs(runs)
    endpointer = Endpointer(WINDOW, options)
    events = _hear(endpointer, probability_at, length, WINDOW)
    for event, following in pairwise(events):
        if isinstance(event, SpeechPaused) and isinstance(following, SpeechEnded):
            assert event.end == following.end


@given(RUNS, ANY_OPTIONS)
def test_what_is_settled_only_grows_and_stays_before_the_open_utterance(
    runs: list[tuple[float, int]], options: EndpointingOptions
) -> None:
    probability_at, length = _of_runs(runs)
    endpointer = Endpointer(WINDOW, options)
    settled, open_start = 0, None
    for until in range(0, length + 1, WINDOW):
        for event in _hear(endpointer, probability_at, until, WINDOW):
            if isinstance(event, SpeechStarted):
                open_start = event.start
            elif isinstance(event, SpeechEnded):
                open_start = None
        assert endpointer.settled >= settled
        settled = endpointer.settled
        assert open_start is None or settled <= open_start


@given(RUNS, ANY_OPTIONS, st.floats(0, 1))
def test_a_stream_resumed_at_what_is_settled_decides_the_same(
    runs: list[tuple[float, int]], options: EndpointingOptions, part: float
) -> None:
    probability_at, length = _of_runs(runs)
    undisturbed = Endpointer(WINDOW, options)
    cut = int(part * length)
    before = _hear(undisturbed, probability_at, cut, WINDOW)
    resumed = Endpointer(WINDOW, options, start=undisturbed.settled)
    after = _hear(undisturbed, probability_at, length, WINDOW)
    everything = [*before, *after, *undisturbed.flush(length)]
    again = _hear(resumed, probability_at, length, WINDOW)
    again += resumed.flush(length)
    closed_before = sum(isinstance(event, SpeechEnded) for event in before)
    assert _utterances(everything)[closed_before:] == _utterances(again)
