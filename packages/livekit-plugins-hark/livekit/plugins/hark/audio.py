"""LiveKit's audio frames, as Hark takes them: mono PCM16."""

from __future__ import annotations

import io
import wave

import numpy as np
from livekit.agents import APIError
from livekit.agents.utils import AudioBuffer
from numpy.typing import NDArray

from hark_protocol import PCM16_BYTES_PER_SAMPLE
from livekit import rtc

_LITTLE_ENDIAN = np.dtype("<i2")


def mono_samples(frame: rtc.AudioFrame) -> NDArray[np.int16]:
    """The samples of a frame of any number of channels, mixed down; shape (n,)."""
    channels = frame.num_channels
    samples = np.frombuffer(frame.data, np.int16, frame.samples_per_channel * channels)
    if channels == 1:
        return samples
    mix: NDArray[np.int16] = np.rint(samples.reshape(-1, channels).mean(axis=1)).astype(np.int16)
    return mix


def to_pcm(samples: NDArray[np.int16]) -> bytes:
    """Samples as little-endian bytes."""
    return samples.astype(_LITTLE_ENDIAN, copy=False).tobytes()


def wav_of(buffer: AudioBuffer) -> bytes:
    """A mono WAV file of a whole buffer, at the buffer's rate.

    Raises:
        APIError: the frames differ in their rate.
    """
    frames = buffer if isinstance(buffer, list) else [buffer]
    rates = {frame.sample_rate for frame in frames}
    if len(rates) != 1:
        raise APIError("all frames of a buffer must have the same sample rate", retryable=False)
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(PCM16_BYTES_PER_SAMPLE)
        wav.setframerate(rates.pop())
        wav.writeframes(b"".join(to_pcm(mono_samples(frame)) for frame in frames))
    return file.getvalue()
