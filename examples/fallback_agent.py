"""A voice agent that listens through a Hark server, and by itself when that cannot be reached.

    hark serve
    python examples/fallback_agent.py dev

`hark.STT()` alone rides out a lost server without losing a word, but waits for a server to come
back. Here the agent goes on by itself at once, for the price of the utterance that was under way.
"""

from __future__ import annotations

import os

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli, stt

from livekit.plugins import hark
from local_llm import ParrotLLM
from local_tts import HibariTTS

SERVER_URL = os.environ.get("HARK_API_URL", "ws://localhost:8000/ws/transcribe")


def prewarm(process: JobProcess) -> None:
    """Load what takes time before the first caller waits for it."""
    served, embedded = hark.STT(api_url=SERVER_URL), hark.STT(api_url=None)
    served.prewarm()
    embedded.prewarm()
    process.userdata["stt"] = stt.FallbackAdapter(
        [served, embedded],
        attempt_timeout=2.0,
        max_retry_per_stt=0,  # the other one is there already: nothing is won by trying again
    )
    process.userdata["tts"] = HibariTTS()


server = AgentServer(setup_fnc=prewarm)


@server.rtc_session()
async def talk(context: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt=context.proc.userdata["stt"],
        llm=ParrotLLM(),
        tts=context.proc.userdata["tts"],
        vad=None,
        turn_handling={"turn_detection": "stt"},
    )
    await session.start(Agent(instructions="Repeat what the user says."), room=context.room)
    await session.say("Hello! Say something, and I will repeat it.")


if __name__ == "__main__":
    cli.run_app(server)
