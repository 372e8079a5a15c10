"""The demo's stream: audio through the LiveKit plugin as an agent sends it, every event timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from livekit.agents import APIError
from livekit.agents.stt import SpeechEvent, SpeechEventType

from hark.audio import SAMPLE_RATE, PcmArray
from hark.cli.demo_view import DemoView, Utterance
from hark.cli.measures import PushClock
from hark.cli.pacing import paced
from hark.embedded import Embedded
from hark.errors import RecognitionError
from livekit import rtc
from livekit.plugins.hark import STT, SpeechStream

if TYPE_CHECKING:
    from hark.cli.remote import HarkServer

PATIENCE_S = 60.0
"""Seconds that the last final may come after the last audio."""

RECONNECT_BUDGET_S = 10.0
"""Shorter than the plugin's default: whoever looks on wants to know that the server is gone."""


@dataclass(slots=True)
class Measurements:
    """What came out of a stream.

    Attributes:
        utterances: those with text, in order.
        interim_latencies_s: of each interim: how old its newest audio was when it came.
    """

    utterances: list[Utterance] = field(default_factory=list)
    interim_latencies_s: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that was heard."""
        return " ".join(utterance.text for utterance in self.utterances)


@asynccontextmanager
async def open_stt(server: HarkServer | None, model: str | None) -> AsyncIterator[STT]:
    """Make the plugin ready to hear, and free all that it holds afterwards.

    Args:
        server: None recognises in this process.
        model: None for the default.

    Raises:
        HarkError: the model does not load.
    """
    async with AsyncExitStack() as stack:
        if server is None:
            # The plugin shares the process's recogniser: held and loaded here, it is there at the
            # first frame, so that loading is not measured as latency.
            share = Embedded.acquire(model)
            stack.callback(share.release)
            await share.pool()
            stt = STT(api_url=None, model=model)
        else:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            stt = STT(
                api_url=server.address.stream,
                api_key=server.api_key,
                model=model,
                reconnect_budget_s=RECONNECT_BUDGET_S,
                http_session=session,
            )
        stack.push_async_callback(stt.aclose)
        yield stt


async def stream(stt: STT, samples: PcmArray, *, speed: float, view: DemoView) -> Measurements:
    """Stream a recording and measure what comes back. Safe to cancel.

    Args:
        stt: ready.
        samples: shape (n,), at `SAMPLE_RATE`.
        speed: pace, 1 for that of speech.
        view: shown everything when it happens.

    Raises:
        RecognitionError: the recogniser failed, or went silent.
    """
    speech = stt.stream()
    listening = _Listening(view)
    pushing = asyncio.create_task(_push(speech, samples, speed, listening))
    try:
        await asyncio.wait_for(
            listening.follow(speech), len(samples) / SAMPLE_RATE / speed + PATIENCE_S
        )
    except asyncio.TimeoutError:
        raise RecognitionError(f"no answer for {PATIENCE_S:g} s after the last audio") from None
    except APIError as error:
        raise RecognitionError(error.message) from None
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await speech.aclose()
    return listening.measurements


async def _push(
    speech: SpeechStream, samples: PcmArray, speed: float, listening: _Listening
) -> None:
    async for frame in paced(samples, speed=speed):
        speech.push_frame(rtc.AudioFrame(frame.tobytes(), SAMPLE_RATE, 1, len(frame)))
        listening.pushed(frame)
    speech.end_input()


class _Listening:
    """Follows the events of a stream."""

    def __init__(self, view: DemoView) -> None:
        self.measurements = Measurements()
        self._view = view
        self._clock = PushClock()
        self._final: tuple[SpeechEvent, float] | None = None

    def pushed(self, frame: PcmArray) -> None:
        self._clock.tick()
        self._view.pushed(frame, self._clock.position_s)

    async def follow(self, events: AsyncIterator[SpeechEvent]) -> None:
        async for event in events:
            self._take(event)

    def _take(self, event: SpeechEvent) -> None:
        if event.type in (SpeechEventType.INTERIM_TRANSCRIPT, SpeechEventType.PREFLIGHT_TRANSCRIPT):
            data = event.alternatives[0]
            latency_s = self._clock.since_pushed_s(data.end_time)
            self.measurements.interim_latencies_s.append(latency_s)
            stable = (data.metadata or {}).get("stable", 0)
            self._view.interim(data.start_time, data.text, stable, latency_s)
        elif event.type == SpeechEventType.FINAL_TRANSCRIPT:
            self._final = (event, time.time())
        elif event.type == SpeechEventType.END_OF_SPEECH and self._final is not None:
            self._finish(*self._final, event.speech_end_time)
            self._final = None

    def _finish(self, final: SpeechEvent, arrived: float, spoken: float | None) -> None:
        """Note a final; only the event after it says when the last speech was handed over."""
        data = final.alternatives[0]
        if not data.text:
            return
        latency_s = None if spoken is None else arrived - spoken
        utterance = Utterance(data.start_time, data.end_time, data.text, latency_s)
        self.measurements.utterances.append(utterance)
        self._view.final(utterance)
