"""Transcriptions as text, JSON and subtitles."""

from __future__ import annotations

import itertools
import json

import pytest

from hark.formats import (
    CUE_CHARACTERS,
    CUE_S,
    FORMATS,
    LINE_CHARACTERS,
    MEDIA_TYPES,
    cues,
    render,
    wants_words,
)
from hark.recognizer import Capabilities
from hark.transcription import TimedWord, Transcription, Utterance


def utterance(start_s, end_s, text, words=None, confidence=None):
    return Utterance(start_s, end_s, text, confidence, None, words)


def transcription(*utterances, language=None):
    text = " ".join(u.text for u in utterances if u.text)
    return Transcription(text, language, 12.5, "fake", utterances)


def spoken(text, start_s=0.0, word_s=0.5):
    """An utterance whose words follow each other, `word_s` each."""
    words = tuple(
        TimedWord(word, start_s + i * word_s, start_s + (i + 1) * word_s, 0.5)
        for i, word in enumerate(text.split())
    )
    return utterance(start_s, words[-1].end_s, text, words)


HELLO = transcription(
    utterance(0.5, 1.25, "Hello there.", confidence=0.9),
    utterance(2.0, 2.5, ""),
    utterance(3661.0, 3662.0005, "Salt & <pepper> --> more", words=()),
)


def test_text_is_the_text_and_a_line_break():
    assert render(HELLO, "text") == "Hello there. Salt & <pepper> --> more\n"


def test_json_leaves_out_what_the_model_did_not_say():
    document = json.loads(render(HELLO, "json"))
    assert document["duration_s"] == 12.5
    assert "language" not in document
    first, second, third = document["utterances"]
    assert first == {"start_s": 0.5, "end_s": 1.25, "text": "Hello there.", "confidence": 0.9}
    assert second == {"start_s": 2.0, "end_s": 2.5, "text": ""}
    assert third["words"] == []


def test_json_has_word_times_where_there_are_any():
    document = json.loads(render(transcription(spoken("one two"), language="en"), "json"))
    assert document["language"] == "en"
    assert document["utterances"][0]["words"] == [
        {"text": "one", "start_s": 0.0, "end_s": 0.5, "confidence": 0.5},
        {"text": "two", "start_s": 0.5, "end_s": 1.0, "confidence": 0.5},
    ]


def test_srt_numbers_its_subtitles_and_leaves_out_empty_ones():
    assert render(HELLO, "srt") == (
        "1\n00:00:00,500 --> 00:00:01,250\nHello there.\n\n"
        "2\n01:01:01,000 --> 01:01:02,001\nSalt & <pepper> -> more\n"
    )


def test_vtt_escapes_what_would_be_markup():
    assert render(HELLO, "vtt") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nHello there.\n\n"
        "01:01:01.000 --> 01:01:02.001\nSalt &amp; &lt;pepper&gt; --&gt; more\n"
    )


@pytest.mark.parametrize(("format", "empty"), [("text", ""), ("srt", ""), ("vtt", "WEBVTT\n")])
def test_silence_has_nothing_to_show(format, empty):
    assert render(transcription(), format) == empty


def test_every_format_has_a_media_type():
    assert set(MEDIA_TYPES) == set(FORMATS)


def test_a_long_utterance_is_cut_between_words_where_they_have_times():
    text = " ".join(f"word{i:02}," for i in range(40))
    cut = list(cues(transcription(spoken(text, start_s=1.0, word_s=0.3))))
    assert " ".join(cue.text for cue in cut) == text
    assert len(cut) > 3
    for cue in cut:
        assert len(cue.text) <= CUE_CHARACTERS
        assert cue.end_s - cue.start_s <= CUE_S + 1e-9
    assert cut[0].start_s == 1.0
    assert cut[-1].end_s == pytest.approx(1.0 + 40 * 0.3)


def test_subtitles_end_where_sentences_do_else_where_clauses_do():
    sentences = ("We had everything before us, I think.", "We had nothing at all before us.")
    clauses = (
        "in short the period was like the present,",
        "so far as one could tell from it",
    )
    for first, second in (sentences, clauses):
        cut = list(cues(transcription(spoken(f"{first} {second}", word_s=0.6))))
        assert [cue.text for cue in cut] == [first, second]


def test_slow_speech_is_cut_by_time():
    cut = list(cues(transcription(spoken("one two three four", word_s=3.0))))
    assert [cue.text for cue in cut] == ["one two", "three four"]


def test_a_single_long_word_is_one_subtitle():
    cut = list(cues(transcription(spoken("a" * 100 + " b"))))
    assert [cue.text for cue in cut] == ["a" * 100, "b"]


def test_without_word_times_long_utterances_are_cut_as_if_they_were_spoken_evenly():
    text = " ".join(f"word{i:02}" for i in range(60))
    cut = list(cues(transcription(utterance(1.0, 25.0, text))))
    assert " ".join(cue.text for cue in cut) == text
    for cue in cut:
        assert len(cue.text) <= CUE_CHARACTERS
        assert cue.end_s - cue.start_s <= CUE_S
        assert cue.start_s == pytest.approx(1.0 + 24.0 * text.index(cue.text) / len(text))
    assert (cut[0].start_s, cut[-1].end_s) == (1.0, pytest.approx(25.0))
    for cue, following in itertools.pairwise(cut):
        assert cue.end_s == following.start_s


def test_estimated_times_are_for_subtitles_only():
    document = json.loads(render(transcription(utterance(1.0, 25.0, "word " * 60)), "json"))
    assert document["utterances"] == [{"start_s": 1.0, "end_s": 25.0, "text": "word " * 60}]


def test_languages_without_spaces_are_cut_at_their_punctuation():
    text = "今日はとても良い天気ですね。" * 10
    cut = list(cues(transcription(utterance(0.0, 10.0, text))))
    assert [cue.text for cue in cut] == [text[:70], text[70:]]


def test_words_that_are_not_in_the_text_are_not_trusted():
    words = (TimedWord("other", 0.0, 1.0, None),)
    (cue,) = cues(transcription(utterance(0.0, 3.0, "text", words)))
    assert (cue.start_s, cue.end_s, cue.text) == (0.0, 3.0, "text")


def test_languages_without_spaces_keep_having_none():
    text = "今日はとても良い天気ですね" * 10
    words = tuple(TimedWord(c, i * 0.1, (i + 1) * 0.1, None) for i, c in enumerate(text))
    cut = list(cues(transcription(utterance(0.0, 13.0, text, words))))
    assert "".join(cue.text for cue in cut) == text
    assert len(cut) == 2


def test_lines_are_no_longer_than_a_screen_takes():
    text = " ".join(f"word{i:02}" for i in range(12))
    rendered = render(transcription(spoken(text, word_s=0.2)), "srt")
    lines = rendered.splitlines()[2:]
    assert all(len(line) <= LINE_CHARACTERS for line in lines)


@pytest.mark.parametrize("format", FORMATS)
def test_subtitles_have_word_times_recognised_where_the_model_gives_any(format):
    is_subtitle = format in ("srt", "vtt")
    assert wants_words(format, False, Capabilities(("en",), words=True)) is is_subtitle
    assert not wants_words(format, False, Capabilities(("en",)))
    # Asked for, they are wanted even in vain: whoever asked is told that there are none.
    assert wants_words(format, True, Capabilities(("en",)))
