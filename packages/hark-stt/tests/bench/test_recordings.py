from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hark.audio import SAMPLE_RATE
from hark.bench.recordings import RecordingsError, read_files, read_set


def write(folder: Path, *rows: dict[str, object]) -> None:
    """A manifest, and for each row ten seconds whose samples say in which tenth they are."""
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    samples = (np.arange(10 * SAMPLE_RATE) // SAMPLE_RATE).astype(np.int16)
    for row in rows:
        soundfile.write(folder / str(row["path"]), samples, SAMPLE_RATE)


def test_a_recording_is_cut_in_the_middle_of_each_pause(tmp_path: Path) -> None:
    segments = [
        {"start": 1.0, "end": 3.0, "text": "one"},
        {"start": 5.0, "end": 9.0, "text": "two three"},
    ]
    write(tmp_path, {"path": "a.wav", "set": "s", "text": "one two three", "segments": segments})
    ((first, second),) = read_set(tmp_path, "s")
    assert first.duration_s == pytest.approx(4.0)
    assert second.samples[0] == 4
    assert [(piece.spoken[0].start_s, piece.text) for piece in (first, second)] == [
        (1.0, "one"),
        (1.0, "two three"),
    ]
    assert second.spoken[0].end_s == pytest.approx(5.0)


def test_the_words_of_a_recording_say_where_its_speech_ends(tmp_path: Path) -> None:
    words = [["one", 1.0, 1.5], ["two", 1.5, 2.5]]
    write(tmp_path, {"path": "a.wav", "set": "s", "text": "one two", "words": words})
    (((piece,)),) = read_set(tmp_path, "s")
    assert (piece.spoken[0].start_s, piece.spoken[0].end_s) == (1.0, 2.5)
    assert [word.text for word in piece.spoken[0].words] == ["one", "two"]


def test_a_recording_without_a_manifest_is_one_piece_of_which_nothing_is_known(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"path": "a.wav"})
    (tmp_path / "manifest.jsonl").unlink()
    (((piece,)),) = read_files([tmp_path / "a.wav"])
    assert piece.spoken == ()
    assert piece.text is None


def test_a_manifest_beside_a_recording_is_used(tmp_path: Path) -> None:
    write(tmp_path, {"path": "a.wav", "text": "one"}, {"path": "b.wav", "text": "two"})
    ((piece,),) = read_files([tmp_path / "b.wav"])
    assert piece.text == "two"


def test_an_unknown_set_is_answered_with_those_whose_ends_are_known(tmp_path: Path) -> None:
    known = {"path": "a.wav", "set": "turns", "words": [["one", 0.0, 1.0]]}
    write(tmp_path, known, {"path": "b.wav", "set": "noise"})
    with pytest.raises(RecordingsError, match=r"has no set 'words'.* turns$"):
        read_set(tmp_path, "words")


@pytest.mark.parametrize("content", ["{", "[]", '{"set": "s"}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(RecordingsError, match=r"manifest\.jsonl"):
        read_set(tmp_path, "s")


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingsError, match=r"there is no manifest\.jsonl"):
        read_set(tmp_path, "s")
