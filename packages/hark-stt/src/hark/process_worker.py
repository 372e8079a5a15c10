"""A worker in a process of its own, so that neither side waits for the other's interpreter lock.

The parent listens on a local socket (a named pipe on Windows) and starts the child with the
address; what goes over it is MessagePack. While the child works it also says so, from a thread of
its own: a process that is stopped, or stuck with the interpreter lock, is found at once, and only
one that is stuck in native code takes as long as the slowest decode may. The child ends when its
standard input does, even in the middle of a decode, so it cannot outlive its parent.
`multiprocessing` itself is not used: it would import the user's main module again, and refuses to
work inside daemonic processes, which LiveKit's are.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import NoReturn

import msgspec
import numpy as np

from hark.audio import SAMPLE_RATE
from hark.errors import HarkError, ModelError, RecognitionError, WorkerError
from hark.recognizer import Capabilities, Context, Hypothesis, RecognitionOptions, Recognizer
from hark.worker import DecodeJob, RecognizerHost

START_TIMEOUT_S = 120.0
"""Seconds a worker may take to load and warm its model: large ones come from slow disks."""

DECODE_TIMEOUT_S = 10.0
"""Seconds one decode may take, besides what its audio allows, before its worker counts as hung."""

DECODE_TIMEOUT_PER_AUDIO_S = 4.0
"""Seconds that each second of audio adds to that: large models on slow machines are slow, not hung.
"""

STOPPED_TIMEOUT_S = 3.0
"""Seconds without a sign of life after which a worker that should work counts as stopped: several
times what the busiest machine keeps a thread waiting for."""

_ALIVE_INTERVAL_S = 0.5
_LOOKS = 3  # at a worker that is silent: if all of the machine stood still, the last shows it alive
_EXIT_TIMEOUT_S = 2.0


class _Started(msgspec.Struct, tag=True):
    capabilities: Capabilities


class _Decode(msgspec.Struct, tag=True):
    jobs: list[_WireJob]
    forget: list[int]
    threads: int


class _WireJob(msgspec.Struct):
    stream: int
    offset: int
    pcm: memoryview  # of what was received, instead of a copy
    options: RecognitionOptions
    previous: Hypothesis | None
    final: bool
    keep: bool
    context: _WireContext | None


class _WireContext(msgspec.Struct):
    pcm: memoryview
    tokens: tuple[int, ...]


class _Alive(msgspec.Struct, tag=True):
    """Still at work."""


class _Decoded(msgspec.Struct, tag=True):
    hypotheses: list[Hypothesis]


class _Failed(msgspec.Struct, tag=True):
    message: str
    is_model_error: bool = False


_Reply = _Started | _Alive | _Decoded | _Failed

_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(_Decode)
_reply_decoder = msgspec.msgpack.Decoder(_Reply)


class ProcessWorker:
    """The parent's end of a worker process. Satisfies `hark.worker.Worker`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        decode_timeout_s: float = DECODE_TIMEOUT_S,
        decode_timeout_per_audio_s: float = DECODE_TIMEOUT_PER_AUDIO_S,
        stopped_timeout_s: float = STOPPED_TIMEOUT_S,
    ) -> None:
        """Prepare, without starting anything.

        Args:
            arguments: for the Python interpreter: a module that ends up in `serve`.
            start_timeout_s: see `START_TIMEOUT_S`.
            decode_timeout_s: see `DECODE_TIMEOUT_S`.
            decode_timeout_per_audio_s: see `DECODE_TIMEOUT_PER_AUDIO_S`.
            stopped_timeout_s: see `STOPPED_TIMEOUT_S`.
        """
        self._arguments = tuple(arguments)
        self._start_timeout_s = start_timeout_s
        self._decode_timeout_s = decode_timeout_s
        self._decode_timeout_per_audio_s = decode_timeout_per_audio_s
        self._stopped_timeout_s = stopped_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()  # guards the two above against `close` from another thread
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process
        return process.pid if process is not None else None

    def start(self) -> Capabilities:
        """See `Worker.start`."""
        self._stop()
        try:
            connection = self._connect()
        except OSError as error:
            self._fail(f"the worker process cannot be started: {error}")
        with self._lock:
            self._connection = connection
        reply = self._receive(self._start_timeout_s)
        if isinstance(reply, _Started):
            return reply.capabilities
        self._stop()
        if reply is None:
            raise WorkerError(
                f"the worker process did not answer within {self._start_timeout_s:g} s"
            )
        if isinstance(reply, _Failed) and reply.is_model_error:
            raise ModelError(reply.message)
        raise WorkerError("the worker did not start")

    def _connect(self) -> Connection:
        key = secrets.token_bytes(32)
        with Listener(authkey=key) as listener:
            process = self._spawn(str(listener.address), key)
            return self._accept(listener, process)

    def _spawn(self, address: str, key: bytes) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise WorkerError("the worker is closed")
            process = self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                # A terminal's Ctrl-C goes to its whole process group, and an interpreter that is
                # still starting dies of it with a traceback, before `serve` can ignore it.
                start_new_session=True,
            )
        assert process.stdin is not None
        # A child that is dead already shows in `_accept`.
        with contextlib.suppress(OSError):
            process.stdin.write(f"{address}\n{key.hex()}\n".encode())
            process.stdin.flush()
        return process

    def _accept(self, listener: Listener, process: subprocess.Popen[bytes]) -> Connection:
        """Wait for the child to connect; a child that dies or dawdles ends the wait."""
        accepted: list[Connection] = []

        def accept() -> None:
            with contextlib.suppress(OSError, EOFError, AuthenticationError):
                accepted.append(listener.accept())

        thread = threading.Thread(target=accept, name="hark-worker-accept", daemon=True)
        thread.start()
        deadline = time.monotonic() + self._start_timeout_s
        while thread.is_alive() and process.poll() is None and time.monotonic() < deadline:
            thread.join(0.05)
        if thread.is_alive():
            self._stop()
            with contextlib.suppress(OSError):  # `accept` has no time limit: wake it
                Client(listener.address).close()
            thread.join(_EXIT_TIMEOUT_S)
        if not accepted:
            self._stop()
            raise WorkerError(f"the worker process did not come up (exit code {process.poll()})")
        return accepted[0]

    def decode(
        self, jobs: Sequence[DecodeJob], forget: Sequence[int] = (), *, threads: int = 1
    ) -> list[Hypothesis]:
        """See `Worker.decode`."""
        request = _Decode([_to_wire(job) for job in jobs], list(forget), threads)
        connection = self._connection
        if connection is None:
            raise WorkerError("the worker is not running")
        audio_s = sum(map(_samples, jobs)) / SAMPLE_RATE
        timeout_s = self._decode_timeout_s + self._decode_timeout_per_audio_s * audio_s
        with self._killed_after(self._stopped_timeout_s):  # it has nothing to do but read
            try:
                connection.send_bytes(_encoder.encode(request))
            except OSError:
                self._fail("the worker process is gone")
        reply = self._await_answer(timeout_s)
        if isinstance(reply, _Decoded):
            return reply.hypotheses
        if isinstance(reply, _Failed):
            raise RecognitionError(reply.message)
        self._fail("the worker process answered nonsense")

    @contextlib.contextmanager
    def _killed_after(self, timeout_s: float) -> Iterator[None]:
        """Kill a worker that does not read what it is sent: that ends the sending, too."""
        process = self._process
        if process is None:
            raise WorkerError("the worker is not running")
        timer = threading.Timer(timeout_s, process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _await_answer(self, timeout_s: float) -> _Reply:
        """Wait for what is not `_Alive`, but for no longer than the worker shows signs of life."""
        deadline = time.monotonic() + timeout_s
        looks_left = _LOOKS
        while looks_left:
            left_s = deadline - time.monotonic()
            reply = self._receive(max(0.0, min(left_s, self._stopped_timeout_s / _LOOKS)))
            if reply is None:
                looks_left -= 1
            elif isinstance(reply, _Alive):
                looks_left = _LOOKS
            else:
                return reply
            if left_s <= 0:
                self._fail(f"the worker process did not answer within {timeout_s:g} s")
        self._fail("the worker process has stopped")

    def _receive(self, timeout_s: float) -> _Reply | None:
        """The next message; None if none comes in time."""
        connection = self._connection
        if connection is None:
            raise WorkerError("the worker is not running")
        try:
            if not connection.poll(timeout_s):
                return None
            reply: _Reply = _reply_decoder.decode(connection.recv_bytes())
        except (OSError, EOFError):
            self._fail("the worker process is gone")
        except msgspec.MsgspecError:
            self._fail("the worker process answered nonsense")
        return reply

    def _fail(self, message: str) -> NoReturn:
        self._stop()
        # From None: what was going over the connection may hold speech.
        raise WorkerError(message) from None

    def close(self) -> None:
        """See `Worker.close`."""
        self._is_closed = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            connection, self._connection = self._connection, None
        if process is not None:
            process.kill()  # there is nothing in it worth saving
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_TIMEOUT_S)
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        # Last: its end tells another thread that waits for an answer.
        if connection is not None:
            connection.close()


