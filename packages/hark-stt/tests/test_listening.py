"""Tests of hark.listening, with real threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
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


def _add(listener: Listener, *ears: Ear) -> list[Any]:
    hearings = [ear.hearing(SOUND) for ear in ears]
    for hearing in hearings:
        listener.add(hearing)
    return [hearing.events for hearing in hearings]


def _ears(detector: Any, count: int) -> list[Ear]:
    return [Ear(16_000, detector) for _ in range(count)]


def test_a_single_stream_never_waits(gate: _Gate) -> None:
    listener, (ear,) = _patient(), _ears(gate, 1)
    for _ in range(100):
        (events,) = _add(listener, ear)
        assert events.result(DEADLINE_S) == []
    assert gate.sizes == [1] * 100


def test_those_who_come_one_by_one_are_heard_side_by_side(gate: _Gate) -> None:
    listener, (first, *others) = _patient(), _ears(gate, 5)
    _add(listener, first)[0].result(DEADLINE_S)
    waiting = [events for ear in others for events in _add(listener, ear)]
    assert not any(events.done() for events in waiting)
    waiting += _add(listener, first)  # nobody is worth waiting for any more
    assert [events.result(DEADLINE_S) for events in waiting] == [[]] * 5
    assert gate.sizes == [1, 5]


def test_streams_that_are_sent_as_fast_as_they_are_heard_never_wait(gate: _Gate) -> None:
    listener, ears = _patient(), _ears(gate, 6)
    gate.may_go_on.clear()
    waiting = _add(listener, ears[0])
    assert gate.entered.wait(DEADLINE_S)
    waiting += _add(listener, *ears[1:])
    gate.may_go_on.set()
    for _ in range(100):
        for i, events in enumerate(waiting):
            assert events.result(DEADLINE_S) == []
            (waiting[i],) = _add(listener, ears[i])
    first, *others = list(gate.sizes)
    assert first == 1
    assert set(others) == {6}


def test_one_who_is_back_early_does_not_wait_for_those_who_come_late(gate: _Gate) -> None:
    listener, ears = Listener(each_s=FOREVER_S, most_s=FOREVER_S, back_s=0.001), _ears(gate, 6)
    gate.may_go_on.clear()
    waiting = _add(listener, ears[0])
    assert gate.entered.wait(DEADLINE_S)
    waiting += _add(listener, *ears[1:])
    waiting += _add(listener, ears[0])
    gate.may_go_on.set()
    assert [events.result(DEADLINE_S) for events in waiting] == [[]] * 7
    for _ in range(50):
        assert _add(listener, ears[0])[0].result(DEADLINE_S) == []


class _Careless(_Gate):
    """Forgets the last of those it should score."""

    def score(self, windows: PcmArray, memories: Memory) -> tuple[Memory, Memory]:
        return np.zeros(len(windows) - 1, np.float32), memories


def test_a_detector_that_answers_nonsense_ends_its_own_streams_only(gate: _Gate) -> None:
    listener = Listener()
    (failed,) = _add(listener, *_ears(_Careless(), 1))
    assert isinstance(failed.exception(DEADLINE_S), ValueError)
    assert _add(listener, *_ears(gate, 1))[0].result(DEADLINE_S) == []


def test_a_thread_that_does_not_start_is_tried_again(
    gate: _Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    listener, (ear,) = Listener(), _ears(gate, 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            _add(listener, ear)
    assert _add(listener, ear)[0].result(DEADLINE_S) == []


def test_nobody_waits_long_for_one_who_does_not_come(gate: _Gate) -> None:
    listener = Listener(each_s=0.05, most_s=0.05)
    for ear in _ears(gate, 5):
        assert _add(listener, ear)[0].result(DEADLINE_S) == []


def test_what_is_cancelled_while_it_waits_holds_nobody_up(gate: _Gate) -> None:
    listener, (first, cancelled, other) = _patient(), _ears(gate, 3)
    _add(listener, first)[0].result(DEADLINE_S)
    waiting = _add(listener, cancelled, other)
    assert waiting[0].cancel()
    waiting += _add(listener, first)
    assert [events.result(DEADLINE_S) for events in waiting[1:]] == [[], []]
    assert cancelled.audio.end == 0
    # Whoever was cancelled counts as heard; it is the last round's others that come again.
    waiting = _add(listener, first, other, cancelled)
    assert [events.result(DEADLINE_S) for events in waiting] == [[]] * 3


def test_who_is_cancelled_while_he_is_heard_leaves_the_thread_in_order(gate: _Gate) -> None:
    listener, (cancelled, other) = Listener(), _ears(gate, 2)
    gate.may_go_on.clear()

    async def give_up() -> None:
        listening = asyncio.wrap_future(_add(listener, cancelled)[0])
        await asyncio.to_thread(gate.entered.wait, DEADLINE_S)
        listening.cancel()

    asyncio.run(give_up())
    waiting = _add(listener, other)
    gate.may_go_on.set()
    assert waiting[0].result(DEADLINE_S) == []


def test_event_loops_in_several_threads_hear_what_they_would_alone(speech: PcmArray) -> None:
    async def hear(start: int) -> list[Any]:
        ear = Ear(16_000, silero_model())
        parts = [speech[i : i + 800] for i in range(start, len(speech), 800)]
        events = [e for part in parts for e in await asyncio.wrap_future(listen(ear.hearing(part)))]
        return [*events, *await asyncio.wrap_future(listen(ear.closing()))]

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


def test_a_closed_listener_has_heard_what_waited_and_hears_no_more(gate: _Gate) -> None:
    listener, (first, other) = _patient(), _ears(gate, 2)
    _add(listener, first)[0].result(DEADLINE_S)
    (events,) = _add(listener, other)
    listener.close()
    listener.close()
    assert events.done()
    with pytest.raises(ClosedError):
        _add(listener, first)
    Listener().close()


AT_EXIT = """
import numpy as np
from hark.ear import Ear
from hark.listening import listen
from hark.vad import silero_model
for _ in range(20):
    listen(Ear(16_000, silero_model()).hearing(np.zeros(16_000, np.int16)))
"""


def test_an_interpreter_that_exits_meanwhile_does_not_hang() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
