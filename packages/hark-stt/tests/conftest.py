"""What the tests of the recogniser share: real speech, loaded models, and a client to talk to."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import pytest_asyncio
import soundfile
import soxr
from hypothesis import settings

from hark.audio import SAMPLE_RATE, PcmArray
from hark.engines.pool import ModelPool
from hark.engines.smart_turn import SmartTurn, smart_turn
from hark.session import Models, Session
from hark.vad import Memory
from hark_protocol import (
    PROTOCOL_VERSION,
    Audio,
    ClientMessage,
    Close,
    Closed,
    Config,
    Connection,
    Error,
    Final,
    Role,
    ServerMessage,
)

_M = TypeVar("_M")

# A test on real speech takes as long as the machine is busy.
settings.register_profile("hark", deadline=None)
settings.load_profile("hark")

DEADLINE_S = 30.0
"""Nothing here takes as long, so a wait that does is a hang."""


def _asset(name: str) -> Path:
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets" / name


@pytest.fixture(scope="session")
def recording_path() -> Path:
    """A man reads the beginning of "A Tale of Two Cities": 44 s, mono, 48 kHz."""
    return _asset("two_cities.wav")


@pytest.fixture(scope="session")
def speech_at() -> Callable[[int], PcmArray]:
    """Give the first 13.2 s of the recording, three utterances, at any sample rate in Hz."""
    samples, rate = soundfile.read(_asset("two_cities.wav"), dtype="float32")
    excerpt = samples[: int(13.2 * rate)]

    def at(sample_rate: int) -> PcmArray:
        return (soxr.resample(excerpt, rate, sample_rate) * 32767).astype("int16")

    return at


@pytest.fixture(scope="session")
def speech(speech_at: Callable[[int], PcmArray]) -> PcmArray:
    """The same at 16 kHz."""
    return speech_at(SAMPLE_RATE)


def _started(models: tuple[str, ...], workers: int) -> Iterator[ModelPool]:
    pool = ModelPool(models, workers=workers, kind="thread")
    pool.start()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def pool() -> Iterator[ModelPool]:
    """The default model, on two workers."""
    yield from _started(("moonshine-tiny-en",), 2)


@pytest.fixture(scope="session")
def fake_pool() -> Iterator[ModelPool]:
    """The model that counts, with everything that a model can have, on two workers."""
    yield from _started(("fake",), 2)


@pytest.fixture(scope="session")
def end_of_turn() -> Iterator[SmartTurn]:
    """The real end-of-turn model, from where `make venv` puts it, or the user's own download."""
    installed = str(Path(sys.prefix, "models"))
    sys.path.append(installed)
    yield smart_turn()
    sys.path.remove(installed)


class Client:
    """Talks to a session as a transport does, and holds both sides to the protocol."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.messages: list[ServerMessage] = []
        self._near = Connection(Role.CLIENT)
        self._far = Connection(Role.SERVER)
        self._came = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._came.set())

    async def _read(self) -> None:
        async for message in self.session:
            self.messages.append(self._near.receive(self._far.send(message)))
            self._came.set()

    async def send(self, message: ClientMessage) -> None:
        """Send a message; return when the session takes the next."""
        received = self._far.receive(self._near.send(message))
        await asyncio.wait_for(self.session.receive(received), DEADLINE_S)

    async def configure(self, **fields: Any) -> None:
        """Send the first config."""
        await self.send(Config(version=PROTOCOL_VERSION, **fields))

    async def say(self, samples: PcmArray, chunk: int = 1_600) -> None:
        """Send audio as fast as it is taken, so many samples at a time."""
        for i in range(0, len(samples), chunk):
            await self.send(Audio(samples[i : i + chunk].tobytes()))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read on until this is so."""

        async def wait() -> None:
            while not condition():
                self._came.clear()
                if self._reading.done():
                    self._reading.result()
                    raise AssertionError(f"the session ended with {self.messages[-1:]}")
                await self._came.wait()

        await asyncio.wait_for(wait(), DEADLINE_S)

    async def until_over(self) -> None:
        """Read to the end."""
        await asyncio.wait_for(self._reading, DEADLINE_S)

    async def hang_up(self) -> None:
        """Say that no more will come, and read to the end, which must be a good one."""
        await self.send(Close())
        await self.until_over()
        assert self.messages[-1] == Closed()

    async def aclose(self) -> None:
        """End the session, whatever it is doing."""
        await self.session.aclose()
        await self.until_over()

    def of(self, kind: type[_M]) -> list[_M]:
        """The messages of one kind so far."""
        return [message for message in self.messages if isinstance(message, kind)]

    @property
    def transcripts(self) -> list[tuple[int, int, str]]:
        """Start, end and text of all finals so far."""
        return [(final.start, final.end, final.text) for final in self.of(Final)]

    @property
    def error(self) -> Error:
        """The error that the session ended with."""
        message = self.messages[-1]
        assert isinstance(message, Error)
        return message

    @property
    def finalized(self) -> int:
        """As last reported: where a new session would go on."""
        return self._near.finalized

    @property
    def context(self) -> int:
        """As last reported: from where on audio helps a new session."""
        return self._near.context


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Callable[..., Client]]:
    """Open sessions; they are closed after the test, and must leave no decodes behind."""
    clients: list[Client] = []
    pools: list[ModelPool] = []

    def open_one(models: Models, *args: Any, **kwargs: Any) -> Client:
        if isinstance(models, ModelPool):
            pools.append(models)
        clients.append(Client(Session(models, *args, **kwargs)))
        return clients[-1]

    yield open_one
    for client in clients:
        await client.aclose()
    for scheduler in (scheduler for pool in pools for scheduler in pool.schedulers):
        assert not scheduler._streams
        assert scheduler.waiting == 0


class LoudnessDetector:
    """Hears speech in each window that is not all zeros. Satisfies `SpeechDetector`.

    Of a stream it remembers how many windows it has heard.
    """

    def __init__(self) -> None:
        self.unheard: Memory = np.zeros(1, np.float32)
        self.afresh = 0
        """How many windows were the first of their streams."""

    def score(self, windows: PcmArray, memories: Memory) -> tuple[Memory, Memory]:
        """See `SpeechDetector.score`."""
        self.afresh += int((memories == 0).sum())
        return windows.any(axis=1).astype(np.float32), memories + 1


@pytest.fixture(scope="session")
def loudness_detector() -> type[LoudnessDetector]:
    """A detector for tests that are not about detecting."""
    return LoudnessDetector


class GuessingModel:
    """Thinks something else of all audio that differs. Satisfies `EndOfTurnModel`."""

    def __init__(self) -> None:
        self.heard: list[PcmArray] = []

    def finished(self, audio: PcmArray) -> float:
        """See `EndOfTurnModel.finished`."""
        self.heard.append(audio)
        return zlib.crc32(audio.tobytes()) / 2**32


@pytest.fixture
def guess() -> GuessingModel:
    """An end-of-turn model that nobody gets the same from by chance."""
    return GuessingModel()
