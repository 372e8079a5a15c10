"""A call: a room, an agent sent to it, people who talk and one who reads along."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from types import TracebackType

from livekit.agents.types import ATTRIBUTE_AGENT_STATE

from livekit import api, rtc

from .captions import Captions
from .livekit_server import API_KEY, API_SECRET, LiveKitServer
from .loudspeaker import Loudspeaker
from .microphone import Microphone

AGENT_TIMEOUT_S = 45.0
"""Longest time until an agent is there and ready, on a busy machine and with a cold start."""

DISPATCH_TIMEOUT_S = 8.0


class Caller:
    """A participant with a microphone."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.microphone = Microphone()
        self.loudspeaker = Loudspeaker()
        self.room = rtc.Room()
        self.agent_states: list[str] = []
        self._changed = asyncio.Event()
        self.room.on("participant_attributes_changed", self._on_attributes)
        self.room.on("track_subscribed", self._on_track)

    async def join(self, url: str, room: str) -> None:
        await self.room.connect(url, token(self.identity, room))
        self._publication = await self.room.local_participant.publish_track(
            self.microphone.track,
            rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE),
        )
        self.microphone.switch_on()

    async def is_heard(self) -> None:
        """Wait until somebody has subscribed to the microphone."""
        await asyncio.wait_for(self._publication.wait_for_subscription(), AGENT_TIMEOUT_S)

    async def until_agent_is(self, state: str, *, timeout_s: float = AGENT_TIMEOUT_S) -> None:
        """Wait for a state of LiveKit's agent: initializing, listening, thinking, speaking."""

        async def wait() -> None:
            while not self.agent_states or self.agent_states[-1] != state:
                self._changed.clear()
                await self._changed.wait()

        try:
            await asyncio.wait_for(wait(), timeout_s)
        except asyncio.TimeoutError:
            raise AssertionError(f"the agent is not {state}: {self.agent_states}") from None

    async def leave(self) -> None:
        """Hang up. Idempotent."""
        await self.loudspeaker.aclose()
        await self.microphone.aclose()
        await self.room.disconnect()

    def _on_attributes(self, changed: dict[str, str], participant: rtc.Participant) -> None:
        if ATTRIBUTE_AGENT_STATE in changed:
            self.agent_states.append(changed[ATTRIBUTE_AGENT_STATE])
            self._changed.set()

    def _on_track(
        self, track: rtc.Track, _: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT:
            self.loudspeaker.play(track)


class Call:
    """A room with callers, a reader whom the agent does not see, and an agent.

    ```python
    async with Call(livekit, agent="voice") as call:
        await call.caller.microphone.say(TIMES)
        await call.captions.until(...)
    ```
    """

    def __init__(self, server: LiveKitServer, *, agent: str, callers: tuple[str, ...]) -> None:
        self.callers = [Caller(identity) for identity in callers]
        self.room = f"room-{uuid.uuid4().hex[:8]}"
        self._server = server
        self._agent = agent
        self._reader = rtc.Room()
        self.captions = Captions(self._reader)

    @property
    def caller(self) -> Caller:
        return self.callers[0]

    async def __aenter__(self) -> Call:
        try:
            await self._reader.connect(self._server.url, token("reader", self.room, is_hidden=True))
            joining = (caller.join(self._server.url, self.room) for caller in self.callers)
            await asyncio.gather(*joining)
            await self._fetch_agent()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def agent_identity(self) -> str:
        """The identity of the agent in the room."""
        return next(
            participant.identity
            for participant in self._reader.remote_participants.values()
            if participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        )

    async def is_greeted(self) -> None:
        """Wait until the agent has said its first words, and listens again.

        What callers say before is lost in part: see `aec_warmup_duration` in examples/README.md.
        """
        agent = self.agent_identity
        await self.captions.until(
            lambda: bool(self.captions.finals(agent)), timeout_s=AGENT_TIMEOUT_S
        )
        await asyncio.gather(*(caller.until_agent_is("listening") for caller in self.callers))

    async def aclose(self) -> None:
        await asyncio.gather(*(caller.leave() for caller in self.callers))
        await self._reader.disconnect()
        # LiveKit keeps an empty room for a while, and the agent's job as long as the room.
        async with self._api() as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=self.room))

    async def _fetch_agent(self) -> None:
        """Dispatch the agent until it comes: LiveKit sends none while the machine is all busy."""
        request = api.CreateAgentDispatchRequest(agent_name=self._agent, room=self.room)
        deadline = time.monotonic() + AGENT_TIMEOUT_S
        async with self._api() as livekit:
            while True:
                dispatch = await livekit.agent_dispatch.create_dispatch(request)
                try:
                    await self._until_reader_sees(self._has_agent, DISPATCH_TIMEOUT_S)
                    return
                except asyncio.TimeoutError:
                    assert time.monotonic() < deadline, f"no agent came to {self.room}"
                    await livekit.agent_dispatch.delete_dispatch(dispatch.id, self.room)

    def _api(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(self._server.http_url, API_KEY, API_SECRET)

    def _has_agent(self) -> bool:
        return any(
            participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
            for participant in self._reader.remote_participants.values()
        )

    async def _until_reader_sees(self, is_there: Callable[[], bool], timeout_s: float) -> None:
        changed = asyncio.Event()

        def on_change(_: rtc.RemoteParticipant) -> None:
            changed.set()

        async def wait() -> None:
            while not is_there():
                changed.clear()
                await changed.wait()

        self._reader.on("participant_connected", on_change)
        try:
            await asyncio.wait_for(wait(), timeout_s)
        finally:
            self._reader.off("participant_connected", on_change)


def token(identity: str, room: str, *, is_hidden: bool = False) -> str:
    """A pass to a room."""
    grants = api.VideoGrants(room_join=True, room=room, hidden=is_hidden)
    return api.AccessToken(API_KEY, API_SECRET).with_identity(identity).with_grants(grants).to_jwt()
