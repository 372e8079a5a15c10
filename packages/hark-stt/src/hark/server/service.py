"""What the server's routes share: the models, who may come in, and the way out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import anyio.to_thread

from hark.cores import usable_cores
from hark.engines.pool import ModelPool
from hark.errors import HarkError
from hark.server import refusal
from hark.server.capacity import measured_capacity
from hark.server.loop_lag import LoopLag
from hark.server.settings import SESSIONS_PER_WORKER, ServerSettings
from hark.session import Session, SessionLimits

logger = logging.getLogger("hark.server")

FILES_PER_TRANSCRIPTION = 8
"""Files admitted for each of `max_transcriptions`: most of them are still coming in, some slowly,
and must not keep the places from those that are there."""

PLACE_TIMEOUT_S = 30.0
"""Longest time that a file which has come in waits for a place, in seconds."""

LEAVE_TIMEOUT_S = 5.0
"""Longest time that work gets to end after it was told to, in seconds."""


class Service:
    """One server's models and the work they have taken on. Lives in one event loop.

    Attributes:
        settings: what the server was told at its start.
        models: the models; anyone may come in once they are ready.
        failure: why the models could not be loaded; None while they may be or are.
        max_sessions: most sessions at a time; where the settings leave it open, it is measured
            while loading.
        loop_lag: how late the event loop is.
        file_threads: the threads that decode and format files.
    """

    def __init__(self, settings: ServerSettings, models: ModelPool | None = None) -> None:
        """Args: settings: as checked. models: not started; None to make those of the settings."""
        self.settings = settings
        self.models = models or _make_pool(settings)
        self.failure: Exception | None = None
        self.max_sessions = settings.max_sessions or SESSIONS_PER_WORKER * worker_count(settings)
        self.file_threads = anyio.CapacityLimiter(settings.max_transcriptions)
        self._limits = SessionLimits(
            max_message_bytes=settings.max_message_bytes,
            max_session_s=settings.max_session_s,
            idle_timeout_s=settings.idle_timeout_s,
        )
        self.loop_lag = LoopLag()
        self._sessions: set[Session] = set()
        self._files: set[anyio.CancelScope] = set()
        self._places = anyio.CapacityLimiter(settings.max_transcriptions)
        self._loaded = anyio.Event()
        self._is_draining = False
        self._hurry = anyio.Event()
        self._left = anyio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether the models are warm and the server is not about to end."""
        return self._has_loaded and not self._is_draining

    @property
    def _has_loaded(self) -> bool:
        return self.models.is_ready and self._loaded.is_set()

    @property
    def session_count(self) -> int:
        """Sessions at the moment."""
        return len(self._sessions)

    @property
    def file_count(self) -> int:
        """Files at the moment that come in, wait or are in work."""
        return len(self._files)

    @property
    def transcription_count(self) -> int:
        """Files in work at the moment."""
        return self._places.borrowed_tokens

    @property
    def status(self) -> str:
        """One word for `/healthz` and `/readyz`."""
        if self.failure is not None:
            return "failed"
        if self._is_draining:
            return "draining"
        return "ready" if self._has_loaded else "loading"

    async def load(self, on_failure: Callable[[], None]) -> None:
        """Load and warm the models; if they cannot be, keep the reason and call `on_failure`."""
        try:
            await anyio.to_thread.run_sync(self._start, abandon_on_cancel=True)
        except Exception as error:  # a bug must end the server, too, and not leave it loading
            self.failure = error
            is_bug = not isinstance(error, HarkError)
            logger.error(
                "the models cannot be loaded", extra={"reason": str(error)}, exc_info=is_bug
            )
            on_failure()
        else:
            models = list(self.models.models)
            logger.info("ready", extra={"models": models, "max_sessions": self.max_sessions})
        self._loaded.set()

    def _start(self) -> None:
        self.models.start()
        if self.settings.max_sessions is None:
            self.max_sessions = measured_capacity(self.models) or self.max_sessions

    async def wait_until_loaded(self) -> None:
        """Wait until the models are warm, or cannot be: see `failure`."""
        await self._loaded.wait()

    @contextmanager
    def admit_session(self) -> Iterator[Session]:
        """Open a session for as long as the context lasts.

        Raises:
            Refused: not ready, draining, or full.
        """
        self.check_open()
        if len(self._sessions) >= self.max_sessions:
            raise refusal.too_many("sessions", self.max_sessions)
        session = Session(self.models, self._limits)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            self._note_departure()

    @contextmanager
    def admit_file(self) -> Iterator[None]:
        """Let a file come in, and keep it for as long as the context lasts.

        The context is cancelled, quietly, when the grace period of `drain` is over.

        Raises:
            Refused: not ready, draining, or full.
        """
        self.check_open()
        is_crowded = self.file_count >= FILES_PER_TRANSCRIPTION * self.settings.max_transcriptions
        if is_crowded or not self._places.available_tokens:
            raise self._too_many_transcriptions()
        with anyio.CancelScope() as scope:
            self._files.add(scope)
            try:
                yield
            finally:
                self._files.discard(scope)
                self._note_departure()

    @asynccontextmanager
    async def transcription_place(self) -> AsyncIterator[None]:
        """Wait until a file that has come in may be worked on; for as long as the context lasts.

        Raises:
            Refused: it may not for too long.
        """
        try:
            with anyio.fail_after(PLACE_TIMEOUT_S):
                await self._places.acquire()
        except TimeoutError:
            raise self._too_many_transcriptions() from None
        try:
            yield
        finally:
            self._places.release()

    async def drain(self) -> None:
        """Take in nobody any more, ask open sessions to move away, and end what is left.

        That is done after the grace period. Returns when all work has ended, or does not want to.
        """
        self._is_draining = True
        logger.info("draining", extra=self._work_fields())
        for session in self._sessions:
            if session.model is None:  # has not begun, so has nothing to finish
                session.fail(refusal.draining().error)
            else:
                session.drain()
        self._note_departure()
        with anyio.move_on_after(self.settings.grace_period_s):
            await self._wait_until_left_or_hurried()
        if not self._left.is_set():
            await self._end_work()

    def hurry(self) -> None:
        """Cut the grace period of `drain` short."""
        self._hurry.set()

    async def close(self) -> None:
        """Free the models. Idempotent; also ends a `load` that is still going on."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.models.close)

    def check_open(self) -> None:
        """Make sure that the server takes work.

        Raises:
            Refused: it does not yet, or not any more.
        """
        if self._is_draining:
            raise refusal.draining()
        if not self._has_loaded:
            raise refusal.loading()

    def _too_many_transcriptions(self) -> refusal.Refused:
        return refusal.too_many("transcriptions", self.settings.max_transcriptions)

    def _note_departure(self) -> None:
        if self._is_draining and not self._sessions and not self._files:
            self._left.set()

    async def _wait_until_left_or_hurried(self) -> None:
        async with anyio.create_task_group() as tasks:

            async def stop_waiting_when_hurried() -> None:
                await self._hurry.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(stop_waiting_when_hurried)
            await self._left.wait()
            tasks.cancel_scope.cancel()

    async def _end_work(self) -> None:
        logger.warning("the grace period is over", extra=self._work_fields())
        for session in self._sessions:
            session.fail(refusal.draining().error)
        for scope in self._files:
            scope.cancel()
        with anyio.move_on_after(LEAVE_TIMEOUT_S):
            await self._left.wait()

    def _work_fields(self) -> dict[str, int]:
        return {
            "sessions": self.session_count,
            "files": self.file_count,
            "transcriptions": self.transcription_count,
        }


def worker_count(settings: ServerSettings) -> int:
    """Workers for each model: one for each core unless told otherwise."""
    return settings.workers or usable_cores()


def _make_pool(settings: ServerSettings) -> ModelPool:
    if settings.models:
        return ModelPool(settings.models, workers=settings.workers)
    return ModelPool(workers=settings.workers)
