"""Tests of hark.agreement."""

from __future__ import annotations

from hark.agreement import StablePrefix


def test_nothing_is_stable_before_there_are_two_hypotheses() -> None:
    assert StablePrefix().push("it was the best") == 0


def test_the_leading_words_that_two_hypotheses_share_are_stable() -> None:
    prefix = StablePrefix()
    prefix.push("it was the rest")
    text = "it was the best of times"
    assert text[: prefix.push(text)] == "it was the"


def test_a_word_whose_punctuation_changed_is_not_stable() -> None:
    prefix = StablePrefix()
    prefix.push("it was the best.")
    text = "it was the best of times"
    assert text[: prefix.push(text)] == "it was the"


def test_a_word_that_only_grew_is_not_stable() -> None:
    prefix = StablePrefix()
    prefix.push("it was wis")
    text = "it was wisdom"
    assert text[: prefix.push(text)] == "it was"


def test_only_the_hypothesis_just_before_counts() -> None:
    prefix = StablePrefix()
    prefix.push("it was the best")
    prefix.push("he was the best")
    assert prefix.push("it was the best") == 0


def test_words_after_the_first_difference_are_not_stable_even_if_they_agree() -> None:
    prefix = StablePrefix()
    prefix.push("it was the best of times")
    text = "it is the best of times"
    assert text[: prefix.push(text)] == "it"


def test_stable_counts_code_points_of_the_text_as_it_is() -> None:
    prefix = StablePrefix()
    prefix.push("  señor  😀 años")
    text = "  señor  😀 ayer"
    assert text[: prefix.push(text)] == "  señor  😀"


def test_a_shorter_hypothesis_is_stable_at_most_to_its_end() -> None:
    prefix = StablePrefix()
    prefix.push("it was the best")
    assert prefix.push("it was") == len("it was")
    assert prefix.push("") == 0
