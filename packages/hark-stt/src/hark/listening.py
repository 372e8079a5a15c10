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


class Listener:
    """One thread that hears, in rounds, all that wait: side by side, which is cheaper.

    Streams in real time would hardly ever meet, so rounds begin some time apart: the more came to
    the last, the longer the next may gather. But as soon as all of the last wait again nobody is
    worth waiting for: neither a single stream nor many that are sent faster than real time are held
    up.
    """

    def __init__(self, *, each_s: float = EACH_S, most_s: float = MOST_S) -> None:
        """Args: each_s, most_s: instead of `EACH_S` and `MOST_S`."""
        self._each_s, self._most_s = each_s, most_s
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
            if self._thread is None:
                self._start()
            self._waiting.append(hearing)
            self._missing.discard(id(hearing.ear))
            if len(self._waiting) == 1 or not self._missing:
                self._changed.notify()

    def close(self) -> None:
        """Hear what waits, then end the thread. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        # A daemon, or the interpreter would wait for it before it calls `close`.
        self._thread = threading.Thread(target=self._run, name="hark-ear", daemon=True)
        self._thread.start()
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
            now = time.monotonic()
            if now < self._next_round:
                self._changed.wait_for(self._are_all_back, self._next_round - now)
                now = time.monotonic()
            gathered, self._waiting = self._waiting, []
            self._missing = {id(hearing.ear) for hearing in gathered}
            self._next_round = now + min(len(gathered) * self._each_s, self._most_s)
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
