"""Whether a connection still lives, judged by what the other side owes.

Pure: the caller brings the time, in seconds of any steady clock.
"""

from __future__ import annotations

import math

from hark_protocol import (
    PCM16_BYTES_PER_SAMPLE,
    Audio,
    ClientMessage,
    Close,
    Closed,
    Flush,
    Flushed,
    Progress,
    ServerMessage,
)

PROGRESS_INTERVAL_S = 1.0
"""While audio flows, `progress` comes at least this often (docs/protocol.md#progress). So much
audio may wait for its answer until more of it comes."""

ANSWER_TIMEOUT_S = 10.0
"""Longest silence of a server that owes the answer to a flush or close, or that does not take a
message. Other sessions' audio may be recognised first, so it is far longer than the watch on
audio."""

SEND_TIMEOUT_S = 60.0
"""Longest time that one message may take to leave although the server speaks: one that is slow
takes the next second of audio only when it is done with earlier ones."""


class Liveness:
    """Watches one connection.

    Audio is the fastest way to see a dead connection: whoever hears it says so every second. A TCP
    connection that lost its other end would otherwise look fine for minutes.

    Attributes:
        timeout_s: longest silence while audio waits for an answer.
        opened_at: when the connection was opened.
    """

    def __init__(
        self, *, sample_rate: int, start_sample: int, timeout_s: float, now: float
    ) -> None:
        """Start with nothing sent.

        Args:
            sample_rate: Hz.
            start_sample: position of the connection's first sample.
            timeout_s: longest silence while audio waits for an answer.
            now: when the connection was opened.
        """
        self.timeout_s = timeout_s
        self._interval = int(PROGRESS_INTERVAL_S * sample_rate)
        self._sent = self._received = start_sample
        self._sent_at = self._heard_at = self.opened_at = now
        self._waiting_since: float | None = None
        self._overdue_since: float | None = None
        self._sending_since: float | None = None
        self._answers_due = 0
        self._answer_awaited_since = 0.0

    @property
    def has_unheard_audio(self) -> bool:
        """Whether audio was sent of which the other side has not said that it heard it."""
        return self._sent > self._received

    @property
    def last_sent_at(self) -> float:
        """When the last message left."""
        return self._sent_at

    def sending(self, message: ClientMessage, now: float) -> None:
        """A message is about to leave."""
        self._sending_since = now
        if isinstance(message, Audio):
            was_flowing = now - self._sent_at <= PROGRESS_INTERVAL_S or self._is_unanswered()
            if self._waiting_since is None or not was_flowing:
                self._waiting_since = now
            self._sent += len(message.pcm) // PCM16_BYTES_PER_SAMPLE
            if self._overdue_since is None and self._is_unanswered():
                self._overdue_since = now
        elif isinstance(message, (Flush, Close)):
            self._answers_due += 1
            self._answer_awaited_since = now

    def sent(self, now: float) -> None:
        """The message has left."""
        self._sending_since = None
        self._sent_at = now

    def heard(self, message: ServerMessage, now: float) -> None:
        """Something came back."""
        if isinstance(message, Progress):
            self._received = message.received
        elif isinstance(message, (Flushed, Closed)):
            self._answers_due -= 1
        self._heard_at = self._answer_awaited_since = now
        self._waiting_since = now if self._sent > self._received else None
        self._overdue_since = now if self._is_unanswered() else None

    def is_dead(self, now: float) -> bool:
        """Whether the other side has been silent for too long."""
        return now > self.dies_at(now)

    def dies_at(self, now: float) -> float:
        """Before this it cannot be dead, whatever is sent; so nobody need look."""
        return min(
            self._audio_deadline(now),
            self._answer_deadline(),
            self._sending_deadline(),
            now + min(self.timeout_s, ANSWER_TIMEOUT_S),  # of what begins to be owed now
        )

    def _audio_deadline(self, now: float) -> float:
        if self._waiting_since is None:
            return math.inf
        # An answer that is due takes a moment to come, however short the timeout is.
        overdue_since = now if self._overdue_since is None else self._overdue_since
        grace_s = min(self.timeout_s, PROGRESS_INTERVAL_S)
        return max(self._waiting_since + self.timeout_s, overdue_since + grace_s)

    def _answer_deadline(self) -> float:
        return self._answer_awaited_since + ANSWER_TIMEOUT_S if self._answers_due > 0 else math.inf

    def _sending_deadline(self) -> float:
        if self._sending_since is None:
            return math.inf
        silent_since = max(self._sending_since, self._heard_at)
        return min(silent_since + ANSWER_TIMEOUT_S, self._sending_since + SEND_TIMEOUT_S)

    def _is_unanswered(self) -> bool:
        return self._sent - self._received > self._interval
