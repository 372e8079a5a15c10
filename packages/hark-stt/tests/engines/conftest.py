"""What the tests of the engines share: loaded models, and a way to decode in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hark.audio import PcmArray
from hark.engines import registry
from hark.engines.moonshine import MoonshineRecognizer
from hark.engines.whisper import WhisperRecognizer
from hark.recognizer import Hypothesis, RecognitionOptions, Recognizer


@pytest.fixture(scope="session")
def moonshine() -> Iterator[MoonshineRecognizer]:
    """The default model."""
    recognizer = registry.load("moonshine-tiny-en")
    assert isinstance(recognizer, MoonshineRecognizer)
    yield recognizer
    recognizer.close()


@pytest.fixture(scope="session")
def whisper() -> Iterator[WhisperRecognizer]:
    """Whisper tiny.en, whose files come with a package of the development requirements."""
    recognizer = registry.load("whisper-tiny.en")
    assert isinstance(recognizer, WhisperRecognizer)
    yield recognizer
    recognizer.close()


@pytest.fixture(scope="session")
def decode() -> Callable[..., Hypothesis]:
    """Push chunks into a new stream and decode once."""

    def once(
        recognizer: Recognizer, *chunks: PcmArray, final: bool = True, words: bool = False
    ) -> Hypothesis:
        stream = recognizer.open_stream(RecognitionOptions(words=words))
        for chunk in chunks:
            stream.push(chunk)
        (hypothesis,) = recognizer.decode([stream], final=[final])
        return hypothesis

    return once


@pytest.fixture(scope="session")
def sentence(speech: PcmArray) -> PcmArray:
    """The first 6 s of the recording: "It was the best of times, it was the worst of times"."""
    return speech[: 6 * 16_000]
