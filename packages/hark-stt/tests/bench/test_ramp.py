from __future__ import annotations

import pytest

from hark.bench.ramp import MOST_STREAMS, capacity, next_streams


def search(real_capacity: int) -> dict[int, bool]:
    outcomes: dict[int, bool] = {}
    while (streams := next_streams(outcomes)) is not None:
        assert streams not in outcomes
        outcomes[streams] = streams <= real_capacity
    return outcomes


@pytest.mark.parametrize("real", [0, 1, 2, 3, 7, 8, 9, 31, 40, 47, 200])
def test_the_search_ends_near_the_capacity(real: int) -> None:
    outcomes = search(real)
    assert real * 0.93 - 0.5 <= capacity(outcomes) <= real
    assert len(outcomes) <= 14


def test_the_search_doubles_until_a_number_fails() -> None:
    assert list(search(40))[:7] == [1, 2, 4, 8, 16, 32, 64]


def test_the_search_ends_even_if_nothing_fails() -> None:
    assert max(search(10**6)) == MOST_STREAMS


def test_a_number_that_held_above_one_that_failed_does_not_count() -> None:
    assert capacity({8: True, 16: False, 32: True}) == 8
    assert capacity({8: False}) == 0
