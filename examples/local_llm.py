"""A stand-in for a language model, so that the examples need no account."""

from __future__ import annotations

from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions
from livekit.agents.utils import shortuuid


class ParrotLLM(llm.LLM[Any]):
    """Repeats the last thing the user said."""

    @property
    def model(self) -> str:
        return "parrot"

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        return _Reply(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Reply(llm.LLMStream):
    async def _run(self) -> None:
        said = [m.text_content for m in self.chat_ctx.messages() if m.role == "user"]
        delta = llm.ChoiceDelta(role="assistant", content=f"You said: {said[-1] if said else ''}")
        self._event_ch.send_nowait(llm.ChatChunk(id=shortuuid("reply_"), delta=delta))