def _samples(job: DecodeJob) -> int:
    return len(job.samples) + (len(job.context.samples) if job.context else 0)


def _to_wire(job: DecodeJob) -> _WireJob:
    context = job.context
    return _WireJob(
        job.stream,
        job.offset,
        job.samples.view(np.uint8).data,
        job.options,
        job.previous,
        job.final,
        job.keep,
        _WireContext(context.samples.view(np.uint8).data, context.tokens) if context else None,
    )


def _from_wire(job: _WireJob) -> DecodeJob:
    context = job.context
    return DecodeJob(
        job.stream,
        job.offset,
        np.frombuffer(job.pcm, dtype=np.int16),
        job.options,
        job.previous,
        job.final,
        job.keep,
        Context(np.frombuffer(context.pcm, np.int16), context.tokens) if context else None,
    )


def serve(load: Callable[[], Recognizer]) -> None:
    """Be the child: connect to the parent, load the recogniser, decode until the parent goes away.

    Args:
        load: makes the recogniser.
    """
    # Ctrl-C and a service manager's SIGTERM are for the parent, which ends us when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    address, key = sys.stdin.readline().strip(), sys.stdin.readline().strip()
    threading.Thread(target=_end_with_the_parent, name="hark-parent", daemon=True).start()
    with (
        contextlib.suppress(EOFError, ConnectionError),  # the parent is gone: so are we
        Client(address, authkey=bytes.fromhex(key)) as connection,
    ):
        host = _load(load, connection)
        heart = _Heart(connection)
        while host is not None:
            request = _request_decoder.decode(connection.recv_bytes())
            heart.answer(partial(_answer, host, request))


