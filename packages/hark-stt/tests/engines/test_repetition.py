from __future__ import annotations

import pytest

from hark.engines.repetition import MAX_PERIOD, loop_start


@pytest.mark.parametrize(
    ("tokens", "start"),
    [
        ("", None),
        ("a", None),
        ("abcdef", None),
        ("abcabcabc", None),  # three times is speech
        ("aaa", None),
        ("aaaa", 1),
        ("xyaaaa", 3),
        ("xabababab", 3),
        ("xababababa", 3),  # cut off within the block
        ("xabcabcabcabca", 4),
        ("aaaax", None),  # the text goes on after it
        ("abababababx", None),
    ],
)
def test_a_loop_is_a_block_repeated_to_the_end(tokens: str, start: int | None) -> None:
    assert loop_start([ord(token) for token in tokens]) == start


def test_blocks_of_up_to_the_longest_period_are_found() -> None:
    block = list(range(MAX_PERIOD))
    assert loop_start([99, *block * 4]) == 1 + MAX_PERIOD
    assert loop_start([99, *[*block, 98] * 4]) is None


def test_what_remains_has_the_block_once() -> None:
    tokens = [1, 2, 3, 2, 3, 2, 3, 2, 3, 2]
    assert tokens[: loop_start(tokens)] == [1, 2, 3]
