"""Whisper's tokens: its prompt, its text, and where words begin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from hark.engines.whisper_languages import from_whisper
from hark.errors import ModelFileError

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_BROKEN = "\ufffd"  # what the tokenizer writes for a part of a character
_UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A word and the tokens [start, end) that spell it."""

    text: str
    start: int
    end: int


class WhisperTokenizer:
    """The vocabulary of a Whisper model."""

    def __init__(self, path: Path, *, is_multilingual: bool) -> None:
        """Read `tokenizer.json`.

        Raises:
            ModelFileError: the file is missing or not Whisper's.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ModelFileError(f"cannot read {path}: {error}") from error
        self._is_multilingual = is_multilingual
        self._start = self._special("<|startoftranscript|>", path)
        self._transcribe = self._special("<|transcribe|>", path)
        self._no_timestamps = self._special("<|notimestamps|>", path)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._language_tokens = {
            from_whisper(match[1]): vocabulary[token]
            for token in vocabulary
            if (match := _LANGUAGE.fullmatch(token))
        }

    def _special(self, token: str, path: Path) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise ModelFileError(f"{path} is not a Whisper tokenizer: it has no {token}")
        return number

    @property
    def languages(self) -> tuple[str, ...]:
        """BCP 47 codes of the languages it can be told to hear, most common first."""
        if not self._is_multilingual:
            return ("en",)
        return tuple(sorted(self._language_tokens, key=self._language_tokens.__getitem__))

    def prompt(self, language: str) -> list[int]:
        """Tokens that ask for the text alone, in a language given by its BCP 47 code."""
        return [*self.task(language), self._no_timestamps]

    def task(self, language: str) -> list[int]:
        """Tokens that ask for a transcription."""
        if not self._is_multilingual:
            return [self._start]
        return [self._start, self._language_tokens[language], self._transcribe]

    def decode(self, tokens: Sequence[int]) -> str:
        """Join tokens to text, without leading or trailing space."""
        return self._tokenizer.decode(list(tokens)).strip()

    def words(self, tokens: Sequence[int], language: str) -> list[TokenSpan]:
        """Split tokens into words; punctuation belongs to the word it touches.

        In languages written without spaces, each character, or group of characters that one token
        spells, is a word.
        """
        spans: list[TokenSpan] = []
        for start, end in self._characters(tokens):
            text = self._tokenizer.decode(list(tokens[start:end]))
            is_word = any(map(str.isalnum, text))
            is_new = text.startswith(" ") or (language in _UNSPACED and is_word)
            if spans and (not is_new or not _has_word(spans[-1].text)):
                text, start = spans[-1].text + text, spans.pop().start
            spans.append(TokenSpan(text, start, end))
        return [TokenSpan(span.text.strip(), span.start, span.end) for span in spans]

    def _characters(self, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Split into the shortest runs [start, end) of tokens that spell whole characters."""
        runs = []
        start = 0
        for end in range(1, len(tokens) + 1):
            is_whole = _BROKEN not in self._tokenizer.decode(list(tokens[start:end]))
            if is_whole or end == len(tokens):
                runs.append((start, end))
                start = end
        return runs


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))
