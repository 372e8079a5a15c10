from __future__ import annotations

from pathlib import Path

import pytest

from hark.engines import catalogue
from hark.engines.whisper_languages import LANGUAGES, from_whisper, primary
from hark.engines.whisper_tokenizer import TokenSpan, WhisperTokenizer
from hark.errors import ModelFileError


@pytest.fixture(scope="module")
def path() -> Path:
    """Of an English model; it has the tokens of all languages all the same."""
    return catalogue.locate("whisper-tiny.en") / "tokenizer.json"


@pytest.fixture(scope="module")
def english(path: Path) -> WhisperTokenizer:
    return WhisperTokenizer(path, is_multilingual=False)


@pytest.fixture(scope="module")
def multilingual(path: Path) -> WhisperTokenizer:
    return WhisperTokenizer(path, is_multilingual=True)


def _spell(tokenizer: WhisperTokenizer, text: str) -> list[int]:
    return tokenizer._tokenizer.encode(text, add_special_tokens=False).ids


def test_an_english_model_knows_english(english: WhisperTokenizer) -> None:
    assert english.languages == ("en",)


def test_a_multilingual_model_knows_what_the_catalogue_says(multilingual: WhisperTokenizer) -> None:
    assert multilingual.languages[:4] == ("en", "zh", "de", "es")
    assert sorted(multilingual.languages) == sorted(LANGUAGES)


@pytest.mark.parametrize(("language", "code"), [("en", "en"), ("en-GB", "en"), ("PT-br", "pt")])
def test_regions_are_dropped(language: str, code: str) -> None:
    assert primary(language) == code


def test_withdrawn_codes_become_bcp_47() -> None:
    assert [from_whisper(code) for code in ("en", "iw", "jw")] == ["en", "he", "jv"]


def test_the_prompt_asks_for_text_without_timestamps(
    english: WhisperTokenizer, multilingual: WhisperTokenizer
) -> None:
    vocabulary = english._tokenizer.token_to_id
    start, bare = vocabulary("<|startoftranscript|>"), vocabulary("<|notimestamps|>")
    assert english.prompt("en") == [start, bare]
    assert multilingual.prompt("de") == [
        start,
        vocabulary("<|de|>"),
        vocabulary("<|transcribe|>"),
        bare,
    ]


def test_words_take_their_punctuation_with_them(english: WhisperTokenizer) -> None:
    tokens = _spell(english, " Well, it's 'unbelievably' good - isn't it?")
    spans = english.words(tokens, "en")
    assert [span.text for span in spans] == [
        "Well,",
        "it's",
        "'unbelievably'",
        "good",
        "- isn't",
        "it?",
    ]


def test_words_cover_all_tokens_once(english: WhisperTokenizer) -> None:
    tokens = _spell(english, " The quick brown fox, unbelievably, jumps.")
    spans = english.words(tokens, "en")
    assert [span.start for span in spans] == [0, *(span.end for span in spans[:-1])]
    assert spans[-1].end == len(tokens)


def test_in_languages_without_spaces_characters_are_words(multilingual: WhisperTokenizer) -> None:
    tokens = _spell(multilingual, "你好,世界")
    words = [span.text for span in multilingual.words(tokens, "zh")]
    assert words == ["你", "好,", "世", "界"]


def test_a_character_spelt_by_several_tokens_is_not_torn(multilingual: WhisperTokenizer) -> None:
    tokens = _spell(multilingual, " naïve 🎈 ok")
    spans = multilingual.words(tokens, "fr")
    assert "\ufffd" not in "".join(span.text for span in spans)
    assert spans[-1].end == len(tokens)


def test_no_tokens_are_no_words(english: WhisperTokenizer) -> None:
    assert english.words([], "en") == []
    assert english.words(_spell(english, " a"), "en") == [TokenSpan("a", 0, 1)]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot read"):
        WhisperTokenizer(tmp_path / "tokenizer.json", is_multilingual=False)


def test_the_tokenizer_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
    with pytest.raises(ModelFileError, match="not a Whisper tokenizer"):
        WhisperTokenizer(path, is_multilingual=False)
