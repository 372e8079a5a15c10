"""LiveKit's own way to stream with a recogniser that cannot: `StreamAdapter` and its Silero VAD.

There are no interims. Of where its finals are it says nothing, so what it says of the beginnings
and ends of speech is taken, at the moment when it says so.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Generic, Literal, TypeVar

from livekit.agents import LanguageCode, stt, utils
from livekit.agents.types import NOT_GIVEN, APIConnectOptions, NotGivenOr

from hark.audio import SAMPLE_RATE
from hark.bench.contestant import Contestant, ContestantError, Hear
from hark.bench.peers.decode_threads import DecodeThreads, Samples, to_float
from livekit import rtc
from livekit.plugins import silero

T = TypeVar("T")


class AdaptedContestant(Contestant, Generic[T]):
    """A batch recogniser behind `StreamAdapter`. See `Contestant`."""

    def __init__(
        self,
        threads: DecodeThreads[T],
        decode: Callable[[T, Samples], str],
        silence_ms: int,
        settings: Mapping[str, str],
    ) -> None:
        """Args: threads: with the recognisers. decode: an utterance. settings: to report."""
        versions = ("livekit-agents", "livekit-plugins-silero")
        super().__init__(
            {
                **{name: importlib.metadata.version(name) for name in versions},
                "VAD": f"livekit-plugins-silero, silence {silence_ms} ms",
                "interims": "none",
                **settings,
            }
        )
        self._silence_s = silence_ms / 1000
        self._threads = threads
        self._vad = silero.VAD.load(min_silence_duration=self._silence_s)
        self._stt = stt.StreamAdapter(stt=_BatchStt(threads, decode), vad=self._vad)

    async def open(self, hear: Hear) -> AdaptedStream:
        """Open a stream. See `Contestant.open`."""
        return AdaptedStream(self._stt.stream(), self._silence_s, hear)

    async def aclose(self) -> None:
        """End the threads. Idempotent."""
        await asyncio.to_thread(self._threads.close)


class AdaptedStream:
    """One stream. See `ContestantStream`."""

    def __init__(self, stream: stt.RecognizeStream, silence_s: float, hear: Hear) -> None:
        """Args: stream: of the adapter. silence_s: of the VAD. hear: takes the results."""
        self._stream = stream
        self._silence_s = silence_s
        self._hear = hear
        self._pushed_s = 0.0
        self._listening = asyncio.create_task(self._listen())

    def push(self, pcm: bytes) -> None:
        """Take samples. See `ContestantStream.push`."""
        count = len(pcm) // 2
        self._stream.push_frame(rtc.AudioFrame(pcm, SAMPLE_RATE, 1, count))
        self._pushed_s += count / SAMPLE_RATE

    async def finish(self) -> None:
        """Wait for the last final. See `ContestantStream.finish`."""
        try:
            self._stream.end_input()
            await self._listening
        except RuntimeError as error:
            raise ContestantError(f"the adapter failed ({type(error).__name__})") from None
        finally:
            self._listening.cancel()
            await self._stream.aclose()

    async def _listen(self) -> None:
        start_s = end_s = 0.0
        async for event in self._stream:
            if event.type is stt.SpeechEventType.START_OF_SPEECH:
                start_s = self._pushed_s
            elif event.type is stt.SpeechEventType.END_OF_SPEECH:
                end_s = self._pushed_s - self._silence_s
            elif event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                self._hear("final", event.alternatives[0].text, start_s, end_s)


class _BatchStt(stt.STT[Literal["metrics_collected"]], Generic[T]):
    def __init__(self, threads: DecodeThreads[T], decode: Callable[[T, Samples], str]) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._threads = threads
        self._decode = decode

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        samples = to_float(bytes(rtc.combine_audio_frames(buffer).data))
        decoding = self._threads.submit(lambda one: self._decode(one, samples), is_final=True)
        text = await asyncio.wrap_future(decoding)
        return stt.SpeechEvent(
            stt.SpeechEventType.FINAL_TRANSCRIPT,
            alternatives=[stt.SpeechData(language=LanguageCode("en"), text=text)],
        )
