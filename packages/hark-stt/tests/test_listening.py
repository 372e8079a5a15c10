"""Tests of hark.listening, with real threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.ear import Ear
from hark.endpointing import SpeechStarted
from hark.errors import ClosedError
from hark.listening import Listener, listen
from hark.vad import WINDOW, Memory, silero_model

DEADLINE_S = 30
FOREVER_S = 60.0
"""A round that waited for this would fail any test here."""

SOUND = np.ones(WINDOW, np.int16)


class _Gate:
    """Keeps whoever hears in its thread until it is opened; notes how many come at once.

    Satisfies `SpeechDetector`.
    """

    unheard = np.zeros(0, np.float32)

    def __init__(self) -> None:
        self.entered, self.may_go_on = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def score(self, windows: PcmArray, memories: Memory) -> tuple[Memory, Memory]:
        self.sizes.append(len(windows))
        self.entered.set()
        assert self.may_go_on.wait(DEADLINE_S)
        return np.zeros(len(windows), np.float32), memories


@pytest.fixture
def gate() -> Any:
    one = _Gate()
    one.may_go_on.set()
    return one


def _patient() -> Listener:
    return Listener(each_s=FOREVER_S, most_s=FOREVER_S, back_s=FOREVER_S)


async def _add(listener: Listener, *ears: Ear) -> list[Any]:
    """Begin to hear; gives futures of what comes of it."""
    waiting = [asyncio.ensure_future(listener.hear(ear.hearing(SOUND))) for ear in ears]
    await asyncio.sleep(0)
    return waiting


async def _heard(waiting: list[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE_S)


async def _wait(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, DEADLINE_S)


def _ears(detector: Any, count: int) -> list[Ear]:
    return [Ear(16_000, detector) for _ in range(count)]


async def test_a_single_stream_never_waits(gate: _Gate) -> None:
    listener, (ear,) = _patient(), _ears(gate, 1)
    for _ in range(100):
        assert await _heard(await _add(listener, ear)) == [[]]
    assert gate.sizes == [1] * 100


async def test_those_who_come_one_by_one_are_heard_side_by_side(gate: _Gate) -> None:
    listener, (first, *others) = _patient(), _ears(gate, 5)
    await _heard(await _add(listener, first))
    waiting = [events for ear in others for events in await _add(listener, ear)]
    assert not any(events.done() for events in waiting)
    waiting += await _add(listener, first)  # nobody is worth waiting for any more
    assert await _heard(waiting) == [[]] * 5
    assert gate.sizes == [1, 5]


async def test_the_more_streams_there_are_the_longer_a_round_may_gather(
    gate: _Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.listening.LATELY_S", FOREVER_S)
    each_s = 0.02
    listener, ears = Listener(each_s=each_s, most_s=FOREVER_S, back_s=FOREVER_S), _ears(gate, 6)
    for ear in ears:  # rounds of one each, further and further apart
        started = time.monotonic()
        await _heard(await _add(listener, ear))
    await _heard(await _add(listener, ears[0]))
    assert time.monotonic() - started >= len(ears) * each_s


async def test_streams_that_are_sent_as_fast_as_they_are_heard_never_wait(gate: _Gate) -> None:
    listener, (first, *others) = _patient(), _ears(gate, 6)
    gate.may_go_on.clear()

    async def stream(ear: Ear, rounds: int) -> None:
        for _ in range(rounds):
            assert await listener.hear(ear.hearing(SOUND)) == []

    streams = [asyncio.ensure_future(stream(first, 101))]
    await _wait(gate.entered)
    streams += [asyncio.ensure_future(stream(ear, 100)) for ear in others]
    await asyncio.sleep(0)
    gate.may_go_on.set()
    await _heard(streams)
    assert gate.sizes == [1, *[6] * 100]


async def test_one_who_is_back_early_does_not_wait_for_those_who_come_late(gate: _Gate) -> None:
    listener, ears = Listener(each_s=FOREVER_S, most_s=FOREVER_S, back_s=0.001), _ears(gate, 6)
    gate.may_go_on.clear()
    waiting = await _add(listener, ears[0])
    await _wait(gate.entered)
    waiting += await _add(listener, *ears[1:])
    waiting += await _add(listener, ears[0])
    gate.may_go_on.set()
    assert await _heard(waiting) == [[]] * 7
    for _ in range(50):
        assert await _heard(await _add(listener, ears[0])) == [[]]


class _Careless(_Gate):
    """Forgets the last of those it should score."""

    def score(self, windows: PcmArray, memories: Memory) -> tuple[Memory, Memory]:
        return np.zeros(len(windows) - 1, np.float32), memories


async def test_a_detector_that_answers_nonsense_ends_its_own_streams_only(gate: _Gate) -> None:
    listener = Listener()
    with pytest.raises(ValueError, match="shorter"):
        await _heard(await _add(listener, *_ears(_Careless(), 1)))
    assert await _heard(await _add(listener, *_ears(gate, 1))) == [[]]


async def test_a_thread_that_does_not_start_is_tried_again(
    gate: _Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    listener, (ear,) = Listener(), _ears(gate, 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            await _heard(await _add(listener, ear))
    assert await _heard(await _add(listener, ear)) == [[]]


async def test_nobody_waits_long_for_one_who_does_not_come(gate: _Gate) -> None:
    listener = Listener(each_s=0.05, most_s=0.05)
    for ear in _ears(gate, 5):
        assert await _heard(await _add(listener, ear)) == [[]]


async def test_what_is_cancelled_while_it_waits_holds_nobody_up(gate: _Gate) -> None:
    listener, (first, cancelled, other) = _patient(), _ears(gate, 3)
    await _heard(await _add(listener, first))
    given_up, *waiting = await _add(listener, cancelled, other)
    given_up.cancel()
    await asyncio.sleep(0)
    waiting += await _add(listener, first)
    assert await _heard(waiting) == [[], []]
    assert cancelled.audio.end == 0
    # Whoever was cancelled counts as heard; it is the last round's others that come again.
    assert await _heard(await _add(listener, first, other, cancelled)) == [[]] * 3


async def test_who_is_cancelled_while_he_is_heard_leaves_the_thread_in_order(gate: _Gate) -> None:
    listener, (cancelled, other) = Listener(), _ears(gate, 2)
    gate.may_go_on.clear()
    (given_up,) = await _add(listener, cancelled)
    await _wait(gate.entered)
    given_up.cancel()
    waiting = await _add(listener, other)
    gate.may_go_on.set()
    assert await _heard(waiting) == [[]]
    with pytest.raises(asyncio.CancelledError):
        await given_up


def test_an_event_loop_that_closes_meanwhile_leaves_the_thread_in_order(gate: _Gate) -> None:
    listener, ears = Listener(), _ears(gate, 2)
    gate.may_go_on.clear()

    async def give_up() -> None:
        await _add(listener, ears[0])
        await _wait(gate.entered)

    async def go_on() -> list[Any]:
        waiting = await _add(listener, ears[1])
        gate.may_go_on.set()
        return await _heard(waiting)

    asyncio.run(give_up())
    assert asyncio.run(go_on()) == [[]]


def test_event_loops_in_several_threads_hear_what_they_would_alone(speech: PcmArray) -> None:
    async def hear(start: int) -> list[Any]:
        ear = Ear(16_000, silero_model())
        parts = [speech[i : i + 800] for i in range(start, len(speech), 800)]
        events = [e for part in parts for e in await listen(ear.hearing(part))]
        return [*events, *await listen(ear.closing())]

    async def hear_all(starts: range) -> list[list[Any]]:
        return await asyncio.gather(*map(hear, starts))

    starts = [range(i, 100_000, 30_000) for i in (0, 7_000, 15_000)]
    with ThreadPoolExecutor(len(starts)) as threads:
        heard = list(threads.map(lambda some: asyncio.run(hear_all(some)), starts))
    for some, streams in zip(starts, heard, strict=True):
        for start, events in zip(some, streams, strict=True):
            ear = Ear(16_000, silero_model())
            assert any(isinstance(event, SpeechStarted) for event in events)
            assert events == [*ear.push(speech[start:]), *ear.flush()]


async def test_a_closed_listener_has_heard_what_waited_and_hears_no_more(gate: _Gate) -> None:
    listener, (first, other) = _patient(), _ears(gate, 2)
    await _heard(await _add(listener, first))
    waiting = await _add(listener, other)
    listener.close()
    listener.close()
    assert await _heard(waiting) == [[]]
    with pytest.raises(ClosedError):
        await _heard(await _add(listener, first))
    Listener().close()


AT_EXIT = """
import asyncio
import numpy as np
from hark.ear import Ear
from hark.listening import listen
from hark.vad import silero_model

async def main():
    ears = [Ear(16_000, silero_model()) for _ in range(20)]
    hearings = [ear.hearing(np.zeros(16_000, np.int16)) for ear in ears]
    waiting = [asyncio.ensure_future(listen(hearing)) for hearing in hearings]
    await asyncio.sleep(0)

asyncio.run(main())
"""


def test_an_interpreter_that_exits_meanwhile_does_not_hang() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
