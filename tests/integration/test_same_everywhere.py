"""The same audio gives the same, wherever it is recognised and however it is cut up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hearing.recordings import RATE, at_rate, beckett, frames, frames_of
from hearing.transcripts import FINAL, assert_in_order, hear, of_kind, told, usage_s

from hark.embedded import Embedded
from hark_protocol import PROTOCOL_VERSION, Audio, Close, Config, Final
from livekit.plugins import hark


@pytest.mark.parametrize("rate", [8_000, RATE, 48_000])
async def test_in_process_and_served_a_stream_gives_the_same_events(
    embedded: hark.STT, served: hark.STT, rate: int
) -> None:
    for stt in (embedded, served):
        stt.update_options(interim_results=False)  # those depend on how fast decoding is
    pushed = frames(at_rate(beckett(), rate), rate=rate)
    ours, theirs = await asyncio.gather(
        hear(embedded.stream(), pushed), hear(served.stream(), pushed)
    )
    assert told(ours) == told(theirs)
    assert usage_s(ours) == usage_s(theirs)
    assert_in_order(ours)
    assert len(of_kind(ours, FINAL)) > 1


async def raw_finals(loaded: Embedded, samples: np.ndarray) -> list[tuple[float, float, str]]:
    """What the session itself says, without the plugin."""
    session = await loaded.open_session()

    async def feed() -> None:
        await session.receive(Config(version=PROTOCOL_VERSION))
        await session.receive(Audio(samples.tobytes()))
        await session.receive(Close())

    feeding = asyncio.create_task(feed())
    finals = [message async for message in session if isinstance(message, Final)]
    await feeding
    return [(final.start / RATE, final.end / RATE, final.text) for final in finals]


def odd_sizes(length: int) -> list[int]:
    rng = np.random.default_rng(7)
    cuts = np.unique(rng.integers(1, length, size=150))
    return np.diff([0, *cuts, length]).tolist()


def equal_sizes(size: int, length: int) -> list[int]:
    return [size] * (length // size) + ([length % size] if length % size else [])


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(equal_sizes(RATE // 100, len(beckett())), id="10 ms"),
        pytest.param(equal_sizes(RATE // 10, len(beckett())), id="100 ms"),
        pytest.param(equal_sizes(997, len(beckett())), id="997 samples"),
        pytest.param(odd_sizes(len(beckett())), id="odd sizes"),
        pytest.param([len(beckett())], id="all at once"),
    ],
)
async def test_the_plugin_gives_the_finals_of_the_session_whatever_the_frames(
    stt: hark.STT, loaded: Embedded, sizes: Sequence[int]
) -> None:
    samples = beckett()
    events = await hear(stt.stream(), frames_of(samples, sizes))
    finals = [event.alternatives[0] for event in of_kind(events, FINAL)]
    assert [(f.start_time, f.end_time, f.text) for f in finals] == await raw_finals(loaded, samples)
