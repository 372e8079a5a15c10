"""The threads in which ears listen: the event loop never computes."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hark.cores import usable_cores
from hark.ear import Hearing, hear_together
from hark.endpointing import EndpointEvent
from hark.errors import ClosedError

EACH_S = 0.001
"""Seconds from round to round for each ear that was heard lately: a few streams hardly wait."""

MOST_S = 0.02
"""Seconds from round to round at most, which puts 10 ms before the news of a window on average.

A round costs about as much for one stream as for ten: its threads wake up on cold caches. With
rounds up to 10, 16 and 24 ms apart twenty streams that send 50 ms at a time took 8.8, 6.8 and 5.9
ms of a core for a second of each, and forty 6.2, 5.0 and 4.1."""

LATELY_S = 0.2
"""Seconds for which an ear that was heard is one that will come again."""

BACK_S = 0.002
"""Seconds that one who is back from the last round waits for others: who comes again so soon is
sent faster than real time, or in very small pieces, and must not fall behind."""

_END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Somebody who waits in an event loop until something is heard."""

    hearing: Hearing
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[list[EndpointEvent]]

    def settle(self) -> None:
        """Give the answer, in the event loop."""
        if self.answer.done():
            return  # cancelled meanwhile
        try:
            self.answer.set_result(self.hearing.events)
        except Exception as error:
            self.answer.set_exception(error)


class Listener:
    """One thread that hears, in rounds, all that wait: side by side, which is cheaper.

    Streams in real time would hardly ever meet, so rounds begin some time apart: the more streams
    there are, the longer the next may gather. But one who is back from the last round hardly waits,
    and nobody does when all are back: neither a single stream nor many that are sent faster than
    real time are held up.
    """

    def __init__(
        self, *, each_s: float = EACH_S, most_s: float = MOST_S, back_s: float = BACK_S
    ) -> None:
        """Args: each_s, most_s, back_s: instead of `EACH_S`, `MOST_S` and `BACK_S`."""
        self._each_s, self._most_s, self._back_s = each_s, most_s, back_s
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition(threading.Lock())
        self._waiting: list[_Waiting] = []
        # Ears of the last round that do not wait again yet: their ids, which keep nobody in memory.
        # When one is given to another ear, somebody is not waited for, and that is all.
        self._missing: set[int] = set()
        self._heard_at: dict[int, float] = {}  # likewise, those that were heard lately
        self._next_round = 0.0
        self._is_closed = False

    async def hear(self, hearing: Hearing) -> list[EndpointEvent]:
        """Let it be heard, and give what it decides. Cancelling may leave it unheard.

        Raises:
            ClosedError: no more is heard.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[EndpointEvent]] = loop.create_future()
        self._add(_Waiting(hearing, loop, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            hearing.cancel()
            raise

    def close(self) -> None:
        """Hear what waits, then end the thread. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_END_TIMEOUT_S)

    def _add(self, waiting: _Waiting) -> None:
        """Thread-safe, and never blocks for long."""
        ear = id(waiting.hearing.ear)
        with self._changed:
            if self._is_closed:
                raise ClosedError("the ears are closed")
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                self._start()
            self._waiting.append(waiting)
            is_back = ear in self._missing
            if is_back:
                self._missing.discard(ear)
                self._next_round = min(self._next_round, time.monotonic() + self._back_s)
            if is_back or len(self._waiting) == 1:
                self._changed.notify()

    def _start(self) -> None:
        # A daemon, or the interpreter would wait for it before it calls `close`.
        thread = threading.Thread(target=self._run, name="hark-ear", daemon=True)
        thread.start()
        self._thread = thread  # not before: one that does not start is tried again
        atexit.register(self.close)

    def _run(self) -> None:
        while gathered := self._gather():
            _hear_round({waiting.hearing: waiting for waiting in gathered})

    def _gather(self) -> list[_Waiting]:
        """Wait for the next round; nobody comes to it only when there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            while not self._are_all_back() and (left_s := self._next_round - time.monotonic()) > 0:
                self._changed.wait(left_s)
            gathered, self._waiting = self._waiting, []
            self._missing = {id(one.hearing.ear) for one in gathered}
            now = time.monotonic()
            self._next_round = now + min(self._count_lately(now) * self._each_s, self._most_s)
            return gathered

    def _count_lately(self, now: float) -> int:
        """How many ears were heard lately, with those of this round."""
        self._heard_at.update(dict.fromkeys(self._missing, now))
        self._heard_at = {ear: at for ear, at in self._heard_at.items() if now - at < LATELY_S}
        return len(self._heard_at)

    def _are_all_back(self) -> bool:
        return not self._missing or self._is_closed


def _hear_round(gathered: Mapping[Hearing, _Waiting]) -> None:
    hear_together(list(gathered), lambda over: _tell([gathered[hearing] for hearing in over]))


def _tell(all_waiting: Sequence[_Waiting]) -> None:
    """Answer them: each event loop is woken once, as that costs as much as an answer or two."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Waiting]] = defaultdict(list)
    for waiting in all_waiting:
        by_loop[waiting.loop].append(waiting)
    for loop, some in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, some)
        except RuntimeError:
            pass  # it is closed, and nobody waits in it any more


def _settle(all_waiting: Sequence[_Waiting]) -> None:
    for waiting in all_waiting:
        waiting.settle()


# Together the ears of all sessions need a fraction of a core.
_listener = Listener()

# Not those with an end-of-turn model: each of its answers takes as long as hundreds of windows, for
# which nobody else should have to wait. The threads are started when they are needed.
_turn_ears = ThreadPoolExecutor(usable_cores(), thread_name_prefix="hark-turn-ear")


async def listen(hearing: Hearing) -> list[EndpointEvent]:
    """Hear in a thread what an ear is about to hear, and give what it decides.

    Cancelling may leave it unheard: then only another ear hears on.

    Raises:
        ClosedError: the interpreter is about to exit.
    """
    if not hearing.ear.endpointer.options.asks_model:
        return await _listener.hear(hearing)
    loop = asyncio.get_running_loop()
    try:
        heard = loop.run_in_executor(_turn_ears, hear_together, [hearing])
    except RuntimeError as error:  # executors take nothing more when the interpreter exits
        raise ClosedError("the ears are closed") from error
    await heard
    return hearing.events
