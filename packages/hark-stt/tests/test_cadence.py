from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.cadence import next_interim

ANCHOR = 24_000
INTERVALS = st.integers(3_200, 10**6)


@pytest.mark.parametrize(
    ("asked", "interval", "expected"),
    [
        (0, 3_200, 3_428),  # a seventh of the way
        (3_500, 3_200, 6_857),
        (20_700, 3_200, 24_000),
        (24_000, 3_200, 27_428),
        (0, 12_000, 12_000),
        (700, 12_000, 12_000),
        (0, 13_000, 24_000),  # half an anchor is too near
        (0, 10**6, 24_000),
        (23_000, 10**6, 24_000),
    ],
)
def test_interims_are_at_even_distances_between_anchors(
    asked: int, interval: int, expected: int
) -> None:
    assert next_interim(asked, interval=interval, anchor=ANCHOR) == expected


@given(asked=st.integers(0, 10**7), interval=INTERVALS)
def test_the_next_interim_is_after_the_last_and_not_beyond_the_next_anchor(
    asked: int, interval: int
) -> None:
    assert asked < next_interim(asked, interval=interval, anchor=ANCHOR) <= asked + ANCHOR
    next_anchor = (asked // ANCHOR + 1) * ANCHOR
    assert next_interim(asked, interval=interval, anchor=ANCHOR) <= next_anchor


@given(interval=INTERVALS, late=st.lists(st.integers(0, 800), min_size=60, max_size=60))
def test_every_anchor_is_a_place_for_an_interim(interval: int, late: list[int]) -> None:
    asked, places = 0, []
    for delay in late:
        places.append(next_interim(asked, interval=interval, anchor=ANCHOR))
        asked = places[-1] + delay
    assert set(range(ANCHOR, places[-1] + 1, ANCHOR)) <= set(places)


@given(asked=st.integers(0, 10**7), interval=INTERVALS)
def test_without_anchors_only_the_interval_counts(asked: int, interval: int) -> None:
    assert next_interim(asked, interval=interval, anchor=0) == asked + interval
