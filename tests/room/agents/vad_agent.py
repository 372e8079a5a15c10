"""The voice agent of the examples, but LiveKit's VAD says when its user starts and stops to speak.

A program: tests start it as they start the examples.
"""

from __future__ import annotations

import sys
from pathlib import Path

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli

sys.path.insert(0, str(Path(__file__).parents[3] / "examples"))

from local_llm import ParrotLLM
from voice_agent import prewarm

server = AgentServer(setup_fnc=prewarm)


@server.rtc_session()
async def talk(context: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt=context.proc.userdata["stt"],
        llm=ParrotLLM(),
        tts=context.proc.userdata["tts"],
        turn_handling={"turn_detection": "vad"},
    )
    await session.start(Agent(instructions="Repeat what the user says."), room=context.room)
    await session.say("Hello!")


if __name__ == "__main__":
    cli.run_app(server)
