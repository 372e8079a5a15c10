from __future__ import annotations

import numpy as np
import pytest

from hark.engines.log_mel import log_mel, mel_filters

_TONE_1_KHZ = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)).astype(np.float32)


def test_a_second_has_a_hundred_frames() -> None:
    assert log_mel(_TONE_1_KHZ, bands=80, frames=100).shape == (80, 100)


@pytest.mark.parametrize("bands", [80, 128])
def test_each_filter_has_the_same_area(bands: int) -> None:
    # Slaney's normalisation: the weights of a band, times the 40 Hz between bins, add up to 1. Low
    # bands are hardly wider than that, so that the sum is rough there.
    areas = mel_filters(bands)[bands // 2 :].sum(axis=1) * 40
    np.testing.assert_allclose(areas, 1, atol=0.1)


def test_the_filters_cover_all_of_the_spectrum_but_its_ends() -> None:
    assert (mel_filters(80).sum(axis=0)[1:-1] > 0).all()


def test_the_mel_scale_is_slaneys() -> None:
    # 1 kHz is 15 mel and 8 kHz is 15 + 27 ln 8 / ln 6.4 = 45.25 mel, so 1 kHz falls at 81 * 15 /
    # 45.25 = 26.9 bands from the bottom: the top of the band with index 26.
    centre = mel_filters(80)[:, 25]  # the bin of 1 kHz
    assert centre.argmax() == 26
    assert np.count_nonzero(centre) == 2


def test_a_pure_tone_is_loudest_in_its_band() -> None:
    spectrum = log_mel(_TONE_1_KHZ, bands=80, frames=100)
    assert (spectrum[:, 5:95].argmax(axis=0) == 26).all()


def test_values_agree_with_the_reference_code() -> None:
    # Made with faster-whisper 1.2.1's feature extractor from the same tone and a second of silence.
    spectrum = log_mel(_TONE_1_KHZ, bands=80, frames=200)
    expected = [1.1421807, 1.3411252, 1.4396517, 1.2832686]
    np.testing.assert_allclose(spectrum[24:28, 50], expected, atol=1e-5)


def test_everything_is_within_eight_decades_of_the_loudest_point() -> None:
    spectrum = log_mel(_TONE_1_KHZ, bands=80, frames=100)
    assert spectrum.max() - spectrum.min() == pytest.approx(2)  # 8 decades over 4


def test_silence_after_the_audio_is_the_same_as_silence_in_it() -> None:
    silence = np.zeros(16_000, np.float32)
    together = np.concatenate((_TONE_1_KHZ, silence))
    np.testing.assert_allclose(
        log_mel(_TONE_1_KHZ, bands=80, frames=200),
        log_mel(together, bands=80, frames=200),
        atol=1e-6,
    )


def test_audio_beyond_the_frames_is_left_out() -> None:
    spectrum = log_mel(np.tile(_TONE_1_KHZ, 3), bands=80, frames=100)
    assert spectrum.shape == (80, 100)


@pytest.mark.parametrize("length", [1, 2, 199, 200, 201, 400])
def test_the_shortest_audio_has_a_spectrum(length: int) -> None:
    spectrum = log_mel(_TONE_1_KHZ[:length], bands=80, frames=100)
    assert np.isfinite(spectrum).all()
