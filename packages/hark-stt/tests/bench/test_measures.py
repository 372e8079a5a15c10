from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from hark.bench.contestant import Heard
from hark.bench.measures import (
    Measures,
    Retractions,
    Spread,
    final_latency_s,
    intervals_s,
    matched,
    measure,
    word_latencies_s,
)
from hark.bench.play import Played
from hark.bench.recordings import Spoken

Say = Callable[[float, float, str], Spoken]
PlayedBy = Callable[..., Played]


def final(text: str, start_s: float, end_s: float, at_s: float) -> Heard:
    return Heard("final", text, start_s, end_s, at_s)


def interim(text: str, start_s: float, end_s: float, at_s: float) -> Heard:
    return Heard("interim", text, start_s, end_s, at_s)


def measured(*streams: Played) -> Measures:
    """Of the middle of a minute that began at 100 s."""
    return measure(streams, 101.0, 155.0)


# --- spreads


def test_a_percentile_is_one_of_the_times() -> None:
    spread = Spread.of(range(1, 101))
    assert spread == Spread(50, 95, 99, 100)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 1)
    assert Spread.of([]) is None


def test_one_result_in_ten_that_never_came_makes_p95_infinite_but_not_the_median() -> None:
    spread = Spread.of([0.5] * 9 + [math.inf])
    assert spread is not None
    assert spread.p50_s == 0.5
    assert spread.p95_s == math.inf


# --- finals


def test_the_final_latency_counts_from_the_end_of_the_speech(say: Say, played: PlayedBy) -> None:
    stream = played([say(2, 4, "hello there")], [final("hello there", 1.7, 4.3, 4.6)])
    result = measured(stream)
    assert result.final is not None
    assert result.final.p50_s == pytest.approx(0.6)
    assert result.utterances == 1
    assert result.lost == 0


def test_an_utterance_that_is_split_is_there_with_its_last_part(say: Say) -> None:
    spoken = say(2, 6, "hello there my friend")
    parts = [final("hello there", 1.7, 4.0, 4.4), final("my friend", 4.2, 6.2, 6.5)]
    assert final_latency_s(spoken, parts) == pytest.approx(0.5)


def test_a_final_of_two_utterances_counts_for_both(say: Say, played: PlayedBy) -> None:
    spoken = [say(2, 4, "hello there"), say(5, 7, "my friend")]
    stream = played(spoken, [final("hello there my friend", 1.7, 7.2, 7.5)])
    latencies = [final_latency_s(one, heard) for one, heard in matched(stream)]
    assert latencies == pytest.approx([3.5, 0.5])


def test_padding_that_reaches_into_the_next_utterance_does_not_count_for_it(
    say: Say, played: PlayedBy
) -> None:
    spoken = [say(2, 4, "hello there"), say(4.9, 7, "my friend")]
    stream = played(spoken, [final("hello there", 1.7, 5.0, 5.1)])
    result = measured(stream)
    assert result.lost == 1
    assert result.final is not None
    assert result.final.p95_s == math.inf


def test_a_final_without_text_is_no_final_of_the_utterance(say: Say, played: PlayedBy) -> None:
    result = measured(played([say(2, 4, "hello there")], [final(" ", 2, 4, 4.5)]))
    assert result.lost == 1


def test_only_utterances_that_end_while_all_streams_play_count_for_latency(
    say: Say, played: PlayedBy
) -> None:
    spoken = [say(0.2, 0.8, "too early"), say(2, 4, "in time"), say(55, 58, "too late")]
    heard = [final(one.text or "", one.start_s, one.end_s, one.end_s + 1) for one in spoken]
    result = measured(played(spoken, heard))
    assert result.final is not None
    assert result.final.count == 1
    assert result.utterances == 3
    assert result.wer == 0


