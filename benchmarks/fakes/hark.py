"""Hark's protocol, as its plugin uses it. Resuming needs no more than `start_sample`."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
from aiohttp import WSMsgType, web
from livekit.agents import stt

from hark_protocol import (
    PCM16_BYTES_PER_SAMPLE,
    Audio,
    Capabilities,
    Close,
    Closed,
    Config,
    Connection,
    Final,
    Flush,
    Flushed,
    Interim,
    Limits,
    Progress,
    Ready,
    Role,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
)
from livekit.plugins import hark

from .ear import RATE, Heard
from .provider import Provider

_ABLE = Capabilities(
    languages=("en",),
    words=True,
    confidence=True,
    keyterms=True,
    streaming=False,
    language_detection=False,
)
_LIMITS = Limits(max_message_bytes=1 << 20, max_session_s=0, idle_timeout_s=60.0)
_PROGRESS = RATE  # after which Hark's server tells how far it is


class Hark(Provider):
    name = "Hark"

    def make_stt(self, address: str, key: str, session: aiohttp.ClientSession) -> stt.STT:
        url = f"ws://{address}/ws/transcribe"
        return hark.STT(api_key=key, api_url=url, http_session=session)

    async def talk(self, websocket: web.WebSocketResponse) -> None:
        await _Session(self, websocket).run()


class _Session:
    def __init__(self, provider: Hark, websocket: web.WebSocketResponse) -> None:
        self._provider = provider
        self._websocket = websocket
        self._connection = Connection(Role.SERVER)
        self._ear = provider.make_ear()
        self._start = 0
        self._reported = self._finalized = 0
        self._utterance = 0
        self._open_at: int | None = None

    async def run(self) -> None:
        async for frame in self._websocket:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            message = self._connection.receive(frame.data)
            if isinstance(message, Config) and self._connection.ready is None:
                self._start = self._connection.start_sample
                self._reported = self._finalized = self._start
                await self._send(Ready("s", "m", None, capabilities=_ABLE, limits=_LIMITS))
            elif isinstance(message, Audio):
                await self._tell_all(self._ear.push(message.pcm))
                samples = len(message.pcm) // PCM16_BYTES_PER_SAMPLE
                if self._received + samples - self._reported > _PROGRESS:
                    await self._report()
            elif isinstance(message, Flush):
                await self._tell_all(self._ear.finish())
                await self._send(Flushed(message.id))
            elif isinstance(message, Close):
                await self._tell_all(self._ear.finish())
                await self._send(Closed())
                await self._websocket.close()

    @property
    def _received(self) -> int:
        return self._start + round(self._ear.received_s * RATE)

    async def _tell_all(self, heard: Iterable[Heard]) -> None:
        for each in heard:
            start = self._start + round(each.words[0].start_s * RATE)
            end = self._start + round(each.words[-1].end_s * RATE)
            if self._open_at is None:
                self._open_at = start
                self._utterance += 1
                await self._send(SpeechStarted(self._utterance, start))
            if not each.is_final:
                await self._send(Interim(self._utterance, start, end, each.text))
                continue
            await self._send(Final(self._utterance, start, end, each.text))
            self._open_at = None
            self._finalized = end
            await self._send(SpeechEnded(self._utterance, end))
            await self._report()

    async def _report(self) -> None:
        self._reported = self._received
        settled = self._start + round(self._ear.settled_s * RATE)
        self._finalized = max(self._finalized, settled)
        await self._send(Progress(self._received, self._finalized))

    async def _send(self, message: ServerMessage) -> None:
        data = self._connection.send(message)
        is_final = isinstance(message, Final)
        await self._provider.tell_text(self._websocket, str(data), final=is_final)
