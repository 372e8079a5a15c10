"""Tests of hark.audio."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hark.audio import (
    SAMPLE_RATE,
    PcmArray,
    PcmBuffer,
    Resampler,
    pcm_from_bytes,
    read_audio,
    scale_position,
    to_float,
    to_pcm16,
)
from hark.errors import AudioError

RATES = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


# --- samples


def test_bytes_are_little_endian_samples() -> None:
    assert pcm_from_bytes(b"\x01\x00\x00\x80\xff\x7f").tolist() == [1, -32768, 32767]


def test_no_bytes_are_no_samples() -> None:
    assert pcm_from_bytes(b"").shape == (0,)


def test_half_a_sample_is_an_error() -> None:
    with pytest.raises(AudioError, match="even number of bytes"):
        pcm_from_bytes(b"\x01\x00\x02")


def test_every_sample_survives_the_way_to_float_and_back() -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    floats = to_float(samples)
    assert floats.dtype == np.float32
    assert -1 <= floats.min() < floats.max() < 1
    assert np.array_equal(to_pcm16(floats), samples)


def test_floats_that_are_too_loud_are_clipped() -> None:
    assert to_pcm16(np.array([-2, -1, 1, 2], np.float32)).tolist() == [
        -32768,
        -32768,
        32767,
        32767,
    ]


# --- positions


@given(st.integers(0, 2**53), st.sampled_from(RATES))
def test_a_position_survives_the_way_to_a_higher_rate_and_back(position: int, rate: int) -> None:
    high, low = max(rate, SAMPLE_RATE), min(rate, SAMPLE_RATE)
    assert scale_position(scale_position(position, low, high), high, low) == position


@given(st.integers(0, 2**53), st.integers(0, 2**40), st.sampled_from(RATES))
def test_positions_keep_their_order(position: int, distance: int, rate: int) -> None:
    later = scale_position(position + distance, SAMPLE_RATE, rate)
    assert scale_position(position, SAMPLE_RATE, rate) <= later


def test_positions_are_rounded_to_the_nearest() -> None:
    assert [scale_position(p, 48_000, 16_000) for p in (0, 1, 2, 3, 4)] == [0, 0, 1, 1, 1]


# --- resampling


def _resample(rate: int, samples: PcmArray, cuts: list[int]) -> PcmArray:
    resampler = Resampler(rate)
    parts = [resampler.push(part) for part in np.split(samples, sorted(cuts))]
    return np.concatenate([*parts, resampler.flush()])


@settings(max_examples=40)
@given(
    rate=st.sampled_from(RATES),
    length=st.integers(0, 20_000),
    cuts=st.lists(st.integers(0, 20_000), max_size=20),
)
def test_resampling_does_not_depend_on_the_chunking(
    rate: int, length: int, cuts: list[int]
) -> None:
    samples = np.random.default_rng(length).integers(-9_000, 9_000, length).astype(np.int16)
    assert np.array_equal(_resample(rate, samples, cuts), _resample(rate, samples, []))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("length", [0, 1, 2, 79, 441, 12_345, 48_000])
def test_resampled_audio_is_as_long_as_before(rate: int, length: int) -> None:
    resampled = _resample(rate, np.ones(length, np.int16), [])
    assert len(resampled) == scale_position(length, rate, SAMPLE_RATE)
    assert resampled.dtype == np.int16


@settings(max_examples=40)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 5_000), max_size=30))
def test_lengths_do_not_drift_however_often_it_is_flushed(rate: int, lengths: list[int]) -> None:
    resampler = Resampler(rate)
    produced = sum(
        len(resampler.push(np.zeros(length, np.int16))) + len(resampler.flush())
        for length in lengths
    )
    assert produced == scale_position(sum(lengths), rate, SAMPLE_RATE)


def _tone(rate: int, seconds: float, hertz: float = 440.0) -> NDArray[np.float32]:
    times = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_resampling_neither_shifts_nor_changes_a_tone(rate: int) -> None:
    resampled = _resample(rate, to_pcm16(_tone(rate, 1.0)), [5_000])
    expected = to_pcm16(_tone(SAMPLE_RATE, 1.0))
    middle = slice(1_000, 15_000)  # away from the edges, where there is nothing to filter
    difference = resampled[middle].astype(int) - expected[middle]
    assert np.abs(difference).max() < 20


def test_after_a_flush_nothing_of_before_is_heard() -> None:
    resampler = Resampler(48_000)
    resampler.push(np.full(10_000, 20_000, np.int16))
    resampler.flush()
    silence = resampler.push(np.zeros(9_600, np.int16))
    assert len(silence)
    assert not silence.any()


# --- the buffer


def _numbers(count: int, start: int = 0) -> PcmArray:
    return np.arange(start, start + count).astype(np.int16)


def test_a_buffer_is_read_by_position() -> None:
    buffer = PcmBuffer(start=1_000)
    buffer.append(_numbers(100))
    buffer.append(_numbers(50, start=100))
    assert (buffer.start, buffer.end) == (1_000, 1_150)
    assert np.array_equal(buffer.read(1_090, 1_110), _numbers(20, start=90))
    assert len(buffer.read(1_150, 1_150)) == 0


@pytest.mark.parametrize(("start", "end"), [(999, 1_010), (1_000, 1_101), (1_020, 1_010)])
def test_what_is_not_held_cannot_be_read(start: int, end: int) -> None:
    buffer = PcmBuffer(start=1_000)
    buffer.append(_numbers(100))
    with pytest.raises(IndexError):
        buffer.read(start, end)


def test_what_was_read_does_not_change() -> None:
    buffer = PcmBuffer()
    buffer.append(_numbers(100))
    read = buffer.read(0, 100)
    buffer.drop_before(100)
    buffer.append(np.zeros(100, np.int16))
    assert np.array_equal(read, _numbers(100))


@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)), max_size=60))
def test_a_buffer_holds_what_was_not_dropped(steps: list[tuple[int, int]]) -> None:
    buffer = PcmBuffer()
    everything = np.zeros(0, np.int16)
    needed = 0
    for length, drop in steps:
        new = _numbers(length, start=len(everything))
        everything = np.concatenate((everything, new))
        buffer.append(new)
        needed = min(len(everything), needed + drop)
        buffer.drop_before(needed)
        assert buffer.start <= needed
        assert buffer.end == len(everything)
        assert np.array_equal(buffer.read(needed, buffer.end), everything[needed:])


def test_an_endless_stream_takes_bounded_memory() -> None:
    buffer = PcmBuffer()
    for end in range(1_600, 3_200_000, 1_600):
        buffer.append(np.zeros(1_600, np.int16))
        buffer.drop_before(end - 8_000)
        assert buffer.end - buffer.start <= 2 * 8_000 + 1_600
    assert len(buffer._array) < 100_000


def test_dropping_what_is_not_there_yet_drops_everything() -> None:
    buffer = PcmBuffer()
    buffer.append(_numbers(100))
    buffer.drop_before(1_000)
    assert buffer.end == 100
    buffer.append(_numbers(10))
    assert np.array_equal(buffer.read(100, 110), _numbers(10))


# --- files


def _write(path: Path, rate: int, subtype: str | None, channels: int) -> Path:
    tone = _tone(rate, 1.0)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate, subtype=subtype)
    return path


def _frequency(samples: PcmArray) -> float:
    spectrum = np.abs(np.fft.rfft(samples[: SAMPLE_RATE // 2].astype(float)))
    return float(spectrum.argmax() * 2)


@pytest.mark.parametrize(
    ("name", "rate", "subtype", "channels"),
    [
        ("telephone.wav", 8_000, "PCM_16", 1),
        ("telephone.wav", 8_000, "ULAW", 1),
        ("studio.wav", 44_100, "PCM_24", 2),
        ("float.wav", 48_000, "FLOAT", 1),
        ("surround.wav", 48_000, "PCM_16", 6),
        ("plain.wav", 16_000, "PCM_16", 1),
        ("archive.flac", 22_050, "PCM_24", 2),
        ("stream.ogg", 44_100, "VORBIS", 2),
        ("stream.opus.ogg", 48_000, "OPUS", 1),
        ("music.mp3", 44_100, None, 2),
        ("apple.aiff", 32_000, "PCM_16", 1),
    ],
)
def test_a_file_is_read_as_mono_at_16_khz(
    tmp_path: Path, name: str, rate: int, subtype: str | None, channels: int
) -> None:
    samples = read_audio(_write(tmp_path / name, rate, subtype, channels))
    assert samples.dtype == np.int16
    # MP3 has up to two frames of padding.
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=1_700 if name.endswith("mp3") else 1)
    assert _frequency(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples[2_000:14_000]).max() == pytest.approx(16_384, rel=0.05)


def _write_m4a(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="stereo")
        tone = np.stack([_tone(44_100, 1.0)] * 2)
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="stereo")
        frame.sample_rate = 44_100
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def test_what_soundfile_cannot_read_is_read_with_ffmpeg(tmp_path: Path) -> None:
    samples = read_audio(_write_m4a(tmp_path / "phone.m4a"))
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=1_200)  # AAC has padding too
    assert _frequency(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("make", [lambda p: _write(p, 8_000, "PCM_16", 1), _write_m4a])
def test_an_open_file_is_read_like_a_path(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    suffix = ".m4a" if make is _write_m4a else ".wav"
    path = make(tmp_path / f"audio{suffix}")
    expected = read_audio(path)
    assert np.array_equal(read_audio(io.BytesIO(path.read_bytes())), expected)
    assert np.array_equal(read_audio(str(path)), expected)


def test_reading_does_not_depend_on_the_length_of_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, _tone(44_100, 3.3), 44_100)
    at_once = read_audio(path)
    monkeypatch.setattr("hark.audio._BLOCK_VALUES", 16_000)
    in_blocks = read_audio(path)
    assert len(in_blocks) == len(at_once)
    assert np.abs(in_blocks.astype(int) - at_once).max() <= 1  # rounding


def test_a_file_without_audio_in_it_is_empty(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 44_100)
    assert read_audio(tmp_path / "empty.wav").shape == (0,)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is no audio, it is a text" * 100])
def test_what_is_not_audio_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recording.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError):
        read_audio(path)
    with pytest.raises(AudioError):
        read_audio(io.BytesIO(content))


def test_headerless_audio_is_an_error(tmp_path: Path) -> None:
    # By its name, libsndfile takes it for headerless samples, and wants to be told their rate.
    path = tmp_path / "recording.raw"
    path.write_bytes(bytes(1_000))
    with pytest.raises(AudioError):
        read_audio(path)


def test_a_video_without_sound_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(AudioError):
        read_audio(path)


def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = _write(tmp_path / "cut.wav", 16_000, "PCM_16", 1)
    path.write_bytes(path.read_bytes()[:16_044])
    assert len(read_audio(path)) == 8_000


def test_a_missing_file_is_missing_and_not_a_strange_format(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "nowhere.wav")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_audio(tmp_path)


def test_without_ffmpeg_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write_m4a(tmp_path / "phone.m4a")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"hark-stt\[formats\]"):
        read_audio(path)


@pytest.mark.parametrize("name", ["long.wav", "long.m4a"])
def test_audio_that_is_too_long_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _write_m4a(path) if name.endswith("m4a") else _write(path, 8_000, "PCM_16", 1)
    with pytest.raises(AudioError, match=r"longer than 0\.5 s"):
        read_audio(path, max_s=0.5)
    assert len(read_audio(path, max_s=1.5))


@pytest.mark.parametrize("name", ["long.wav", "long.m4a"])
def test_reading_ends_with_what_a_check_raises(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _write_m4a(path) if name.endswith("m4a") else _write(path, 8_000, "PCM_16", 1)

    def check() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        read_audio(path, check_cancelled=check)


def test_not_even_a_file_of_a_few_samples_can_claim_hours(tmp_path: Path) -> None:
    # At one sample a second, a kilobyte lasts minutes.
    path = tmp_path / "slow.wav"
    soundfile.write(path, np.zeros(1_000, np.int16), 1)
    with pytest.raises(AudioError):
        read_audio(path, max_s=60)


@pytest.mark.parametrize(
    "body",
    [
        b"ffconcat version 1.0\nfile 'secret.wav'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
    ids=["playlist", "session description"],
)
def test_a_file_that_names_other_sources_is_refused_and_opens_none(
    body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("secret.wav", np.zeros(16_000, np.int16), 16_000)
    with pytest.raises(AudioError):
        read_audio(io.BytesIO(body))


def test_a_file_that_claims_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flac"
    soundfile.write(path, np.zeros((1_000, 1), np.int16), 655_350 * 2 // 2)
    with soundfile.SoundFile(path) as file:
        assert file.samplerate == 655_350
    assert len(read_audio(path)) == scale_position(1_000, 655_350, SAMPLE_RATE)
    wav = tmp_path / "bomb.wav"
    soundfile.write(wav, np.zeros((10, 65), np.int16), 16_000)
    with pytest.raises(AudioError, match="65 channels"):
        read_audio(wav)
