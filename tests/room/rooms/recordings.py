"""Speech whose words are known: parts of recordings, two of which a dependency brings."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

SPEECH_DB = -25.0
"""Level of speech, against the loudest of the same recording: the pauses lie 10 dB below it."""

_WINDOWS_PER_S = 50


@dataclass(frozen=True)
class Recording:
    """A part of a recording that begins and ends in a pause.

    Attributes:
        file: mono.
        start_s: where the part begins.
        end_s: where the part ends.
        text: what is said.
        speech_end_s: where in the file the last speech ends; None to find out by its level.
    """

    file: Path
    start_s: float
    end_s: float
    text: str
    speech_end_s: float | None = None

    @cached_property
    def rate(self) -> int:
        """Hz."""
        return int(soundfile.info(self.file).samplerate)

    @cached_property
    def samples(self) -> npt.NDArray[np.int16]:
        """The audio, of shape (samples,)."""
        start, stop = int(self.start_s * self.rate), int(self.end_s * self.rate)
        samples: npt.NDArray[np.int16]
        samples, _ = soundfile.read(self.file, dtype="int16", start=start, stop=stop)
        return samples

    def samples_at(self, rate: int) -> npt.NDArray[np.int16]:
        """The audio at another rate, of shape (samples,)."""
        if self.rate == rate:
            return self.samples
        # Not LiveKit's resampler: it dithers, so that the same recording is never the same again.
        return np.asarray(soxr.resample(self.samples, self.rate, rate), np.int16)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate

    @cached_property
    def last_speech_s(self) -> float:
        """Where the last speech ends, in seconds of this part."""
        if self.speech_end_s is not None:
            return self.speech_end_s - self.start_s
        window = self.rate // _WINDOWS_PER_S
        windows = self.samples[: len(self.samples) // window * window].reshape(-1, window)
        power = np.square(windows, dtype=np.float64).mean(axis=1)
        is_speech = power > power.max() * 10 ** (SPEECH_DB / 10)
        return (int(np.flatnonzero(is_speech)[-1]) + 1) / _WINDOWS_PER_S


def _asset(name: str) -> Path:
    found = importlib.util.find_spec("moonshine_voice")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "assets" / name


_TWO_CITIES, _BECKETT = _asset("two_cities.wav"), _asset("beckett.wav")

TIMES = Recording(_TWO_CITIES, 1.0, 4.8, "It was the best of times, it was the worst of times,")
WISDOM = Recording(
    _TWO_CITIES, 4.8, 8.6, "it was the age of wisdom, it was the age of foolishness,"
)
BELIEF = Recording(
    _TWO_CITIES, 8.6, 13.3, "it was the epoch of belief, it was the epoch of incredulity,"
)
TIMES_AND_WISDOM = Recording(_TWO_CITIES, 1.0, 8.6, f"{TIMES.text} {WISDOM.text}")
SAID_ONCE = ("best", "worst", "wisdom", "foolishness")
"""Words of `TIMES_AND_WISDOM` that are said once each, in this order."""

EPOCH = Recording(_TWO_CITIES, 8.6, 10.6, "it was the epoch of belief,")
AGE = Recording(_TWO_CITIES, 4.8, 6.6, "it was the age of wisdom,")
TRY_AGAIN = Recording(_BECKETT, 0.0, 6.4, "Ever tried. Ever failed. No matter. Try again.")
