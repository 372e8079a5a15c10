"""What the tests of the benchmark share: utterances and results made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Heard
from hark.bench.play import Played
from hark.bench.recordings import Spoken, SpokenWord
from hark.bench.scripts import Script

DURATION_S = 60.0


@pytest.fixture(scope="session")
def say() -> Callable[..., Spoken]:
    """An utterance whose words take equally long."""

    def say(start_s: float, end_s: float, text: str) -> Spoken:
        words = text.split()
        length_s = (end_s - start_s) / len(words)
        return Spoken(
            start_s,
            end_s,
            text,
            tuple(
                SpokenWord(word, start_s + i * length_s, start_s + (i + 1) * length_s)
                for i, word in enumerate(words)
            ),
        )

    return say


@pytest.fixture(scope="session")
def played() -> Callable[..., Played]:
    """A stream of a minute that began at 100 s."""

    def played(spoken: Sequence[Spoken], heard: Sequence[Heard]) -> Played:
        text = " ".join(one.text or "" for one in spoken) or None
        samples = np.zeros(round(DURATION_S * SAMPLE_RATE), np.int16)
        return Played(Script(samples, tuple(spoken), text), 100.0, list(heard))

    return played
