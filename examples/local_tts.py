"""Text-to-speech in this process: Hibari, 14 MB from PyPI, English, far faster than speech."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from hibari import Hibari
from livekit.agents import tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import shortuuid


class HibariTTS(tts.TTS[Any]):
    """Speaks with the voice that comes with the package. Loads it at once."""

    def __init__(self) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=Hibari.sample_rate,
            num_channels=1,
        )
        self._voice = Hibari()
        self._voice("Hello.")  # its pronunciation rules load with the first word

    @property
    def model(self) -> str:
        return "hibari"

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Speech(tts=self, input_text=text, conn_options=conn_options, voice=self._voice)


class _Speech(tts.ChunkedStream):
    def __init__(
        self, *, tts: HibariTTS, input_text: str, conn_options: APIConnectOptions, voice: Hibari
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._voice = voice

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=shortuuid("speech_"),
            sample_rate=self._voice.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        # In a thread: the event loop also moves the audio of the call.
        audio = await asyncio.to_thread(self._voice, self.input_text)
        output_emitter.push((audio.clip(-1, 1) * 32_767).astype(np.int16).tobytes())
