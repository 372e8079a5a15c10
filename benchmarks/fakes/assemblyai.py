"""AssemblyAI's universal streaming, as far as its plugin uses it."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp
from aiohttp import WSMsgType, web
from livekit.agents import stt

from livekit.plugins import assemblyai

from .ear import Heard
from .provider import Provider


class AssemblyAI(Provider):
    name = "AssemblyAI"

    def make_stt(self, address: str, key: str, session: aiohttp.ClientSession) -> stt.STT:
        return assemblyai.STT(api_key=key, base_url=f"ws://{address}", http_session=session)

    async def talk(self, websocket: web.WebSocketResponse) -> None:
        ear = self.make_ear()
        await websocket.send_json({"type": "Begin", "id": "s", "expires_at": 0})
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                await self._tell_all(websocket, ear.push(message.data))
            elif message.type is WSMsgType.TEXT and "Terminate" in message.data:
                await self._tell_all(websocket, ear.finish())
                await websocket.send_json({"type": "Termination"})
                await websocket.close()

    async def _tell_all(self, websocket: web.WebSocketResponse, heard: Iterable[Heard]) -> None:
        for each in heard:
            await self.tell(websocket, _turn(each), final=each.is_final)


def _turn(heard: Heard) -> dict[str, object]:
    words = [
        {
            "text": word.text,
            "start": round(word.start_s * 1000),
            "end": round(word.end_s * 1000),
            "confidence": 0.9,
        }
        for word in heard.words
    ]
    return {
        "type": "Turn",
        "words": words,
        "transcript": heard.text,
        "end_of_turn": heard.is_final,
        "turn_is_formatted": heard.is_final,
    }
