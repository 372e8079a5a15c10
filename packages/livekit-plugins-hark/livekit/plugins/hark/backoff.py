"""When to try a lost connection again: exponentially rarer, jittered, and not for ever."""

from __future__ import annotations

import random
from collections.abc import Callable

LONGEST_FIRST_DELAY_S = 0.2
"""The first attempt comes at once, but for as much as keeps the clients of a lost server apart."""

SECOND_DELAY_S = 1.0
"""Doubles from failure to failure. Half of it is left to chance, so that whatever a server does, at
most five connects fall into its first five seconds."""

LONGEST_DELAY_S = 5.0


class Backoff:
    """Counts failures since the last recovery and says how long to wait before the next attempt."""

    def __init__(
        self,
        *,
        budget_s: float,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Start without a failure.

        Args:
            budget_s: longest time from the first failure to an attempt.
            random: gives numbers in [0, 1).
        """
        self._budget_s = budget_s
        self._random = random
        self._failures = 0
        self._first_failure_at = 0.0

    def failed(self, now: float, *, retry_after_s: float = 0.0) -> float | None:
        """Note a failure.

        Args:
            now: seconds of any steady clock.
            retry_after_s: the wait that the server asked for; it is never undercut.

        Returns:
            Seconds to wait before the next attempt, or None when no attempt is left.
        """
        if not self._failures:
            self._first_failure_at = now
        self._failures += 1
        delay = max(self._jittered_delay(), retry_after_s)
        return delay if now + delay - self._first_failure_at <= self._budget_s else None

    def _jittered_delay(self) -> float:
        if self._failures == 1:
            return LONGEST_FIRST_DELAY_S * self._random()
        # The exponent is capped because 2.0**1024 overflows.
        longest = min(LONGEST_DELAY_S, SECOND_DELAY_S * 2.0 ** min(self._failures - 2, 16))
        return longest * (0.5 + 0.5 * self._random())

    def recovered(self) -> None:
        """Note that a connection held: the next failure is the first of a new outage."""
        self._failures = 0
