"""Gladia's live API, as far as its plugin uses it: a request for a session, then a WebSocket."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

import aiohttp
from aiohttp import WSMsgType, web
from livekit.agents import stt

from livekit.plugins import gladia

from .ear import Heard
from .provider import Provider


class Gladia(Provider):
    name = "Gladia"

    def make_stt(self, address: str, key: str, session: aiohttp.ClientSession) -> stt.STT:
        url = f"http://{address}/v2/live"
        return gladia.STT(api_key=key, base_url=url, http_session=session)

    def is_first_step(self, request: web.Request) -> bool:
        return request.method == "POST"

    async def answer(self, request: web.Request) -> web.Response:
        # The Host is that of the proxy between us, which the WebSocket is to go through as well.
        return web.json_response({"id": "s", "url": f"ws://{request.host}/socket"}, status=201)

    async def talk(self, websocket: web.WebSocketResponse) -> None:
        ear = self.make_ear()
        async for message in websocket:
            if message.type is not WSMsgType.TEXT:
                continue
            received = json.loads(message.data)
            if received["type"] == "audio_chunk":
                pcm = base64.b64decode(received["data"]["chunk"])
                await self._tell_all(websocket, ear.push(pcm))
            elif received["type"] == "stop_recording":
                await self._tell_all(websocket, ear.finish())
                await websocket.close()

    async def _tell_all(self, websocket: web.WebSocketResponse, heard: Iterable[Heard]) -> None:
        for each in heard:
            await self.tell(websocket, _transcript(each), final=each.is_final)


def _transcript(heard: Heard) -> dict[str, object]:
    utterance = {
        "text": heard.text,
        "start": heard.words[0].start_s,
        "end": heard.words[-1].end_s,
        "language": "en",
        "confidence": 0.9,
        "words": [
            {"word": word.text, "start": word.start_s, "end": word.end_s} for word in heard.words
        ],
    }
    return {"type": "transcript", "data": {"is_final": heard.is_final, "utterance": utterance}}
