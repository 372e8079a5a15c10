"""LiveKit's console, seen from the command line that starts an agent in it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import soxr
from livekit.protocol.agent_pb import agent_session
from livekit.protocol.agent_pb.agent_session import AgentSessionMessage

from .recordings import RATE, Pcm

CONSOLE_RATE = 48_000
FRAME = CONSOLE_RATE // 50
DEADLINE_S = 40


class Console:
    """What LiveKit's command line is to the agent that it starts: microphone and loudspeaker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def send(self, message: AgentSessionMessage) -> None:
        data = message.SerializeToString()
        self._writer.write(struct.pack(">I", len(data)) + data)

    async def receive(self) -> AgentSessionMessage:
        (length,) = struct.unpack(">I", await self._reader.readexactly(4))
        return AgentSessionMessage.FromString(await self._reader.readexactly(length))

    async def until_listening(self) -> None:
        """Wait until the agent has greeted."""
        while True:
            message = await self.receive()
            if message.HasField("audio_playback_flush"):
                played = AgentSessionMessage.ConsoleIO.AudioPlaybackFinished()
                self.send(AgentSessionMessage(audio_playback_finished=played))
            change = message.event.agent_state_changed
            if change.old_state == agent_session.AS_SPEAKING:
                return

    async def say(self, samples: Pcm) -> None:
        """Speak into the microphone, and be silent from then on."""
        pcm = soxr.resample(samples, RATE, CONSOLE_RATE)
        position = 0
        while True:
            part = np.zeros(FRAME, np.int16)
            part[: len(pcm) - position] = pcm[position : position + FRAME]
            position = min(position + FRAME, len(pcm))
            frame = AgentSessionMessage.ConsoleIO.AudioFrame(
                data=part.tobytes(),
                sample_rate=CONSOLE_RATE,
                num_channels=1,
                samples_per_channel=FRAME,
            )
            self.send(AgentSessionMessage(audio_input=frame))
            await asyncio.sleep(FRAME / CONSOLE_RATE)

    async def until_answered(self) -> list[str]:
        """The finals until the agent answers."""
        said = []
        while True:
            event = (await self.receive()).event
            if event.HasField("user_input_transcribed") and event.user_input_transcribed.is_final:
                said.append(event.user_input_transcribed.transcript)
            if event.agent_state_changed.new_state == agent_session.AS_SPEAKING:
                return said


@asynccontextmanager
async def console(example: Path, log: Path) -> AsyncIterator[tuple[Console, psutil.Process]]:
    """An example in the console, and its process."""
    connected: asyncio.Queue[Console] = asyncio.Queue(1)
    server = await asyncio.start_server(
        lambda reader, writer: connected.put_nowait(Console(reader, writer)), "127.0.0.1"
    )
    port = server.sockets[0].getsockname()[1]
    command = ("-m", "livekit.agents", "console", "--connect-addr", f"127.0.0.1:{port}", example)
    with log.open("wb") as output:
        agent = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=output, stderr=output, start_new_session=True
        )
    try:
        user = await asyncio.wait_for(connected.get(), DEADLINE_S)
        async with contextlib.aclosing(user):
            yield user, psutil.Process(agent.pid)
            agent.terminate()
            await asyncio.wait_for(agent.wait(), DEADLINE_S)
    finally:
        server.close()
        if agent.returncode is None:
            agent.kill()
            await agent.wait()
