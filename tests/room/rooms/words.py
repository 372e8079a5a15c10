"""How many words are right."""

from __future__ import annotations

from dataclasses import dataclass

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

_normalize = EnglishTextNormalizer()

MOST_ERRORS = 0.35
"""WER up to which a sentence was understood. What a call sounds like is up to a machine that does
everything at once, the model is small, and one of six words that is heard as two others is a third
of them ("belief", "the leaf"). Not for tests of lost words, which must notice three of them."""


@dataclass(frozen=True)
class WordErrors:
    """How a hypothesis differs from what was said, after Whisper's English normaliser.

    Attributes:
        said: number of words in the reference.
    """

    substituted: int
    deleted: int
    inserted: int
    said: int

    @property
    def rate(self) -> float:
        """WER."""
        return (self.substituted + self.deleted + self.inserted) / self.said


def count_word_errors(said: str, heard: str) -> WordErrors:
    """Compare two texts word by word."""
    result = jiwer.process_words(_normalize(said), _normalize(heard))
    return WordErrors(
        result.substitutions,
        result.deletions,
        result.insertions,
        said=result.hits + result.substitutions + result.deletions,
    )


def assert_told_once(words: tuple[str, ...], heard: str) -> None:
    """Each of these words was heard, in this order, and none twice."""
    assert tuple(word for word in _normalize(heard).split() if word in words) == words, heard