def test_where_no_end_of_speech_is_known_the_finals_own_ends_are_used_and_it_is_said(
    played: PlayedBy,
) -> None:
    result = measured(played([], [final("hello", 1, 4, 4.25)]))
    assert not result.ends_are_known
    assert result.final is not None
    assert result.final.p50_s == pytest.approx(0.25)
    assert result.wer is None


# --- words


def test_a_word_counts_from_its_end_to_the_first_result_that_shows_it(say: Say) -> None:
    spoken = say(1, 5, "one two three four")
    heard = [
        interim("One", 0.7, 2.0, 2.2),
        interim("One, too", 0.7, 3.0, 3.2),
        interim("One, two three", 0.7, 4.0, 4.5),
        final("One, two, three.", 0.7, 5.2, 5.5),
    ]
    latencies = word_latencies_s(spoken, heard)
    assert latencies[:3] == pytest.approx([0.2, 1.5, 0.5])
    assert latencies[3] is None


def test_a_word_is_not_taken_for_the_same_word_later_in_the_utterance(say: Say) -> None:
    spoken = say(1, 7, "the cat and the cat again")
    early, late = interim("the cat", 0.7, 3.0, 3.2), interim("the cat and the cat", 0.7, 6, 6.2)
    latencies = word_latencies_s(spoken, [early, late])
    assert latencies[:5] == pytest.approx([1.2, 0.2, 2.2, 1.2, 0.2])


def test_the_part_of_the_words_that_no_result_shows_is_told(say: Say, played: PlayedBy) -> None:
    stream = played([say(2, 6, "one two three four")], [final("one two three", 2, 6, 6.5)])
    assert measured(stream).words_unseen == pytest.approx(0.25)


# --- interims


def test_intervals_cover_the_speech_from_its_start_to_its_end(say: Say) -> None:
    heard = [
        interim("a", 1, 2, 2.0),
        interim("b", 1, 2, 2.5),
        interim("c", 1, 4, 4.0),
        final("c", 1, 4, 5.5),
    ]
    assert intervals_s(say(1, 5, "a b c d"), heard) == pytest.approx([1.0, 0.5, 1.5, 1.0])


def test_without_any_interim_there_are_no_intervals_and_no_retractions(
    say: Say, played: PlayedBy
) -> None:
    result = measured(played([say(2, 4, "hello there")], [final("hello there", 2, 4, 4.5)]))
    assert result.interval is None
    assert result.retracting is None
    assert result.retracted_words is None


def test_words_that_the_next_result_no_longer_has_are_taken_back() -> None:
    heard = [
        interim("It was the", 0, 1, 1),
        interim("it was the best", 0, 2, 2),  # only more: case does not matter
        interim("It was a best of", 0, 3, 3),  # "the" is gone
        final("It was the best of times.", 0, 4, 4),  # "a" is gone
    ]
    counted = Retractions.of([heard])
    assert counted == Retractions(interims=3, retracting=1, words=2, final_words=6)
    assert counted.share == pytest.approx(1 / 3)
    assert counted.words_per_final_word == pytest.approx(2 / 6)


def test_the_first_interim_after_a_final_takes_nothing_back() -> None:
    heard = [interim("hello", 0, 1, 1), final("hello", 0, 1, 1.5), interim("good", 2, 3, 3)]
    assert Retractions.of([heard]).words == 0


def test_the_word_error_rate_is_of_all_streams_together(say: Say, played: PlayedBy) -> None:
    right = played([say(2, 4, "HELLO THERE")], [final("Hello there!", 2, 4, 4.5)])
    wrong = played([say(2, 4, "good bye")], [final("good buy", 2, 4, 4.5)])
    result = measured(right, wrong)
    assert result.words == 4
    assert result.wer == pytest.approx(0.25)


def test_a_stream_that_broke_off_is_told(say: Say, played: PlayedBy) -> None:
    stream = played([say(2, 4, "hello there")], [])
    stream.failure = "the connection is lost"
    assert measured(stream).failures == ("the connection is lost",)