class _Heart:
    """Answers the parent, and tells it again and again that the answer is being worked on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_working = threading.Event()
        self._lock = threading.Lock()  # one message at a time, and no sign of life after the answer
        threading.Thread(target=self._beat, name="hark-heart", daemon=True).start()

    def answer(self, work: Callable[[], _Reply]) -> None:
        self._is_working.set()
        reply = work()
        with self._lock:
            self._is_working.clear()
            self._connection.send_bytes(_encoder.encode(reply))

    def _beat(self) -> None:
        alive = _encoder.encode(_Alive())
        with contextlib.suppress(OSError):  # the parent is gone
            while True:
                self._is_working.wait()
                time.sleep(_ALIVE_INTERVAL_S)
                with self._lock:
                    if self._is_working.is_set():
                        self._connection.send_bytes(alive)


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _load(load: Callable[[], Recognizer], connection: Connection) -> RecognizerHost | None:
    try:
        recognizer = load()
        recognizer.warm_up()
    except HarkError as error:
        connection.send_bytes(_encoder.encode(_Failed(str(error), is_model_error=True)))
        return None
    connection.send_bytes(_encoder.encode(_Started(recognizer.capabilities)))
    return RecognizerHost(recognizer)


def _answer(host: RecognizerHost, request: _Decode) -> _Decoded | _Failed:
    try:
        jobs = [_from_wire(job) for job in request.jobs]
        return _Decoded(host.decode(jobs, request.forget, threads=request.threads))
    except RecognitionError as error:
        return _Failed(str(error))
    except Exception as error:  # an engine's bug must not take the worker from everybody
        return _Failed(f"the engine raised {type(error).__name__}")
