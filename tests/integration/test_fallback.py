"""LiveKit's fallback from a server that is not there to the recogniser in this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from hearing.recordings import beckett, frame, frames, two_sentences
from hearing.transcripts import Listener, hear, texts, until, words
from livekit.agents.stt import AvailabilityChangedEvent, FallbackAdapter

from livekit.plugins import hark


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a server at which nothing listens."""
    with socket.socket() as bound:  # but not listening, so that nobody else can
        bound.bind(("127.0.0.1", 0))
        yield f"ws://127.0.0.1:{bound.getsockname()[1]}/ws/transcribe"


@pytest.fixture
async def adapter(nobody: str, embedded: hark.STT) -> AsyncIterator[FallbackAdapter]:
    async with hark.STT(api_url=nobody) as unreachable:
        adapter = FallbackAdapter([unreachable, embedded], retry_interval=0.1)
        yield adapter
        await adapter.aclose()


async def test_a_stream_goes_on_in_process_when_the_server_is_unreachable(
    adapter: FallbackAdapter, embedded: hark.STT
) -> None:
    changes: list[AvailabilityChangedEvent] = []
    adapter.on("stt_availability_changed", changes.append)
    expected = texts(await hear(embedded.stream(), frames(beckett())))
    async with adapter.stream() as stream:
        listener = Listener(stream)
        await until(lambda: len(changes) > 0)
        for pushed in frames(beckett()):
            stream.push_frame(pushed)
        stream.end_input()
        assert texts(await listener.end()) == expected
    assert [change.available for change in changes] == [False]


async def test_a_recording_is_recognised_in_process_when_the_server_is_unreachable(
    adapter: FallbackAdapter,
) -> None:
    event = await adapter.recognize(frame(two_sentences()))
    assert words(event.alternatives[0].text) == ["ever", "tried", "ever", "failed"]
