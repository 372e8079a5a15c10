"""Audio as Hark's core knows it: mono PCM16 at 16 kHz, positions counted in samples."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from hark.errors import AudioError

if TYPE_CHECKING:
    from av.container import InputContainer

SAMPLE_RATE = 16_000
"""Hz. Every engine and every VAD model of Hark hears at this rate."""

PcmArray = NDArray[np.int16]
"""Mono PCM16 samples at `SAMPLE_RATE`, shape (n,)."""

EMPTY: PcmArray = np.zeros(0, dtype=np.int16)
"""No audio. Read-only."""
EMPTY.setflags(write=False)

_FLOAT_TO_PCM16 = 32768.0

_BLOCK_VALUES = 1 << 20  # samples of all channels that a file is decoded by at a time: 4 MB

_MAX_FILE_RATE = 768_000  # Hz; more than any recorder gives
_MAX_FILE_CHANNELS = 64

_FFMPEG_FORMATS = (
    "mov,matroska,webm,mp3,aac,ogg,wav,w64,flac,aiff,au,caf,amr,ac3,asf,avi,flv,mpegts,mpeg,ape,wv"
)


def pcm_from_bytes(data: bytes) -> PcmArray:
    """View little-endian PCM16 bytes as samples, without copying.

    Raises:
        AudioError: the number of bytes is odd.
    """
    if len(data) % 2:
        raise AudioError("PCM16 audio must have an even number of bytes")
    return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def to_float(samples: PcmArray) -> NDArray[np.float32]:
    """Scale PCM16 to float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(_FLOAT_TO_PCM16)


def to_pcm16(samples: NDArray[np.float32]) -> PcmArray:
    """Round float samples in [-1, 1] to PCM16; louder ones are clipped."""
    scaled: NDArray[np.float32] = np.rint(samples * np.float32(_FLOAT_TO_PCM16))
    return scaled.clip(-32768, 32767).astype(np.int16)


def scale_position(position: int, from_rate: int, to_rate: int) -> int:
    """Convert a sample position between rates, rounding to the nearest sample."""
    return (position * to_rate * 2 + from_rate) // (from_rate * 2)


