"""Speech whose words are known: parts of two recordings that a dependency brings."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

SPEECH_DB = -25.0
"""Level of speech, against the loudest of the same recording: the pauses lie 10 dB below it."""

_WINDOWS_PER_S = 50


@dataclass(frozen=True)
class Recording:
    """A part of a recording that begins and ends in a pause.

    Attributes:
        file: its name among the assets of moonshine_voice.
        start_s: where the part begins.
        end_s: where the part ends.
        text: what is said.
    """

    file: str
    start_s: float
    end_s: float
    text: str

    @cached_property
    def rate(self) -> int:
        """Hz."""
        return int(soundfile.info(self._path).samplerate)

    @cached_property
    def samples(self) -> npt.NDArray[np.int16]:
        """The audio, of shape (samples,)."""
        start, stop = int(self.start_s * self.rate), int(self.end_s * self.rate)
        samples: npt.NDArray[np.int16]
        samples, _ = soundfile.read(self._path, dtype="int16", start=start, stop=stop)
        return samples

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    @cached_property
    def last_speech_s(self) -> float:
        """Where the last speech ends, in seconds of this part."""
        window = self.rate // _WINDOWS_PER_S
        windows = self.samples[: len(self.samples) // window * window].reshape(-1, window)
        power = np.square(windows, dtype=np.float64).mean(axis=1)
        is_speech = power > power.max() * 10 ** (SPEECH_DB / 10)
        return (int(np.flatnonzero(is_speech)[-1]) + 1) / _WINDOWS_PER_S

    @cached_property
    def _path(self) -> Path:
        found = importlib.util.find_spec("moonshine_voice")
        assert found is not None
        assert found.origin is not None
        return Path(found.origin).parent / "assets" / self.file


TIMES = Recording(
    "two_cities.wav", 1.0, 4.8, "It was the best of times, it was the worst of times,"
)
WISDOM = Recording(
    "two_cities.wav", 4.8, 8.6, "it was the age of wisdom, it was the age of foolishness,"
)
BELIEF = Recording(
    "two_cities.wav", 8.6, 13.3, "it was the epoch of belief, it was the epoch of incredulity,"
)
TWO_CITIES = Recording(
    "two_cities.wav", 1.0, 13.3, " ".join(part.text for part in (TIMES, WISDOM, BELIEF))
)
TWO_CITIES_ONCE = ("best", "worst", "wisdom", "foolishness", "belief", "incredulity")
"""Words that are said once each, in this order."""

EPOCH = Recording("two_cities.wav", 8.6, 10.6, "it was the epoch of belief,")
TRY_AGAIN = Recording("beckett.wav", 0.0, 6.4, "Ever tried. Ever failed. No matter. Try again.")
