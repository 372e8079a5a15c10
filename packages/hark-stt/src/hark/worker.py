"""Workers: where decodes happen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hark.audio import PcmArray
from hark.errors import RecognitionError, WorkerError
from hark.recognizer import (
    Capabilities,
    Context,
    Hypothesis,
    RecognitionOptions,
    RecognitionStream,
    Recognizer,
)


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """One decode, as a worker gets it.

    Attributes:
        stream: identifies the utterance.
        offset: position in the utterance of the first of `samples`. 0 opens the stream (anew);
            otherwise the worker goes on with the one it has kept.
        samples: audio from `offset` on, shape (n,).
        options: what the caller wants.
        previous: the utterance's last hypothesis, which may help.
        context: what was said before; goes with offset 0 only.
        final: see `Recognizer.decode`.
        keep: whether more audio of this stream will come to this worker.
    """

    stream: int
    offset: int
    samples: PcmArray
    options: RecognitionOptions
    previous: Hypothesis | None
    final: bool
    keep: bool
    context: Context | None = None


class Worker(Protocol):
    """A recogniser in a process of its own, or in this one. All calls block; one thread uses it."""

    def start(self) -> Capabilities:
        """Load and warm the model. After a `WorkerError`, start again.

        Raises:
            HarkError: it does not load.
        """
        ...

    def decode(
        self, jobs: Sequence[DecodeJob], forget: Sequence[int] = (), *, threads: int = 1
    ) -> list[Hypothesis]:
        """Decode a batch of different streams.

        Args:
            jobs: at most `Capabilities.max_batch`.
            forget: kept streams of which no more will come.
            threads: see `Recognizer.decode`.

        Raises:
            RecognitionError: the engine failed; the worker itself is fine.
            WorkerError: the worker is gone, and all streams it kept with it.
        """
        ...

    def close(self) -> None:
        """End the worker and all it runs. Idempotent; another thread may call it meanwhile."""
        ...


class RecognizerHost:
    """Serves jobs with a recogniser: what every kind of worker does in the end."""

    def __init__(self, recognizer: Recognizer) -> None:
        """Args: recognizer: loaded; it is closed with this host."""
        self._recognizer = recognizer
        self._streams: dict[int, RecognitionStream] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What the recogniser can do."""
        return self._recognizer.capabilities

    def warm_up(self) -> None:
        """See `Recognizer.warm_up`."""
        self._recognizer.warm_up()

    def decode(
        self, jobs: Sequence[DecodeJob], forget: Sequence[int] = (), *, threads: int = 1
    ) -> list[Hypothesis]:
        """See `Worker.decode`."""
        for stream in forget:
            self._streams.pop(stream, None)
        streams = [self._advance(job) for job in jobs]
        final = [job.final for job in jobs]
        return self._recognizer.decode(streams, final=final, threads=threads)

    def _advance(self, job: DecodeJob) -> RecognitionStream:
        stream = self._streams.pop(job.stream, None)
        if job.offset == 0:
            stream = self._recognizer.open_stream(
                job.options, previous=job.previous, context=job.context
            )
        elif stream is None:
            raise RecognitionError("the earlier audio of this stream is not on this worker")
        stream.push(job.samples)
        if job.keep:
            self._streams[job.stream] = stream
        return stream

    def close(self) -> None:
        """Free the recogniser."""
        self._streams.clear()
        self._recognizer.close()


class LocalWorker:
    """A worker in this process: for tests, and for recognisers that compute elsewhere anyway."""

    def __init__(self, load: Callable[[], Recognizer]) -> None:
        """Args: load: makes the recogniser; called by `start`."""
        self._load = load
        self._host: RecognizerHost | None = None
        self._is_closed = False
        self._lock = threading.Lock()  # guards the two above against `close` from another thread

    def start(self) -> Capabilities:
        """See `Worker.start`."""
        self._stop()
        host = RecognizerHost(self._load())
        try:
            host.warm_up()
            self._adopt(host)
        except BaseException:
            host.close()
            raise
        return host.capabilities

    def _adopt(self, host: RecognizerHost) -> None:
        with self._lock:
            if self._is_closed:
                raise WorkerError("the worker is closed")
            self._host = host

    def decode(
        self, jobs: Sequence[DecodeJob], forget: Sequence[int] = (), *, threads: int = 1
    ) -> list[Hypothesis]:
        """See `Worker.decode`."""
        host = self._host
        if host is None:
            raise WorkerError("the worker is not running")
        return host.decode(jobs, forget, threads=threads)

    def close(self) -> None:
        """See `Worker.close`."""
        with self._lock:
            self._is_closed = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            host, self._host = self._host, None
        if host is not None:
            host.close()
