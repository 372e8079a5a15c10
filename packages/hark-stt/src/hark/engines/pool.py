"""The models of one process, each with its scheduler and workers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from hark.cores import usable_cores
from hark.engines.registry import DEFAULT_MODEL, load
from hark.errors import (
    LanguageNotSupportedError,
    ModelFileError,
    ModelNotFoundError,
    OptionNotSupportedError,
)
from hark.process_worker import ProcessWorker
from hark.scheduler import Scheduler
from hark.vad import silero_model
from hark.worker import LocalWorker, Worker

if TYPE_CHECKING:
    from hark.engines.smart_turn import SmartTurn

logger = logging.getLogger("hark.models")

WorkerKind = Literal["process", "thread"]

# Not `-m`: that would let a file in the folder where the user stands take a module's place.
_WORKER_ARGUMENTS = (
    "-c",
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from hark.engines.worker_main import main; main()",
)


class ModelPool:
    """Finds the scheduler for what a session asks for. Satisfies `hark.session.Models`."""

    def __init__(
        self,
        models: Sequence[str] = (DEFAULT_MODEL,),
        *,
        workers: int | None = None,
        kind: WorkerKind = "process",
    ) -> None:
        """Prepare, without loading anything.

        Args:
            models: names or folders of models; the first is the default.
            workers: workers for each model; by default one for each core.
            kind: "process" decodes in processes of their own; "thread" in this one, for tests.
        """
        count = workers or usable_cores()
        self._schedulers = {
            model: Scheduler(model, [_worker(model, kind) for _ in range(count)])
            for model in models
        }
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether all models are loaded and warm, and each has a worker that runs."""
        return self._is_ready and all(s.is_alive for s in self.schedulers)

    @property
    def models(self) -> tuple[str, ...]:
        """The names; the first is the default."""
        return tuple(self._schedulers)

    @property
    def schedulers(self) -> tuple[Scheduler, ...]:
        """One for each of `models`."""
        return tuple(self._schedulers.values())

    def start(self) -> None:
        """Load and warm all models. Blocks, for seconds.

        Raises:
            HarkError: a model or a worker does not start; none is left running.
            ClosedError: closed meanwhile.
        """
        try:
            silero_model()  # shared by all sessions, none of which is to wait for it
            for scheduler in self._schedulers.values():
                scheduler.start()
        except BaseException:
            self.close()
            raise
        self._is_ready = True

    def select(self, model: str | None, language: str | None) -> Scheduler:
        """Find the model of this name, or without a name the first that knows the language.

        Raises:
            ModelNotFoundError: there is none of this name.
            LanguageNotSupportedError: it does not know the language.
        """
        if model is None:
            return self._for_language(language)
        scheduler = self._schedulers.get(model)
        if scheduler is None:
            raise ModelNotFoundError(model, self.models)
        if language is not None and scheduler.capabilities.match_language(language) is None:
            raise LanguageNotSupportedError(language, model, scheduler.capabilities.languages)
        return scheduler

    def _for_language(self, language: str | None) -> Scheduler:
        for scheduler in self._schedulers.values():
            if language is None or scheduler.capabilities.match_language(language) is not None:
                return scheduler
        known = sorted({code for s in self.schedulers for code in s.capabilities.languages})
        raise LanguageNotSupportedError(language or "", ", ".join(self.models), known)

    def end_of_turn(self) -> SmartTurn:
        """Give this process's end-of-turn model. Blocks while it is loaded, at the first call.

        Raises:
            OptionNotSupportedError: its files are not here; the message says how to get them.
        """
        from hark.engines.smart_turn import smart_turn  # few want it

        try:
            return smart_turn()
        except ModelFileError as error:
            # A client may be on another machine, and paths of this one are no concern of its.
            logger.warning("no end-of-turn model", extra={"error": str(error)})
            raise OptionNotSupportedError(
                "max_silence_ms needs the end-of-turn model, which the recogniser does not have: "
                "hark models download smart-turn-v3.2"
            ) from None

    def close(self) -> None:
        """End all workers. Idempotent."""
        self._is_ready = False
        for scheduler in self._schedulers.values():
            scheduler.close()


def _worker(model: str, kind: WorkerKind) -> Worker:
    if kind == "thread":
        return LocalWorker(lambda: load(model))
    return ProcessWorker([*_WORKER_ARGUMENTS, model])
