"""Tests of hark.embedded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hark import embedded
from hark.embedded import Embedded
from hark.engines.fake import FakeRecognizer
from hark.engines.pool import ModelPool
from hark.errors import ClosedError, ModelFileError, ModelNotFoundError, WorkerError
from hark.session import Session
from hark_protocol import Audio, Close, Config, Final

DEADLINE_S = 20

Load = Callable[[str], FakeRecognizer]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(embedded, "_shared", {})  # other tests of this process may hold a share
    before = set(threading.enumerate())
    yield
    assert embedded._shared == {}
    deadline = time.monotonic() + DEADLINE_S
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(("hark-worker", "hark-load", "hark-unload", "hark-start")):
            thread.join(deadline - time.monotonic())
            assert not thread.is_alive()


@pytest.fixture
def load_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Load], None]:
    """Load models in another way."""
    return lambda load: monkeypatch.setattr("hark.engines.pool.load", load)


def _acquire(model: str = "fake") -> Embedded:
    return Embedded.acquire(model, kind="thread")


def _wait_until_closed(pool: ModelPool) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while pool.is_ready:
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def _say(session: Session) -> list[str]:
    """The finals of a second of sound."""
    await session.receive(Config(version=1))
    await session.receive(Audio(np.zeros(16_000, np.int16).tobytes()))
    await session.receive(Close())
    return [message.text async for message in session if isinstance(message, Final)]


async def test_a_session_is_opened_once_the_model_is_loaded() -> None:
    share = _acquire()
    session = await share.open_session()
    assert await _say(session) == []
    assert session.model == "fake"
    share.release()


async def test_the_default_model_runs_in_a_process_of_its_own() -> None:
    share = Embedded.acquire()
    session = await share.open_session()
    await session.receive(Config(version=1))
    assert session.model == "moonshine-tiny-en"
    await session.aclose()
    share.release()


async def test_all_callers_share_one_pool() -> None:
    one, other = _acquire(), _acquire()
    assert await one.pool() is await other.pool()
    one.release()
    other.release()


async def test_other_settings_get_another_pool() -> None:
    one, other = _acquire(), Embedded.acquire("fake", workers=2, kind="thread")
    assert await one.pool() is not await other.pool()
    one.release()
    other.release()


async def test_the_last_one_out_closes_the_pool() -> None:
    one, other = _acquire(), _acquire()
    pool = await one.pool()
    one.release()
    one.release()
    assert pool.is_ready
    assert await other.pool() is pool
    other.release()
    _wait_until_closed(pool)


async def test_who_comes_after_the_last_one_gets_a_new_pool() -> None:
    one = _acquire()
    pool = await one.pool()
    one.release()
    other = _acquire()
    assert await other.pool() is not pool
    other.release()


async def test_a_released_share_is_of_no_more_use() -> None:
    share = _acquire()
    share.release()
    with pytest.raises(ClosedError):
        await share.open_session()
    with pytest.raises(ClosedError):
        share.prewarm()


async def test_acquiring_loads_nothing_and_prewarming_does(load_with: Callable[..., None]) -> None:
    loading = threading.Event()

    def load(name: str) -> FakeRecognizer:
        loading.set()
        return FakeRecognizer()

    load_with(load)
    share = _acquire()
    assert not loading.is_set()
    share.prewarm()
    assert await asyncio.to_thread(loading.wait, DEADLINE_S)
    await share.pool()
    share.release()


async def test_a_load_that_failed_is_tried_again(load_with: Callable[..., None]) -> None:
    attempts = 0

    def load(name: str) -> FakeRecognizer:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ModelFileError("the disk is away")
        return FakeRecognizer()

    load_with(load)
    share = _acquire()
    for _ in range(2):
        with pytest.raises(ModelFileError, match="the disk is away"):
            await share.open_session()
    session = await share.open_session()
    assert await _say(session) == []
    assert attempts == 3
    share.release()


async def test_a_model_that_is_not_there_is_told_to_all_who_wait() -> None:
    one, other = _acquire("no-such-model"), _acquire("no-such-model")
    results = await asyncio.gather(one.open_session(), other.open_session(), return_exceptions=True)
    assert [type(result) for result in results] == [ModelNotFoundError] * 2
    one.release()
    other.release()


class _SlowLoad:
    """Loads when it is let, and counts."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.gate = threading.Event()
        self.count = 0

    def __call__(self, name: str) -> FakeRecognizer:
        self.count += 1
        self.started.set()
        assert self.gate.wait(DEADLINE_S)
        return FakeRecognizer()


async def test_cancelling_one_who_waits_disturbs_nobody(load_with: Callable[..., None]) -> None:
    load = _SlowLoad()
    load_with(load)
    share = _acquire()
    impatient = asyncio.create_task(share.open_session())
    patient = asyncio.create_task(share.open_session())
    await asyncio.to_thread(load.started.wait, DEADLINE_S)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    load.gate.set()
    assert await _say(await patient) == []
    assert load.count == 1
    share.release()


async def test_a_share_released_while_it_loads_leaves_nothing(
    load_with: Callable[..., None],
) -> None:
    load = _SlowLoad()
    load_with(load)
    share = _acquire()
    waiting = asyncio.create_task(share.open_session())
    await asyncio.to_thread(load.started.wait, DEADLINE_S)
    share.release()
    load.gate.set()
    with pytest.raises((ClosedError, WorkerError)):
        await asyncio.wait_for(waiting, DEADLINE_S)


def test_two_event_loops_share_one_pool() -> None:
    shares = [_acquire(), _acquire()]
    pools: list[ModelPool] = []
    texts: list[list[str]] = []

    async def use(share: Embedded) -> None:
        pools.append(await share.pool())
        texts.append(await _say(await share.open_session()))

    threads = [threading.Thread(target=lambda s=s: asyncio.run(use(s))) for s in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert texts == [[], []]
    assert pools[0] is pools[1]
    for share in shares:
        share.release()


def test_an_event_loop_may_end_while_it_waits(load_with: Callable[..., None]) -> None:
    load = _SlowLoad()
    load_with(load)
    share = _acquire()

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(share.open_session(), 0.01)

    asyncio.run(give_up())
    load.gate.set()
    assert asyncio.run(share.pool()).is_ready
    share.release()


def test_many_threads_may_acquire_and_release() -> None:
    def use() -> None:
        for _ in range(20):
            share = _acquire()
            releases = [threading.Thread(target=share.release) for _ in range(2)]
            for thread in releases:
                thread.start()
            for thread in releases:
                thread.join()

    keeper = _acquire()
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [shared.users for shared in embedded._shared.values()] == [1]
    assert asyncio.run(keeper.pool()).is_ready
    keeper.release()
