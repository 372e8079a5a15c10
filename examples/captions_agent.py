"""Live captions of a room: who speaks, and what is said, while it is being said.

    python examples/captions_agent.py dev

Every microphone gets a stream of its own, so people may talk at once. The captions go to everyone
as text streams of the topic `lk.transcription`, like those of LiveKit's own agents: a text replaces
those before it of the same segment, until one is final.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from livekit.agents import AgentServer, APIError, AutoSubscribe, JobContext, JobProcess, cli
from livekit.agents.stt import SpeechEventType
from livekit.agents.types import (
    ATTRIBUTE_TRANSCRIPTION_FINAL,
    ATTRIBUTE_TRANSCRIPTION_SEGMENT_ID,
    ATTRIBUTE_TRANSCRIPTION_TRACK_ID,
    TOPIC_TRANSCRIPTION,
)
from livekit.agents.utils import shortuuid

from livekit import rtc
from livekit.plugins import hark

logger = logging.getLogger("captions")


def prewarm(process: JobProcess) -> None:
    """Load the model before the first speaker waits for it."""
    process.userdata["stt"] = stt = hark.STT()
    stt.prewarm()


server = AgentServer(setup_fnc=prewarm)


@server.rtc_session()
async def caption_room(context: JobContext) -> None:
    stt = context.proc.userdata["stt"]
    microphones: dict[str, rtc.AudioStream] = {}
    tasks: set[asyncio.Task[None]] = set()

    def start(work: Coroutine[None, None, None]) -> None:
        tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(tasks.discard)

    @context.room.on("track_subscribed")
    def on_subscribed(
        track: rtc.Track, _: rtc.RemoteTrackPublication, speaker: rtc.RemoteParticipant
    ) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            audio = rtc.AudioStream.from_track(track=track, sample_rate=16_000, num_channels=1)
            microphones[track.sid] = audio
            start(listen(audio, stt, Captions(context.room, speaker.identity, track.sid)))

    @context.room.on("track_unsubscribed")
    def on_unsubscribed(track: rtc.Track, *_: object) -> None:
        # What was said until then is still recognised and shown.
        if audio := microphones.pop(track.sid, None):
            start(audio.aclose())

    @context.add_shutdown_callback
    async def stop() -> None:
        for task in tasks:
            task.cancel()

    await context.connect(auto_subscribe=AutoSubscribe.AUDIO_ONLY)


async def listen(audio: rtc.AudioStream, stt: hark.STT, captions: Captions) -> None:
    """Caption a microphone for as long as it is there, whatever becomes of the recogniser."""
    while True:
        try:
            await transcribe(audio, stt, captions)
            return
        except APIError as error:
            logger.warning("recognition failed, starting anew: %s", error)


async def transcribe(audio: rtc.AudioStream, stt: hark.STT, captions: Captions) -> None:
    async with stt.stream() as stream:

        async def feed() -> None:
            async for event in audio:
                stream.push_frame(event.frame)
            stream.end_input()

        feeding = asyncio.create_task(feed())
        try:
            async for event in stream:
                if event.type is SpeechEventType.START_OF_SPEECH:
                    captions.begin()
                elif event.alternatives:
                    is_final = event.type is SpeechEventType.FINAL_TRANSCRIPT
                    await captions.show(event.alternatives[0].text, is_final=is_final)
        finally:
            feeding.cancel()


class Captions:
    """What one microphone says, shown to the room."""

    def __init__(self, room: rtc.Room, speaker: str, track_sid: str) -> None:
        self._room = room
        self._speaker = speaker
        self._track_sid = track_sid
        self._segment = ""

    def begin(self) -> None:
        """Start a segment: what is shown next does not replace what was shown before."""
        self._segment = shortuuid("SG_")

    async def show(self, text: str, *, is_final: bool) -> None:
        writer = await self._room.local_participant.stream_text(
            topic=TOPIC_TRANSCRIPTION,
            sender_identity=self._speaker,
            attributes={
                ATTRIBUTE_TRANSCRIPTION_SEGMENT_ID: self._segment,
                ATTRIBUTE_TRANSCRIPTION_TRACK_ID: self._track_sid,
                ATTRIBUTE_TRANSCRIPTION_FINAL: "true" if is_final else "false",
            },
        )
        await writer.write(text)
        await writer.aclose()


if __name__ == "__main__":
    cli.run_app(server)
