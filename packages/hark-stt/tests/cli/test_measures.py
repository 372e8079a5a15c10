from __future__ import annotations

import pytest

from hark import recording
from hark.cli import measures
from hark.cli.measures import PushClock, Spread, word_errors


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measures, "time", clock)
    return clock


def test_latency_counts_from_the_frame_that_completed_the_audio(clock: Clock) -> None:
    pushed = PushClock()
    for _ in range(5):  # frames of 20 ms, 10 ms apart: the last one at 100.05
        clock.now += 0.01
        pushed.tick()
    clock.now = 101.0
    assert pushed.position_s == pytest.approx(0.1)
    assert pushed.since_pushed_s(0.0) == pytest.approx(0.99)
    assert pushed.since_pushed_s(0.02) == pytest.approx(0.99)
    assert pushed.since_pushed_s(0.021) == pytest.approx(0.98)
    assert pushed.since_pushed_s(0.1) == pytest.approx(0.95)


def test_audio_that_is_not_pushed_yet_has_no_latency(clock: Clock) -> None:
    pushed = PushClock()
    pushed.tick()
    clock.now += 1
    assert pushed.since_pushed_s(0.5) == 0.0


def test_a_spread_is_median_and_95th_percentile() -> None:
    spread = Spread.of([i / 100 for i in range(101)])
    assert spread is not None
    assert (spread.median_s, spread.p95_s, spread.count) == (0.5, pytest.approx(0.95), 101)
    assert Spread.of([]) is None


def test_word_errors_are_counted_after_normalising() -> None:
    result = word_errors("We were all, going to Heaven!", "we all going to to heaven")
    assert result is not None
    assert (result.errors, result.words) == (2, 6)
    assert result.rate == pytest.approx(1 / 3)


def test_the_text_of_the_recording_has_119_words_and_no_errors_against_itself() -> None:
    result = word_errors(recording.TEXT, recording.TEXT.lower())
    assert result is not None
    assert (result.errors, result.words) == (0, 119)


def test_a_reference_without_words_gives_no_word_error_rate() -> None:
    assert word_errors("[music]", "hello") is None
