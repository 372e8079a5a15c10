"""The threads in which ears listen: the event loop never computes."""

from __future__ import annotations

import atexit
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from hark.cores import usable_cores
from hark.ear import Hearing, hear_together
from hark.endpointing import EndpointEvent
from hark.errors import ClosedError

EACH_S = 0.002
"""Seconds from round to round for each ear that was heard in the last one: fewer than about 25
streams that send 50 ms at a time hardly wait, as hardly anybody would come."""

MOST_S = 0.01
"""Seconds from round to round at most. Forty streams that send 50 ms at a time then come six at a
time. Event loop, thread and VAD took 13 ms of processing time for a second of a stream instead of
the 19 of one stream after another, and 16 ms from round to round saved no more."""


BACK_S = 0.002
"""Seconds that one who is back from the last round waits for others: who comes again so soon is
sent faster than real time, or in very small pieces, and must not fall behind."""

_END_TIMEOUT_S = 5.0


class Listener:
    """One thread that hears, in rounds, all that wait: side by side, which is cheaper.

    Streams in real time would hardly ever meet, so rounds begin some time apart: the more came to
    the last, the longer the next may gather. But one who is back from the last round hardly waits,
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
        self._waiting: list[Hearing] = []
        # Ears of the last round that do not wait again yet: their ids, which keep nobody in memory.
        # When one is given to another ear, somebody is not waited for, and that is all.
        self._missing: set[int] = set()
        self._next_round = 0.0
        self._is_closed = False

    def add(self, hearing: Hearing) -> None:
        """Let it be heard. Thread-safe, and never blocks for long.

        Raises:
            ClosedError: no more is heard.
        """
        with self._changed:
            if self._is_closed:
                raise ClosedError("the ears are closed")
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                self._start()
            self._waiting.append(hearing)
            is_back = id(hearing.ear) in self._missing
            if is_back:
                self._missing.discard(id(hearing.ear))
                self._next_round = min(self._next_round, time.monotonic() + self._back_s)
            if is_back or len(self._waiting) == 1:
                self._changed.notify()

    def close(self) -> None:
        """Hear what waits, then end the thread. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_END_TIMEOUT_S)

    def _start(self) -> None:
        # A daemon, or the interpreter would wait for it before it calls `close`.
        thread = threading.Thread(target=self._run, name="hark-ear", daemon=True)
        thread.start()
        self._thread = thread  # not before: one that does not start is tried again
        atexit.register(self.close)

    def _run(self) -> None:
        while self._hear_round():
            pass

    def _hear_round(self) -> bool:
        gathered = self._gather()
        hear_together(gathered)
        return bool(gathered)

    def _gather(self) -> list[Hearing]:
        """Wait for the next round; nobody comes to it only when there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            while not self._are_all_back() and (left_s := self._next_round - time.monotonic()) > 0:
                self._changed.wait(left_s)
            gathered, self._waiting = self._waiting, []
            self._missing = {id(hearing.ear) for hearing in gathered}
            self._next_round = time.monotonic() + min(len(gathered) * self._each_s, self._most_s)
            return gathered

    def _are_all_back(self) -> bool:
        return not self._missing or self._is_closed


# Together the ears of all sessions need a fraction of a core.
_listener = Listener()

# Not those with an end-of-turn model: each of its answers takes as long as hundreds of windows, for
# which nobody else should have to wait. The threads are started when they are needed.
_turn_ears = ThreadPoolExecutor(usable_cores(), thread_name_prefix="hark-turn-ear")


def listen(hearing: Hearing) -> Future[list[EndpointEvent]]:
    """Hear in a thread what an ear is about to hear. Thread-safe."""
    if hearing.ear.endpointer.options.asks_model:
        _turn_ears.submit(hear_together, [hearing])
    else:
        _listener.add(hearing)
    return hearing.events
