"""When to try a lost connection again: exponentially rarer, jittered, and not for ever."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

LONGEST_FIRST_DELAY_S = 0.2
"""The first attempt comes at once, but for as much as keeps the clients of a lost server apart."""

SECOND_DELAY_S = 1.0
"""Doubles from failure to failure. Half of it is left to chance."""

LONGEST_DELAY_S = 5.0

MOST_CONNECTS = 5
"""In any five seconds, whatever a server does; to each of its addresses, where it has several."""

WINDOW_S = 6.0
"""One second more than promised: connects take their time to the server, not always the same."""


class Backoff:
    """Says how long to wait before the next attempt. Serves a stream for all of its life."""

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
        self._connects: deque[float] = deque(maxlen=MOST_CONNECTS)

    def connected(self, at: float) -> None:
        """Note an attempt to connect, well or badly ended.

        The first counts twice: prewarming may have made another just before.

        Args:
            at: when it was there or had failed, or later; seconds of any steady clock, as all times
                here.
        """
        if not self._connects:
            self._connects.append(at)
        self._connects.append(at)

    def wait_s(self, now: float) -> float:
        """Seconds until one more attempt makes no storm, whatever came before."""
        if len(self._connects) < MOST_CONNECTS:
            return 0.0
        return max(0.0, self._connects[0] + WINDOW_S - now)

    def failed(self, now: float, *, retry_after_s: float = 0.0) -> float | None:
        """Note a failure since the last recovery.

        Args:
            now: when it failed.
            retry_after_s: the wait that the server asked for; it is never undercut.

        Returns:
            Seconds to wait before the next attempt, or None when no attempt is left.
        """
        if not self._failures:
            self._first_failure_at = now
        self._failures += 1
        delay = max(self._jittered_delay(), retry_after_s, self.wait_s(now))
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
