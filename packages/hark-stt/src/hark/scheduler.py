"""The scheduler: who decodes next, and on which worker.

Decodes are the scarce thing. Sessions hand over requests; a thread for each worker takes the most
urgent one: finals before preflights before interims, and within each that of the caller who was
served longest ago, so that a recording fed at full speed does not hold up a live stream. An interim
is decoded with the audio there is when its turn comes, so none is ever out of date.

The threads only wait for their workers, which compute elsewhere; results come as futures, so a
caller may live in any event loop or in none.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from enum import IntEnum

from hark.audio import PcmArray, PcmBuffer
from hark.cores import usable_cores
from hark.errors import ClosedError, HarkError, RecognitionError, WorkerError
from hark.recognizer import Capabilities, Context, Hypothesis, RecognitionOptions
from hark.worker import DecodeJob, Worker

logger = logging.getLogger("hark.scheduler")

MAX_ATTEMPTS = 3
"""Workers that one request may bring down before it is given up: its audio itself may be what kills
them."""

MIN_INTERIM_INTERVAL_S = 0.2
"""Seconds of new audio between interims of one utterance: about a syllable; sooner there is little
new to show."""

INTERIM_SHARE = 0.8
"""The part of the workers' time that interims are planned to take. They take less, because pauses
need none, and finals go before them (design.md, invariant 6): with 40 streams on two cores the p95
of the final latency was no longer than with 0.5."""

ANCHOR_MARGIN = 8_000
"""Samples (0.5 s) before the end of a final in which no anchor counts: much of that is silence, in
which no interim is asked for, and there are only a few tokens to win."""

_RESTART_DELAYS_S = (0.0, 0.5, 2.0, 5.0)
_SMOOTHING = 0.1  # weight of the newest decode in the running mean of decode times


class Priority(IntEnum):
    """What a decode is for; the lowest goes first."""

    FINAL = 0
    PREFLIGHT = 1
    INTERIM = 2
    RECORDING = 3  # anything of a recording, for which nobody waits in a conversation


@dataclass(frozen=True, slots=True)
class Decoded:
    """A hypothesis, and how many samples from the start of the utterance it is for."""

    hypothesis: Hypothesis
    length: int


@dataclass(slots=True, eq=False)
class _Request:
    stream: DecodeStream
    priority: Priority
    final: bool
    length: int | None
    context: Context | None
    future: Future[Decoded]
    order: int
    attempts: int = 0


class DecodeStream:
    """One utterance in the scheduler. Thread-safe. Made by `Scheduler.open_stream`."""

    def __init__(
        self, scheduler: Scheduler, id: int, options: RecognitionOptions, caller: str
    ) -> None:
        """See `Scheduler.open_stream`."""
        self.id = id
        self.options = options
        self.caller = caller
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._audio = PcmBuffer()
        # The worker that holds this stream's state, and how much of the audio it has seen;
        # streaming models only.
        self.home: int | None = None
        self.held = 0
        self.previous: Hypothesis | None = None
        # The hypotheses for each whole multiple of `Capabilities.anchor`, from the first on.
        self.anchors: list[Hypothesis] = []

    @property
    def length(self) -> int:
        """Samples pushed so far."""
        return self._audio.end

    def push(self, samples: PcmArray) -> None:
        """Append audio of this utterance, shape (n,)."""
        with self._lock:
            self._audio.append(samples)

    def read(self, start: int, end: int | None = None) -> PcmArray:
        """Copy [start, end) of the utterance's audio; `end` None means all."""
        with self._lock:
            return self._audio.read(start, self._audio.end if end is None else end)

    def decode(
        self,
        priority: Priority,
        *,
        final: bool,
        length: int | None = None,
        context: Context | None = None,
    ) -> Future[Decoded]:
        """Ask for a hypothesis.

        Args:
            priority: how urgent it is.
            final: see `Recognizer.decode`.
            length: decode this many samples from the start; None means all there are when the turn
                comes. An interim for a whole multiple of `Capabilities.anchor` spares the final
                that work.
            context: what was said before; for models that have use for it.

        Returns:
            A future; cancelling it takes the request back if it has not started. It fails with
            `RecognitionError` (the engine failed, or brought down several workers), `WorkerError`
            (no worker is left) or `ClosedError`.
        """
        return self._scheduler._submit(self, priority, final, length, context)

    def hasten(self, future: Future[Decoded], priority: Priority) -> None:
        """Make a request of this stream more urgent, if it still waits."""
        self._scheduler._hasten(future, priority)

    def add_anchor(self, number: int, hypothesis: Hypothesis) -> None:
        """Keep the hypothesis for so many times `Capabilities.anchor`."""
        with self._lock:
            # Another worker may have been quicker, with the same result.
            if number == len(self.anchors) + 1:
                self.anchors.append(hypothesis)

    def close(self) -> None:
        """No more will be asked of this stream; what still waits is taken back. Idempotent."""
        self._scheduler._forget(self)


