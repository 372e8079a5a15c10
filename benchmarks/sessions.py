"""Many recordings through Hark, as fast as its workers take them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from msgspec import UNSET, UnsetType
from rich.console import Console
from rich.progress import Progress

from hark.audio import SAMPLE_RATE, PcmArray
from hark.engines.pool import ModelPool
from hark.session import Models, Session
from hark_protocol import PROTOCOL_VERSION, Audio, Close, Config, Endpointing, Error, Final

CHUNK = SAMPLE_RATE // 10
"""Samples in a message: 100 ms. By invariant 1 of ARCHITECTURE.md any other gives the same."""

_AT_A_TIME = 4
"""Recordings under way for each worker, so that none waits for voice activity detection."""

_T = TypeVar("_T")
_R = TypeVar("_R")

console = Console(stderr=True)


@contextmanager
def started(model: str, workers: int) -> Iterator[ModelPool]:
    """A model on so many worker processes."""
    pool = ModelPool([model], workers=workers)
    with console.status(f"loading {model}"):
        pool.start()
    try:
        yield pool
    finally:
        pool.close()


async def stream(
    models: Models, samples: PcmArray, endpointing: Endpointing | UnsetType = UNSET
) -> list[Final]:
    """Feed a recording to a session without waiting for real time; give its finals.

    Interims are not asked for: they change no final (invariant 1).
    """
    config = Config(version=PROTOCOL_VERSION, interim_results=False, endpointing=endpointing)
    session = Session(models)

    async def feed() -> None:
        await session.receive(config)
        for i in range(0, len(samples), CHUNK):
            await session.receive(Audio(samples[i : i + CHUNK].tobytes()))
        await session.receive(Close())

    feeding = asyncio.create_task(feed())
    finals = []
    try:
        async for message in session:
            if isinstance(message, Error):
                raise RuntimeError(message.message)
            if isinstance(message, Final):
                finals.append(message)
        await feeding
    finally:
        feeding.cancel()
        await session.aclose()
    return finals


async def for_each(
    items: Sequence[_T], work: Callable[[_T], Awaitable[_R]], *, workers: int, what: str
) -> list[_R]:
    """Do the work on each item, several at a time; the results are in the order of the items."""
    room = asyncio.Semaphore(workers * _AT_A_TIME)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(what, total=len(items))

        async def do(item: _T) -> _R:
            async with room:
                result = await work(item)
            progress.advance(task)
            return result

        return list(await asyncio.gather(*map(do, items)))
