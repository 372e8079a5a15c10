"""How many streams to try next, to find the most that a contestant carries."""

from __future__ import annotations

from collections.abc import Mapping

MOST_STREAMS = 1024

FINENESS = 0.06
"""The search ends when what fails is nearer than this part to what holds: runs differ by more."""


def next_streams(outcomes: Mapping[int, bool], start: int = 1) -> int | None:
    """The number of streams to try next; None when the capacity is known.

    Doubles until one fails, then halves the distance between what holds and what fails.

    Args:
        outcomes: whether each number that was tried held.
        start: the first to try.
    """
    if not outcomes:
        return start
    held = capacity(outcomes)
    failed = min((streams for streams, did_hold in outcomes.items() if not did_hold), default=None)
    if failed is None:
        return 2 * held if 2 * held <= MOST_STREAMS else None
    if failed - held <= max(1.0, FINENESS * held):
        return None
    return (held + failed) // 2


def capacity(outcomes: Mapping[int, bool]) -> int:
    """The most streams that held, below any that did not; 0 for none."""
    failed = min((streams for streams, did_hold in outcomes.items() if not did_hold), default=None)
    return max(
        (
            streams
            for streams, did_hold in outcomes.items()
            if did_hold and (failed is None or streams < failed)
        ),
        default=0,
    )
