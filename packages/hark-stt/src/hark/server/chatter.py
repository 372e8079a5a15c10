"""How much a client may say besides its audio."""

from __future__ import annotations

CHATTER_PER_S = 100
"""Messages, other than audio, for each second that passes or is sent: nobody needs as many."""

CHATTER_AT_ONCE = 1_000
"""Such messages that may come before that is looked at, as when all that waited comes at once."""


class Chatter:
    """Counts what costs a server work and brings it no audio."""

    def __init__(self) -> None:
        self._count = 0.0
        self._counted_at = 0.0

    def is_too_much(self, now: float, *, audio_s: float = 0.0) -> bool:
        """Count one more message.

        Args:
            now: seconds of any steady clock.
            audio_s: seconds of audio that came since the last one.
        """
        passed_s = now - self._counted_at + audio_s
        self._count = max(0.0, self._count - CHATTER_PER_S * passed_s) + 1
        self._counted_at = now
        return self._count > CHATTER_AT_ONCE
