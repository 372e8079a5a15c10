"""Soniox's real-time API, as far as its plugin uses it."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
from aiohttp import WSMsgType, web
from livekit.agents import stt

from livekit.plugins import soniox

from .ear import Ear, Heard
from .provider import Provider


class Soniox(Provider):
    name = "Soniox"

    def make_stt(self, address: str, key: str, session: aiohttp.ClientSession) -> stt.STT:
        return soniox.STT(api_key=key, base_url=f"ws://{address}/", http_session=session)

    async def talk(self, websocket: web.WebSocketResponse) -> None:
        ear = self.make_ear()
        async for message in websocket:
            # An empty message, in either form, ends the audio.
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            if not message.data:
                await self._tell_all(websocket, ear, ear.finish())
                await websocket.send_json({"tokens": [], "finished": True})
                await websocket.close()
            elif message.type is WSMsgType.BINARY:
                await self._tell_all(websocket, ear, ear.push(message.data))

    async def _tell_all(
        self, websocket: web.WebSocketResponse, ear: Ear, heard: Iterable[Heard]
    ) -> None:
        for each in heard:
            message = {"tokens": _tokens(each), "total_audio_proc_ms": ear.received_s * 1000}
            await self.tell(websocket, message, final=each.is_final)


def _tokens(heard: Heard) -> list[dict[str, object]]:
    tokens: list[dict[str, object]] = [
        {
            "text": (" " if number else "") + word.text,
            "start_ms": word.start_s * 1000,
            "end_ms": word.end_s * 1000,
            "confidence": 0.9,
            "is_final": heard.is_final,
        }
        for number, word in enumerate(heard.words)
    ]
    if heard.is_final:
        tokens.append({"text": "<end>", "is_final": True})
    return tokens
