from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import Any

import pytest

from hark_protocol import PROTOCOL_VERSION, Config, Endpointing
from livekit.plugins import hark
from livekit.plugins.hark.options import ConnectionOptions, OptionChanges, RecognitionOptions


def names(options: type) -> set[str]:
    return {field.name for field in fields(options)}


def test_every_option_is_an_argument_of_the_constructor() -> None:
    where = {"api_url", "api_key", "share", "http_session"}
    arguments = set(signature(hark.STT).parameters) - where
    assert arguments == names(RecognitionOptions) | names(ConnectionOptions)


def test_defaults_are_those_of_the_constructor() -> None:
    parameters = signature(hark.STT).parameters
    for options in (RecognitionOptions(), ConnectionOptions()):
        for field in fields(options):
            assert parameters[field.name].default == getattr(options, field.name)


def test_every_recognition_option_can_be_changed() -> None:
    assert set(OptionChanges.__annotations__) == names(RecognitionOptions)


def test_the_first_config_says_where_context_begins() -> None:
    config = RecognitionOptions().first_config(sample_rate=8000, start_sample=77, context_sample=70)
    assert (config.start_sample, config.context_sample) == (77, 70)


def test_the_first_config_leaves_out_what_was_not_chosen() -> None:
    config = RecognitionOptions().first_config(sample_rate=8000, start_sample=77, context_sample=77)
    assert config == Config(
        version=PROTOCOL_VERSION,
        sample_rate=8000,
        start_sample=77,
        interim_results=True,
        words=False,
        keyterms=(),
    )


def test_a_later_config_holds_only_what_has_changed() -> None:
    before = RecognitionOptions(language="en", words=True)
    after = before.updated({"vad_threshold": 0.7, "keyterms": ("a",), "language": None})
    assert after.config_after(before) == Config(
        language=None, keyterms=("a",), endpointing=Endpointing(threshold=0.7)
    )


def test_other_keyterms_come_after_ones_own_as_far_as_they_fit() -> None:
    own = RecognitionOptions(keyterms=("a", "b"))
    assert own.biased_to(["b", "", "c" * 65, "c"]).keyterms == ("a", "b", "c")
    assert len(own.biased_to(str(number) for number in range(200)).keyterms) == 100
    assert own.biased_to([]) == own


def test_a_language_may_be_named_in_english() -> None:
    assert RecognitionOptions(language="german").language == "de"
    assert RecognitionOptions().updated({"language": "EN-us"}).language == "en-US"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"endpointing_silence_ms": 100}, "silence_ms"),
        ({"max_endpointing_silence_ms": 20_000}, "max_silence_ms"),
        ({"vad_threshold": 1.5}, "threshold"),
        ({"min_speech_ms": -1}, "min_speech_ms"),
        ({"max_utterance_ms": 100_000}, "max_utterance_ms"),
        ({"keyterms": ("a" * 65,)}, "keyterms"),
        ({"keyterms": ("a",) * 101}, "keyterms"),
        ({"model": ""}, "model"),
        ({"language": "no language"}, "language"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RecognitionOptions(**options)
    with pytest.raises(ValueError, match=name):
        RecognitionOptions().updated(options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"sample_rate": 4000}, "sample_rate"),
        ({"replay_s": 0}, "replay_s"),
        ({"liveness_timeout_s": 0}, "liveness_timeout_s"),
        ({"reconnect_budget_s": -1}, "reconnect_budget_s"),
        ({"reconnect_budget_s": float("nan")}, "reconnect_budget_s"),
    ],
)
def test_connection_options_out_of_range_are_refused_by_name(
    options: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        ConnectionOptions(**options)


def test_an_unknown_option_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="punctuation"):
        RecognitionOptions().updated({"punctuation": True})  # type: ignore[typeddict-unknown-key]


@pytest.mark.parametrize("name", ["model", "endpointing_silence_ms", "words"])
def test_no_option_but_the_language_goes_back_to_its_default(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        RecognitionOptions().updated({name: None})  # type: ignore[misc]
