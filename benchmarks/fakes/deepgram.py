"""Deepgram's live transcription, as far as its plugin uses it."""

from __future__ import annotations

import json
from collections.abc import Iterable

import aiohttp
from aiohttp import WSMsgType, web
from livekit.agents import stt

from livekit.plugins import deepgram

from .ear import Heard
from .provider import Provider


class Deepgram(Provider):
    name = "Deepgram"

    def make_stt(self, address: str, key: str, session: aiohttp.ClientSession) -> stt.STT:
        url = f"http://{address}/v1/listen"
        return deepgram.STT(api_key=key, base_url=url, http_session=session)

    async def talk(self, websocket: web.WebSocketResponse) -> None:
        ear = self.make_ear()
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                await self._tell_all(websocket, ear.push(message.data))
            elif message.type is WSMsgType.TEXT:
                kind = json.loads(message.data)["type"]
                if kind in ("Finalize", "CloseStream"):
                    await self._tell_all(websocket, ear.finish())
                if kind == "CloseStream":
                    await websocket.send_json({"type": "Metadata", "request_id": "r"})
                    await websocket.close()

    async def _tell_all(self, websocket: web.WebSocketResponse, heard: Iterable[Heard]) -> None:
        for each in heard:
            await self.tell(websocket, _results(each), final=each.is_final)


def _results(heard: Heard) -> dict[str, object]:
    words = [
        {"word": word.text, "start": word.start_s, "end": word.end_s, "confidence": 0.9}
        for word in heard.words
    ]
    alternative = {"transcript": heard.text, "confidence": 0.9, "words": words}
    return {
        "type": "Results",
        "metadata": {"request_id": "r"},
        "is_final": heard.is_final,
        "speech_final": heard.is_final,
        "channel": {"alternatives": [alternative]},
    }
