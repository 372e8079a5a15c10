"""Tests of hark.server.chatter."""

from __future__ import annotations

from hark.server.chatter import CHATTER_AT_ONCE, CHATTER_PER_S, Chatter


def test_a_flood_is_too_much():
    chatter = Chatter()
    judged = [chatter.is_too_much(10.0) for _ in range(CHATTER_AT_ONCE + 1)]
    assert judged == [False] * CHATTER_AT_ONCE + [True]


def test_as_much_as_time_allows_is_never_too_much():
    chatter = Chatter()
    assert not any(
        chatter.is_too_much(10.0 + number / CHATTER_PER_S) for number in range(10 * CHATTER_AT_ONCE)
    )


def test_a_flush_after_every_frame_is_never_too_much_however_fast_it_comes():
    chatter = Chatter()
    assert not any(chatter.is_too_much(10.0, audio_s=0.02) for _ in range(10 * CHATTER_AT_ONCE))


def test_what_is_over_is_forgotten():
    chatter = Chatter()
    for _ in range(CHATTER_AT_ONCE):
        chatter.is_too_much(10.0)
    assert not chatter.is_too_much(20.0)