class Scheduler:
    """Owns the workers of one model, and shares them between sessions. Thread-safe."""

    def __init__(self, model: str, workers: Sequence[Worker]) -> None:
        """Prepare, without starting.

        Args:
            model: name of the model, for logs and `ready` messages.
            workers: at least one; all run the same model.
        """
        self.model = model
        self._workers = tuple(workers)
        self._capabilities: Capabilities | None = None
        self._waiting: list[_Request] = []
        self._changed = threading.Condition()
        self._forgotten: list[list[int]] = [[] for _ in workers]
        self._order = itertools.count()
        self._stream_ids = itertools.count(1)
        self._turns = itertools.count(1)
        self._last_turn: dict[str, int] = {}  # of each caller that has a stream
        self._streams: dict[int, DecodeStream] = {}
        self._interim_s = 0.0
        self._at_work = 0  # workers that decode at the moment
        self._at_once = min(len(workers), usable_cores())  # decodes that do not slow each other
        self._dead: set[int] = set()  # workers that do not start again, at the moment
        self._is_closed = False
        self._threads: list[threading.Thread] = []

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do; known once started."""
        if self._capabilities is None:
            raise ClosedError("the scheduler has not been started")
        return self._capabilities

    @property
    def worker_count(self) -> int:
        """Workers, running or not."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Requests that no worker has taken yet."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether any worker can be hoped to decode."""
        return len(self._dead) < len(self._workers)

    @property
    def interim_interval_s(self) -> float:
        """Seconds of new audio that an utterance should gather before it asks for its next interim.

        So long that all open utterances together keep the workers busy for `INTERIM_SHARE` of the
        time.
        """
        demand_s = self._interim_s * len(self._streams)
        return max(MIN_INTERIM_INTERVAL_S, demand_s / (len(self._workers) * INTERIM_SHARE))

    def start(self) -> None:
        """Start all workers at once, and return when all are warm. Blocks.

        Raises:
            HarkError: a worker does not start; none is left running.
            ClosedError: closed meanwhile.
        """
        failures: list[Exception] = []

        def start_one(worker: Worker) -> None:
            try:
                self._capabilities = worker.start()
            except Exception as error:  # whatever it is, it belongs to the caller of `start`
                failures.append(error)

        threads = [
            threading.Thread(target=start_one, args=(worker,), name="hark-start", daemon=True)
            for worker in self._workers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._is_closed:
            failures.append(ClosedError("the scheduler is closed"))
        if failures:
            self.close()
            raise failures[0]
        self._threads = [
            threading.Thread(target=self._serve, args=(i,), name=f"hark-worker-{i}", daemon=True)
            for i in range(len(self._workers))
        ]
        for thread in self._threads:
            thread.start()

    def open_stream(self, options: RecognitionOptions, *, caller: str = "") -> DecodeStream:
        """Open an utterance.

        Args:
            options: already checked against `capabilities`.
            caller: whose it is; callers are served in turn.

        Raises:
            ClosedError: the scheduler is closed.
        """
        with self._changed:
            if self._is_closed:
                raise ClosedError("the scheduler is closed")
            stream = DecodeStream(self, next(self._stream_ids), options, caller)
            self._streams[stream.id] = stream
            return stream

    def close(self) -> None:
        """End all workers; requests still waiting fail with `ClosedError`. Idempotent."""
        with self._changed:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for request in waiting:
            _fail(request, ClosedError("the scheduler is closed"))
        for worker in self._workers:
            worker.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def _submit(
        self,
        stream: DecodeStream,
        priority: Priority,
        final: bool,
        length: int | None,
        context: Context | None,
    ) -> Future[Decoded]:
        future: Future[Decoded] = Future()
        with self._changed:
            if self._is_closed or stream.id not in self._streams:
                future.set_exception(ClosedError("the scheduler or the stream is closed"))
                return future
            if not self.is_alive:
                future.set_exception(WorkerError("no worker of this model is running"))
                return future
            self._waiting.append(
                _Request(stream, priority, final, length, context, future, next(self._order))
            )
            self._changed.notify_all()
        return future

    def _hasten(self, future: Future[Decoded], priority: Priority) -> None:
        with self._changed:
            for request in self._waiting:
                if request.future is future:
                    request.priority = min(request.priority, priority)

    def _forget(self, stream: DecodeStream) -> None:
        with self._changed:
            if self._streams.pop(stream.id, None) is None:
                return
            if all(other.caller != stream.caller for other in self._streams.values()):
                self._last_turn.pop(stream.caller, None)
            if stream.home is not None:
                self._forgotten[stream.home].append(stream.id)
                stream.home = None
            waiting = [request for request in self._waiting if request.stream is stream]
            self._waiting = [request for request in self._waiting if request.stream is not stream]
        for request in waiting:
            if not request.future.cancel():  # it is being tried again
                _fail(request, ClosedError("the stream is closed"))

    def _serve(self, index: int) -> None:
        """The thread of one worker: take requests, run them, bring the worker back when it dies."""
        while True:
            batch, forget = self._take(index)
            if not batch:
                return
            try:
                self._run(index, batch, forget)
            except WorkerError:
                self._retry(index, batch)
                if not self._restart(index):
                    return
            except HarkError as error:
                # Its traceback would hold the batch, and so itself and the audio.
                self._give_up(batch, error.with_traceback(None))
            except Exception as error:  # a broken engine must leave nobody waiting
                logger.error(
                    "decode failed", extra={"model": self.model, "error": type(error).__name__}
                )
                self._give_up(batch, RecognitionError(f"the engine raised {type(error).__name__}"))
            del batch  # or its session and audio would live on until the next comes

    def _take(self, index: int) -> tuple[list[_Request], list[int]]:
        """Wait for work this worker may do.

        Returns:
            A batch, empty if the scheduler is closed, and the streams to forget before it: those
            that are closed from now on may be in the batch.
        """
        with self._changed:
            while not self._is_closed:
                batch = self._most_urgent(index)
                if batch:
                    forget, self._forgotten[index] = self._forgotten[index], []
                    self._at_work += 1
                    return batch, forget
                self._changed.wait()
            return [], []

    def _urgency(self, request: _Request) -> tuple[int, int, int]:
        return (request.priority, self._last_turn.get(request.stream.caller, 0), request.order)

    def _most_urgent(self, index: int) -> list[_Request]:
        self._waiting = [r for r in self._waiting if not r.future.cancelled()]
        eligible = sorted(
            (r for r in self._waiting if r.stream.home in (None, index)), key=self._urgency
        )
        batch: list[_Request] = []
        for request in eligible:
            if len(batch) == self.capabilities.max_batch:
                break
            if any(request.stream is taken.stream for taken in batch):
                continue
            if batch and (request.attempts or batch[0].attempts):
                continue  # what may have killed a worker is tried again alone
            if request.attempts or request.future.set_running_or_notify_cancel():
                batch.append(request)
        taken = {id(request) for request in batch}
        self._waiting = [r for r in self._waiting if id(r) not in taken]
        for request in batch:
            self._last_turn[request.stream.caller] = next(self._turns)
            if self.capabilities.streaming:
                request.stream.home = index
        return batch

    def _run(self, index: int, batch: list[_Request], forget: list[int]) -> None:
        try:
            self._decode(index, batch, forget)
        finally:
            with self._changed:
                self._at_work -= 1

    def _decode(self, index: int, batch: list[_Request], forget: list[int]) -> None:
        threads = self._threads_for_each()
        started = time.perf_counter()
        for request in batch:
            for number in range(len(request.stream.anchors) + 1, self._anchors(request) + 1):
                self._make_anchor(index, request.stream, number, threads)
        jobs = [self._job(request) for request in batch]
        hypotheses = self._workers[index].decode(jobs, forget, threads=threads)
        # Not all of a decode gains by a second thread, which counts half.
        self._note_time(batch, (1 + threads) / 2 * (time.perf_counter() - started))
        for request, job, hypothesis in zip(batch, jobs, hypotheses, strict=True):
            stream, length = request.stream, job.offset + len(job.samples)
            stream.previous = hypothesis
            stream.held = length if job.keep else 0
            if self._is_anchor(request):
                stream.add_anchor(length // self.capabilities.anchor, hypothesis)
            request.future.set_result(Decoded(hypothesis, length))

    def _threads_for_each(self) -> int:
        """Threads for a decode, if every utterance that is open had as many.

        Not only those that are being decoded: with 22 streams on two cores, two threads for
        whoever was the only one took the finals' p95 from 0.83 to 1.0 s.
        """
        decodes = max(1, self._at_work, len(self._streams))
        return max(1, min(self.capabilities.threads, self._at_once // decodes))

    def _is_anchor(self, request: _Request) -> bool:
        anchor = self.capabilities.anchor
        is_whole = request.length is not None and anchor > 0 and request.length % anchor == 0
        return is_whole and not request.final

    def _anchors(self, request: _Request) -> int:
        """How many anchors a decode goes by: a matter of its audio only, not of who asked when."""
        anchor = self.capabilities.anchor
        if not anchor or request.priority is Priority.RECORDING:
            return 0  # a recording is decoded once only
        if self._is_anchor(request):
            assert request.length is not None
            return request.length // anchor - 1
        if not request.final:
            return 0
        length = request.stream.length if request.length is None else request.length
        return max(0, length - ANCHOR_MARGIN) // anchor

    def _previous(self, request: _Request) -> Hypothesis | None:
        if self.capabilities.anchor and (request.final or self._is_anchor(request)):
            count = self._anchors(request)
            return request.stream.anchors[count - 1] if count else None
        return request.stream.previous

    def _make_anchor(self, index: int, stream: DecodeStream, number: int, threads: int) -> None:
        job = DecodeJob(
            stream=stream.id,
            offset=0,
            samples=stream.read(0, number * self.capabilities.anchor),
            options=stream.options,
            previous=stream.anchors[number - 2] if number > 1 else None,
            final=False,
            keep=False,
        )
        (hypothesis,) = self._workers[index].decode([job], threads=threads)
        stream.add_anchor(number, hypothesis)

    def _job(self, request: _Request) -> DecodeJob:
        stream = request.stream
        offset = stream.held
        if request.length is not None and offset > request.length:
            offset = 0  # what a streaming model has heard cannot be taken back: start anew
        return DecodeJob(
            stream=stream.id,
            offset=offset,
            samples=stream.read(offset, request.length),
            options=stream.options,
            previous=self._previous(request),
            final=request.final,
            # After its last hypothesis a streaming model's state is of no more use.
            keep=self.capabilities.streaming and not request.final,
            context=request.context,
        )

    def _note_time(self, batch: list[_Request], computed_s: float) -> None:
        if any(request.priority is not Priority.INTERIM for request in batch):
            return
        each_s = computed_s / len(batch)
        weight = _SMOOTHING if self._interim_s else 1.0
        self._interim_s += weight * (each_s - self._interim_s)

    def _give_up(self, batch: list[_Request], error: HarkError) -> None:
        """Tell the callers; the worker's streams of a failed call are of no more use."""
        for request in batch:
            request.stream.held = 0
            _fail(request, error)

    def _retry(self, index: int, batch: list[_Request]) -> None:
        """Put the jobs of a worker that died back, unless they seem to be what killed it."""
        hopeless: list[tuple[_Request, HarkError]] = []
        with self._changed:
            self._forgotten[index].clear()
            for stream in self._streams.values():
                if stream.home == index:
                    stream.home, stream.held = None, 0
            for request in batch:
                request.attempts += 1
                error = self._why_hopeless(request)
                if error is None:
                    self._waiting.append(request)
                else:
                    hopeless.append((request, error))
            self._changed.notify_all()
        for request, error in hopeless:
            _fail(request, error)

    def _why_hopeless(self, request: _Request) -> HarkError | None:
        if self._is_closed or request.stream.id not in self._streams:
            return ClosedError("closed while its worker died")
        if request.attempts >= MAX_ATTEMPTS:
            return RecognitionError("the decode brought down several workers")
        return None

    def _restart(self, index: int) -> bool:
        """Start the worker again, however often it takes; False once the scheduler is closed."""
        delays_s = itertools.chain(_RESTART_DELAYS_S, itertools.repeat(_RESTART_DELAYS_S[-1]))
        for attempt, delay_s in enumerate(delays_s, start=1):
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, timeout=delay_s):
                    return False
            logger.warning("worker died; starting it again", extra={"model": self.model})
            try:
                self._workers[index].start()
            except Exception as error:  # whatever it is, the next attempt may go better
                logger.error(
                    "worker does not start",
                    extra={"model": self.model, "error": type(error).__name__},
                )
                if attempt >= len(_RESTART_DELAYS_S):
                    self._bury(index)
            else:
                with self._changed:
                    self._dead.discard(index)
                return True
        raise AssertionError("unreachable: the delays never end")

    def _bury(self, index: int) -> None:
        """Note that a worker does not start; with the last one gone, nobody may wait any longer."""
        with self._changed:
            self._dead.add(index)
            if self.is_alive:
                return
            waiting, self._waiting = self._waiting, []
        for request in waiting:
            _fail(request, WorkerError("no worker of this model is running"))


def _fail(request: _Request, error: HarkError) -> None:
    try:
        request.future.set_exception(error)
    except InvalidStateError:
        pass  # its owner took it back at this very moment
