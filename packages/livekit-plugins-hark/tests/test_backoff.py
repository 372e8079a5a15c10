from __future__ import annotations

import random

import pytest

from livekit.plugins.hark.backoff import (
    LONGEST_DELAY_S,
    LONGEST_FIRST_DELAY_S,
    MOST_CONNECTS,
    Backoff,
)


def delays(count: int, *, luck: float) -> list[float]:
    backoff = Backoff(budget_s=1e9, random=lambda: luck)
    given = [backoff.failed(0.0) for _ in range(count)]
    assert None not in given
    return [delay for delay in given if delay is not None]


@pytest.mark.parametrize("luck", [0.0, 0.5, 0.999])
def test_delays_double_from_the_second_failure_up_to_the_longest(luck: float) -> None:
    given = delays(6, luck=luck)
    jitter = 0.5 + 0.5 * luck
    assert given[0] == LONGEST_FIRST_DELAY_S * luck
    assert given[1:] == [pytest.approx(longest * jitter) for longest in (1, 2, 4, 5, 5)]


def busiest_five_seconds(times: list[float]) -> int:
    return max(sum(start <= at < start + 5 for at in times) for start in times)


@pytest.mark.parametrize("seed", range(50))
def test_at_most_five_connects_fall_into_any_five_seconds_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    backoff = Backoff(budget_s=1e9, random=chance.random)
    connects = [0.0]  # of prewarming
    now = 0.0
    for _ in range(300):
        now += backoff.wait_s(now) + chance.choice([0, 0, 0.5])
        began, now = now, now + chance.choice([0, 0, 0.1, 3.0])
        connects.append(chance.uniform(began, now))
        backoff.connected(now)
        now += chance.choice([0, 0, 0.2, 4.0])  # the connection lasts so long
        if chance.random() < 0.1:
            backoff.recovered()
        if chance.random() < 0.9:  # or else LiveKit waits, in its own way
            delay = backoff.failed(now)
            assert delay is not None
            now += delay
    assert busiest_five_seconds(connects) <= MOST_CONNECTS


def test_a_lost_connection_is_tried_again_at_once() -> None:
    backoff = Backoff(budget_s=60, random=lambda: 0.0)
    backoff.connected(0.1)
    assert backoff.failed(0.2) == 0.0


def test_attempts_that_find_nobody_are_not_held_up() -> None:
    backoff = Backoff(budget_s=60, random=lambda: 0.0)
    backoff.connected(-60.0)  # this connection is lost now
    now = 0.0
    for expected in (0.0, 0.5, 1.0):
        backoff.connected(now)
        assert backoff.failed(now) == expected
        now += expected


def test_a_thousand_failures_do_not_overflow() -> None:
    assert delays(2000, luck=1.0)[-1] == LONGEST_DELAY_S


def test_no_attempt_is_left_once_the_budget_is_spent() -> None:
    backoff = Backoff(budget_s=10, random=lambda: 1.0)
    assert backoff.failed(100.0) is not None
    assert backoff.failed(109.0) == 1.0
    assert backoff.failed(109.1) is None


def test_the_budget_starts_over_after_a_recovery() -> None:
    backoff = Backoff(budget_s=10, random=lambda: 1.0)
    backoff.failed(0.0)
    backoff.failed(9.0)
    backoff.recovered()
    assert backoff.failed(1000.0) == LONGEST_FIRST_DELAY_S


def test_a_wait_that_the_server_asks_for_is_never_undercut() -> None:
    assert Backoff(budget_s=60).failed(0.0, retry_after_s=7.5) == 7.5


def test_a_wait_longer_than_the_budget_leaves_no_attempt() -> None:
    assert Backoff(budget_s=60).failed(0.0, retry_after_s=61) is None


def test_clients_of_one_lost_server_come_back_at_different_moments() -> None:
    assert len({Backoff(budget_s=60).failed(0.0) for _ in range(20)}) == 20