class Resampler:
    """Resample a stream of PCM16 to `SAMPLE_RATE`, the same whatever its chunking.

    Audio is fed to soxr in blocks of 10 ms, so that its output depends on the audio alone.
    """

    def __init__(self, sample_rate: int) -> None:
        """Args: sample_rate: of the incoming audio, in Hz."""
        self._rate = sample_rate
        self._block = max(1, sample_rate // 100)
        self._pushed = 0
        self._produced = 0
        self._restart()

    def _restart(self) -> None:
        self._soxr = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32")
        self._waiting = EMPTY

    def push(self, samples: PcmArray) -> PcmArray:
        """Take audio at the incoming rate, shape (n,); give what is ready at 16 kHz, shape (m,)."""
        waiting = np.concatenate((self._waiting, samples)) if len(self._waiting) else samples
        whole = len(waiting) - len(waiting) % self._block
        self._waiting = waiting[whole:]
        return self._feed(waiting[:whole])

    def flush(self) -> PcmArray:
        """Give the rest, and start afresh.

        All output since the beginning together is as long as all input.
        """
        tail = self._feed(self._waiting, last=True)
        missing = scale_position(self._pushed, self._rate, SAMPLE_RATE) - self._produced
        self._produced += missing
        self._restart()
        return np.pad(tail, (0, missing)) if missing >= 0 else tail[:missing]

    def _feed(self, samples: PcmArray, *, last: bool = False) -> PcmArray:
        audio = to_float(samples)
        chunks = [
            self._soxr.resample_chunk(audio[i : i + self._block])
            for i in range(0, len(audio), self._block)
        ]
        if last:
            chunks.append(self._soxr.resample_chunk(audio[:0], last=True))
        out = to_pcm16(np.concatenate(chunks)) if chunks else EMPTY
        self._pushed += len(samples)
        self._produced += len(out)
        return out


class PcmBuffer:
    """The part of a stream that is still needed, addressed by position in the stream."""

    def __init__(self, start: int = 0) -> None:
        """Args: start: position of the first sample that will be appended."""
        self._array: PcmArray = np.empty(SAMPLE_RATE, dtype=np.int16)
        self._start = start
        self._length = 0

    @property
    def start(self) -> int:
        """Position of the oldest sample held."""
        return self._start

    @property
    def end(self) -> int:
        """Position after the newest sample held."""
        return self._start + self._length

    def append(self, samples: PcmArray) -> None:
        """Add audio at the end. Amortised O(n)."""
        needed = self._length + len(samples)
        if needed > len(self._array):
            grown = np.empty(2 * needed, dtype=np.int16)
            grown[: self._length] = self._array[: self._length]
            self._array = grown
        self._array[self._length : needed] = samples
        self._length = needed

    def read(self, start: int, end: int) -> PcmArray:
        """Copy [start, end). Both must be held."""
        if not self._start <= start <= end <= self.end:
            raise IndexError(f"[{start}, {end}) is not within [{self._start}, {self.end})")
        return self._array[start - self._start : end - self._start].copy()

    def drop_before(self, position: int) -> None:
        """Forget what is older than `position`; cheap to call often."""
        drop = min(position, self.end) - self._start
        # Moving the rest costs, so wait until at least as much goes as stays.
        if drop <= 0 or drop < self._length - drop:
            return
        kept = self._length - drop
        self._array = np.concatenate(
            (self._array[drop : self._length], np.empty(SAMPLE_RATE, dtype=np.int16))
        )
        self._start += drop
        self._length = kept


def read_audio(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    max_s: float | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> PcmArray:
    """Decode a whole audio file, mixed down to mono at 16 kHz.

    Reads what libsndfile reads (WAV, FLAC, OGG, Opus, MP3, AIFF, ...), and where PyAV is installed
    (extra `formats`) everything FFmpeg reads (M4A, WebM, ...). Takes little more memory than the
    result, whatever the file's own rate and channels.

    Args:
        source: a path, or a seekable binary file.
        max_s: longest audio to accept, in seconds: a small file can hold days of silence.
        check_cancelled: called again and again; ends the reading with what it raises.

    Raises:
        AudioError: not audio, longer than `max_s`, or a format that needs the extra.
        OSError: the file cannot be read.
    """
    try:
        with soundfile.SoundFile(source) as file:
            _check_header(file, max_s)
            return _gather(_decode_with_soundfile(file), max_s, check_cancelled)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: the name ends in .raw
        return _read_with_av(source, max_s, check_cancelled)


def _check_header(file: soundfile.SoundFile, max_s: float | None) -> None:
    if file.samplerate > _MAX_FILE_RATE or file.channels > _MAX_FILE_CHANNELS:
        raise AudioError(
            f"the audio claims {file.samplerate} Hz and {file.channels} channels; at most "
            f"{_MAX_FILE_RATE} Hz and {_MAX_FILE_CHANNELS} channels are read"
        )
    if max_s is not None and file.frames > max_s * file.samplerate:
        raise AudioError(f"the audio is longer than {max_s:g} s")


def _gather(
    pieces: Iterable[PcmArray], max_s: float | None, check_cancelled: Callable[[], None]
) -> PcmArray:
    gathered = [EMPTY]
    length = 0
    for piece in pieces:
        check_cancelled()
        length += len(piece)
        if max_s is not None and length > max_s * SAMPLE_RATE:
            raise AudioError(f"the audio is longer than {max_s:g} s")
        gathered.append(piece)
    return np.concatenate(gathered)


def _decode_with_soundfile(file: soundfile.SoundFile) -> Iterator[PcmArray]:
    rate = file.samplerate
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    for block in file.blocks(
        blocksize=max(1, _BLOCK_VALUES // file.channels), dtype="float32", always_2d=True
    ):
        mono = block.mean(axis=1, dtype=np.float32)
        yield to_pcm16(mono if rate == SAMPLE_RATE else resampler.resample_chunk(mono))
    if rate != SAMPLE_RATE:
        yield to_pcm16(resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True))


def _read_with_av(
    source: str | os.PathLike[str] | BinaryIO,
    max_s: float | None,
    check_cancelled: Callable[[], None],
) -> PcmArray:
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:  # tells a missing file from one that is not audio
            return _read_with_av(file, max_s, check_cancelled)
    try:
        import av
    except ImportError:
        raise AudioError(
            "cannot read this audio format; install PyAV for more formats: "
            "pip install 'hark-stt[formats]'"
        ) from None
    source.seek(0)
    try:
        # Without the lists, a playlist or session description in place of audio would make FFmpeg
        # open other files and sockets.
        options = {"format_whitelist": _FFMPEG_FORMATS, "protocol_whitelist": "file"}
        with av.open(source, "r", container_options=options) as container:
            return _gather(_decode_with_av(container), max_s, check_cancelled)
    except AudioError:
        raise
    except (av.FFmpegError, IndexError, ValueError):  # ValueError: the rate changes in mid-file
        # From None: FFmpeg's message may quote the file's metadata.
        raise AudioError("not a readable audio file") from None


def _decode_with_av(container: InputContainer) -> Iterator[PcmArray]:
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    for frame in itertools.chain(container.decode(audio=0), [None]):
        for resampled in resampler.resample(frame):
            yield resampled.to_ndarray()[0]
