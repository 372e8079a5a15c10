from __future__ import annotations

from pathlib import Path

import pytest

from hark.engines import catalogue
from hark.engines.moonshine_tokenizer import MoonshineTokenizer
from hark.errors import ModelFileError


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_word_starts_become_spaces(tmp_path: Path) -> None:
    data = b"".join(bytes([len(p)]) + p for p in ("\u2581It".encode(), b"s", "\u2581so".encode()))
    tokenizer = MoonshineTokenizer(_write(tmp_path / "t", data))
    assert len(tokenizer) == 3
    assert tokenizer.decode([0, 1, 2]) == "Its so"


def test_lengths_from_128_on_take_two_bytes(tmp_path: Path) -> None:
    long = b"x" * 300
    data = bytes([300 % 128 + 128, 300 // 128]) + long + b"\x01y"
    tokenizer = MoonshineTokenizer(_write(tmp_path / "t", data))
    assert tokenizer.decode([0, 1]) == "x" * 300 + "y"


def test_a_character_may_be_spelt_by_several_tokens(tmp_path: Path) -> None:
    tokenizer = MoonshineTokenizer(_write(tmp_path / "t", b"\x01\xc3\x01\xa9"))
    assert tokenizer.decode([0, 1]) == "é"
    assert tokenizer.decode([0]) == "\ufffd"


@pytest.mark.parametrize("data", [b"\x05ab", b"\x01a\x80", b"\x01a\x03"])
def test_a_file_cut_short_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelFileError, match="cut short"):
        MoonshineTokenizer(_write(tmp_path / "t", data))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        MoonshineTokenizer(tmp_path / "tokenizer.bin")


def test_the_default_model_has_the_vocabulary_of_its_decoder() -> None:
    path = catalogue.locate("moonshine-tiny-en") / "tokenizer.bin"
    assert len(MoonshineTokenizer(path)) == 32_768
