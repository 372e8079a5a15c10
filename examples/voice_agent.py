"""A voice agent on one machine, without an account or a key: it repeats what it hears.

    python examples/voice_agent.py console   # in this terminal, with its microphone
    python examples/voice_agent.py dev       # in the rooms of a LiveKit server
    python examples/voice_agent.py start     # the same, in production

Hark recognises on this machine, one recogniser for all calls, or on the server that
HARK_API_URL names.
"""

from __future__ import annotations

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli

from livekit.plugins import hark
from local_llm import ParrotLLM
from local_tts import HibariTTS


def prewarm(process: JobProcess) -> None:
    """Load what takes time before the first caller waits for it."""
    process.userdata["stt"] = stt = hark.STT()
    stt.prewarm()
    process.userdata["tts"] = HibariTTS()


server = AgentServer(setup_fnc=prewarm)


@server.rtc_session()
async def talk(context: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt=context.proc.userdata["stt"],
        llm=ParrotLLM(),  # or a real one: openai.LLM(), openai.LLM.with_ollama(model="...")
        tts=context.proc.userdata["tts"],  # or any other: cartesia.TTS(), elevenlabs.TTS()
        # Hark says when the user starts and stops to speak, so nothing else has to listen. With
        # LiveKit's defaults, an agent that is run by `dev` would ask LiveKit Cloud about turns.
        vad=None,
        turn_handling={"turn_detection": "stt"},
    )
    await session.start(Agent(instructions="Repeat what the user says."), room=context.room)
    await session.say("Hello! Say something, and I will repeat it.")


if __name__ == "__main__":
    cli.run_app(server)
