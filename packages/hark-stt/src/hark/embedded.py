"""The recogniser inside another program: loaded once a process, however many callers there are."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from hark.engines.pool import ModelPool, WorkerKind
from hark.engines.registry import DEFAULT_MODEL
from hark.errors import ClosedError
from hark.session import Session
from hark.waiting import result_of

_Key = tuple[str, int, WorkerKind]


class _Shared:
    """A pool with its users counted, and the loading of it."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.users = 0
        self._pool: ModelPool | None = None
        self._loading: Future[ModelPool] | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def load(self) -> Future[ModelPool]:
        """Start loading, unless that has begun; a load that failed is tried again."""
        with self._lock:
            if self._is_closed:
                raise ClosedError("this share of the recogniser was released")
            loading = self._loading
            if loading is None or (loading.done() and loading.exception() is not None):
                model, workers, kind = self.key
                # A pool that did not start is closed for good.
                pool = self._pool = ModelPool([model], workers=workers, kind=kind)
                loading = self._loading = Future()
                threading.Thread(
                    target=_load, args=(pool, loading), name="hark-load", daemon=True
                ).start()
            return loading

    def close(self) -> None:
        """End the pool, loaded or loading. Blocks for a moment."""
        with self._lock:
            self._is_closed = True
            pool = self._pool
        if pool is not None:
            pool.close()


def _load(pool: ModelPool, loading: Future[ModelPool]) -> None:
    try:
        pool.start()
    except Exception as error:  # whatever it is, it belongs to those who wait
        loading.set_exception(error)
    else:
        loading.set_result(pool)


_shared: dict[_Key, _Shared] = {}
_lock = threading.Lock()


class Embedded:
    """One caller's share of the process's recogniser. Thread-safe, bound to no event loop."""

    def __init__(self, shared: _Shared) -> None:
        """Use `acquire`."""
        self._shared: _Shared | None = shared

    @classmethod
    def acquire(
        cls, model: str | None = None, *, workers: int = 1, kind: WorkerKind = "process"
    ) -> Embedded:
        """Take a share. Cheap: loads nothing yet.

        Args:
            model: name or folder; None for the default.
            workers: decoders, one core each.
            kind: see `ModelPool`.
        """
        key: _Key = (model or DEFAULT_MODEL, workers, kind)
        with _lock:
            shared = _shared.get(key)
            if shared is None:
                shared = _shared[key] = _Shared(key)
            shared.users += 1
        return cls(shared)

    def prewarm(self) -> None:
        """Start loading, and do not wait for it. Errors show in `open_session`."""
        self._held().load()

    async def pool(self) -> ModelPool:
        """The models, once they are loaded. Safe to cancel: loading goes on.

        Raises:
            HarkError: they do not load.
            ClosedError: this share was released.
        """
        return await result_of(self._held().load())

    async def open_session(self) -> Session:
        """Open a stream, once the model is loaded. Safe to cancel.

        Raises:
            HarkError: it does not load.
            ClosedError: this share was released.
        """
        return Session(await self.pool())

    def release(self) -> None:
        """Give the share back; with the last one, the models go. Idempotent, does not block."""
        with _lock:
            shared, self._shared = self._shared, None
            if shared is None:
                return
            shared.users -= 1
            if shared.users:
                return
            del _shared[shared.key]
        # Ending processes takes a moment that an event loop does not have.
        threading.Thread(target=shared.close, name="hark-unload").start()

    def _held(self) -> _Shared:
        shared = self._shared
        if shared is None:
            raise ClosedError("this share of the recogniser was released")
        return shared
