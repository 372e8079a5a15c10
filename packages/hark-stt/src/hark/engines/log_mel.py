"""Whisper's view of audio: a log-scaled mel spectrogram.

The parameters and formulas are those of the Whisper paper's reference code (openai/whisper,
`audio.py`): 25 ms Hann windows every 10 ms, power, mel bands on Slaney's scale, log10 with 8
decades of range under the loudest point, then mapped to about [-1, 1].
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hark.audio import SAMPLE_RATE

HOP_SAMPLES = 160
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_SAMPLES

_WINDOW_SAMPLES = 400
_POWER_FLOOR = 1e-10
_RANGE_DECADES = 8.0


def log_mel(audio: NDArray[np.float32], *, bands: int, frames: int) -> NDArray[np.float32]:
    """Compute the spectrogram of audio followed by silence.

    Args:
        audio: shape (n,), n at least 1, in [-1, 1], 16 kHz.
        bands: number of mel bands; the model says how many.
        frames: how many frames to give; audio beyond them is left out.

    Returns:
        Shape (bands, frames).
    """
    audio = audio[: frames * HOP_SAMPLES]
    # Not `@`: BLAS would split a millisecond's work between threads of its own, which then spin for
    # longer than they work, on the cores of others.
    power = np.einsum("bf,ft->bt", mel_filters(bands), _power_spectrum(audio))
    # Frames of digital silence have the least power, so they need no computing.
    levels = np.full((bands, frames), np.log10(_POWER_FLOOR), np.float32)
    heard = power[:, :frames]
    levels[:, : heard.shape[1]] = np.log10(np.maximum(heard, _POWER_FLOOR))
    levels = np.maximum(levels, levels.max() - np.float32(_RANGE_DECADES))
    scaled: NDArray[np.float32] = (levels + np.float32(4)) / np.float32(4)
    return scaled


def _power_spectrum(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power, shape (bins, frames), of each window that has a sample of the audio in it."""
    half = _WINDOW_SAMPLES // 2
    before = np.pad(audio, (0, max(0, half + 1 - len(audio))))[half:0:-1]
    padded = np.concatenate((before, audio, np.zeros(_WINDOW_SAMPLES, np.float32)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::HOP_SAMPLES]
    hann = np.hanning(_WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(windows * hann)
    power: NDArray[np.float32] = (spectrum.real**2 + spectrum.imag**2).T.astype(np.float32)
    return power


@lru_cache
def mel_filters(bands: int) -> NDArray[np.float32]:
    """Triangular filters of equal area, evenly spaced on Slaney's mel scale up to 8 kHz.

    Returns:
        Shape (bands, 201): the weight of each bin of the spectrum in each band.
    """
    bins_hz = np.fft.rfftfreq(_WINDOW_SAMPLES, 1 / SAMPLE_RATE)
    corners_hz = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), bands + 2))
    lower, centre, upper = corners_hz[:-2, None], corners_hz[1:-1, None], corners_hz[2:, None]
    rising = (bins_hz - lower) / (centre - lower)
    falling = (upper - bins_hz) / (upper - centre)
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    return filters.astype(np.float32)


# Slaney's scale (Auditory Toolbox, 1998): linear up to 1 kHz, logarithmic above.
_LINEAR_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1_000.0
_LOG_FROM_MEL = _LOG_FROM_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_FROM_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_LOG_FROM_MEL + np.log(hz / _LOG_FROM_HZ) / _LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = mel * _LINEAR_HZ_PER_MEL
    logarithmic = _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - _LOG_FROM_MEL))
    return np.where(mel < _LOG_FROM_MEL, linear, logarithmic)
