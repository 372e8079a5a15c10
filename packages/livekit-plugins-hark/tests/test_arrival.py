from __future__ import annotations

import pytest

from livekit.plugins.hark.arrival import ArrivalClock

NOW = 1_000_000.0


def test_steady_audio_has_the_time_at_which_it_was_said() -> None:
    clock = ArrivalClock(16_000)
    for i in range(1, 101):
        clock.note(160, NOW + i / 100)
    assert clock.time_after(0.0) == pytest.approx(NOW)
    assert clock.time_after(0.505) == pytest.approx(NOW + 0.505)
    assert clock.time_before(1.0) == pytest.approx(NOW + 1.0)


def test_a_gap_moves_what_comes_after_it_and_nothing_else() -> None:
    clock = ArrivalClock(16_000)
    clock.note(1600, NOW + 0.1)
    clock.note(1600, NOW + 5.1)
    assert clock.time_before(0.1) == pytest.approx(NOW + 0.1)
    assert clock.time_after(0.1) == pytest.approx(NOW + 5.0)
    assert clock.time_before(0.15) == pytest.approx(NOW + 5.05)


def test_jitter_within_a_frame_does_not_add_up() -> None:
    clock = ArrivalClock(16_000)
    for i in range(1, 3001):
        clock.note(160, NOW + i / 100 + (0.015 if i % 2 else -0.015))
    assert clock.time_before(29.0) == pytest.approx(NOW + 29.0, abs=0.035)


def test_drift_is_followed() -> None:
    clock = ArrivalClock(16_000)
    for i in range(1, 10_001):
        clock.note(160, NOW + i / 100 * 1.001)
    assert clock.time_before(99.0) == pytest.approx(NOW + 99.0 * 1.001, abs=0.03)


def test_what_has_not_come_has_no_time() -> None:
    clock = ArrivalClock(16_000)
    assert clock.time_after(0.0) is None
    clock.note(160, NOW)
    assert clock.time_after(0.01) is None
    assert clock.time_before(0.02) is None


def test_what_came_long_ago_is_forgotten_rather_than_kept_for_ever() -> None:
    clock = ArrivalClock(16_000)
    for i in range(5000):
        clock.note(160, NOW + i)  # a gap before each frame: the worst case
    assert clock.time_after(0.0) is None
    assert clock.time_before(50.0) == pytest.approx(NOW + 4999)
