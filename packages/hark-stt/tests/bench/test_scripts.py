from __future__ import annotations

import numpy as np
import pytest

from hark.audio import SAMPLE_RATE
from hark.bench.recordings import Piece, Spoken
from hark.bench.scripts import PAUSE_S, TAIL_S, write_scripts


def piece(value: int, seconds: float = 4.0, text: str | None = "word") -> Piece:
    samples = np.full(round(seconds * SAMPLE_RATE), value, np.int16)
    return Piece(samples, (Spoken(1.0, seconds - 1.0, text),), text)


RECORDINGS = [[piece(100), piece(101), piece(102)], [piece(200), piece(201)]]


def test_the_same_seed_gives_the_same_scripts() -> None:
    once, again = (write_scripts(RECORDINGS, 5, 20, seed=3) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        assert one.spoken == other.spoken


def test_speech_is_where_the_script_says() -> None:
    for script in write_scripts(RECORDINGS, 4, 30, seed=1):
        assert len(script.spoken) == len((script.text or "").split())
        for spoken in script.spoken:
            start, end = (round(s * SAMPLE_RATE) for s in (spoken.start_s, spoken.end_s))
            values = set(script.samples[start:end].tolist())
            assert len(values) == 1
            assert values.pop() >= 100


def test_a_script_ends_after_the_piece_that_reaches_the_time() -> None:
    (script,) = write_scripts([[piece(100)] * 4], 1, 6, seed=1)
    assert script.duration_s == pytest.approx(8 + TAIL_S, abs=PAUSE_S + 0.01)
    assert len(script.spoken) == 2


def test_streams_that_play_the_same_recording_begin_at_different_pieces() -> None:
    scripts = write_scripts(RECORDINGS, 12, 8, seed=1)
    assert {int(script.samples[0]) for script in scripts} == {100, 101, 102, 200, 201}


def test_a_recording_of_which_nothing_is_known_is_cut_and_its_text_forgotten() -> None:
    unknown = Piece(np.full(60 * SAMPLE_RATE, 7, np.int16), (), "what is said in a minute")
    (script,) = write_scripts([[unknown]], 1, 5, seed=1)
    assert script.duration_s == pytest.approx(5 + PAUSE_S + TAIL_S)
    assert script.text is None


def test_silence_that_is_added_is_not_digital() -> None:
    (script,) = write_scripts([[piece(100)]], 1, 4, seed=1)
    tail = script.samples[-round(TAIL_S * SAMPLE_RATE) :]
    assert len(set(tail.tolist())) > 4
    assert abs(tail).max() < 20
