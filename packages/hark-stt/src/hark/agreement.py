"""LocalAgreement-2: which leading part of an interim is not expected to change.

Two successive hypotheses of a growing utterance that agree on a leading run of words rarely change
it later (Macháček, Dabre and Bojar 2023, "Turning Whisper into Real-Time Transcription System").
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\S+")


class StablePrefix:
    """Follows the hypotheses of one utterance."""

    def __init__(self) -> None:
        self._previous: list[str] = []

    def push(self, text: str) -> int:
        """Take the next hypothesis; give how many of its leading characters are stable.

        A word counts with its punctuation; the end of the agreed part is the end of a word.
        """
        words = list(_WORD.finditer(text))
        stable = 0
        for word, before in zip(words, self._previous, strict=False):
            if word.group() != before:
                break
            stable = word.end()
        self._previous = [word.group() for word in words]
        return stable
