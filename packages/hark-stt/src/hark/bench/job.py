"""What a player process is told, and what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from hark.bench.step import Step

_LENGTH_BYTES = 4


class Recordings(msgspec.Struct, frozen=True):
    """Which recordings are played: a set of a folder's manifest, or files."""

    folder: str | None = None
    set_name: str | None = None
    files: tuple[str, ...] = ()


class Options(msgspec.Struct, frozen=True):
    """How a contestant is set up. Those that are no concern of its are left alone.

    Attributes:
        silence_ms: silence that ends an utterance.
        url: of the streams of a running Hark server; None to start one.
        api_key: for that server.
        model: of Hark.
        workers: of Hark.
    """

    silence_ms: int
    url: str | None = None
    api_key: str | None = None
    model: str | None = None
    workers: int | None = None


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """The first command: start this contestant, and read what is to be played."""

    contestant: str
    options: Options
    recordings: Recordings
    seconds: float
    chunk_ms: int
    seed: int


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run a step."""

    streams: int


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Prepare`."""

    settings: Mapping[str, str]


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How much of a step is done, 0 to 1."""

    part: float


class Done(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Run`."""

    step: Step


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The answer to either: why it cannot be done."""

    reason: str


Command = Prepare | Run
Answer = Ready | Progress | Done | Failed

commands = msgspec.msgpack.Decoder(Command)
answers = msgspec.msgpack.Decoder(Answer)


def frame(message: Command | Answer) -> bytes:
    """A message as it goes through a pipe: MessagePack after its length."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(_LENGTH_BYTES, "little") + data


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message; None at the end of the pipe. When cancelled, the pipe is useless."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "little")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
