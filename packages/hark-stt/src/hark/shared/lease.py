"""What a process holds that wants to recognise: the shared server lives while anybody has one."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hark.cores import usable_cores
from hark.engines.registry import DEFAULT_MODEL
from hark.errors import ClosedError, HarkError, ModelError, WorkerError
from hark.shared.rendezvous import LINGER_S, Answer, Rendezvous, SharedSettings
from hark.shared.starting import start
from hark.waiting import result_of

START_TIMEOUT_S = 120.0
"""Seconds a server may take to load its models: large ones come from slow disks."""

_RETRY_S = 0.05
"""Between looks at a lock that somebody else holds, for moments only."""

_decoder = msgspec.json.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that was granted."""

    connection: socket.socket
    http_socket: Path

    def is_valid(self) -> bool:
        """Whether the server still lives: it says nothing more, but its end can be read."""
        try:
            self.connection.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class Lease:
    """One caller's hold on the recogniser of this machine. Thread-safe, bound to no event loop.

    Taken when it is first needed, and taken anew when the server has died.
    """

    def __init__(
        self, model: str | None = None, *, workers: int | None = None, linger_s: float = LINGER_S
    ) -> None:
        """Prepare. Cheap: nothing is started yet.

        Args:
            model: name or folder; None for the default.
            workers: decoders, one core each; None for one for each core of the machine.
            linger_s: see `rendezvous.LINGER_S`.
        """
        self._settings = SharedSettings(model or DEFAULT_MODEL, workers or usable_cores(), linger_s)
        self._taking: Future[_Held] | None = None
        self._is_released = False
        self._lock = threading.Lock()

    def prewarm(self) -> None:
        """Start what must be started, and do not wait for it. Errors show in `http_socket`."""
        self._take()

    async def http_socket(self) -> Path:
        """Give the socket where Hark's protocol is served, once the models are loaded.

        Safe to cancel: loading goes on.

        Raises:
            ModelError: they cannot be loaded.
            SettingsError: there is no safe place for the sockets.
            WorkerError: the server does not start.
            ClosedError: this lease was released.
        """
        return (await result_of(self._take())).http_socket

    def release(self) -> None:
        """Give the lease back. Idempotent, does not block."""
        with self._lock:
            self._is_released = True
            taking, self._taking = self._taking, None
        if taking is not None:
            taking.add_done_callback(_give_back)

    def _take(self) -> Future[_Held]:
        """Begin to take the lease, unless that has begun; one that is lost is taken again."""
        with self._lock:
            if self._is_released:
                raise ClosedError("this lease of the shared recogniser was released")
            if self._taking is not None and _is_over(self._taking):
                _give_back(self._taking)
                self._taking = None
            if self._taking is None:
                self._taking = Future()
                threading.Thread(
                    target=_run, args=(self._settings, self._taking), name="hark-lease", daemon=True
                ).start()
            return self._taking


def _is_over(taking: Future[_Held]) -> bool:
    return taking.done() and (taking.exception() is not None or not taking.result().is_valid())


def _give_back(taking: Future[_Held]) -> None:
    if taking.exception() is None:
        taking.result().connection.close()


def _run(settings: SharedSettings, taking: Future[_Held]) -> None:
    try:
        held = _obtain(settings)
    except Exception as error:  # whatever it is, it belongs to those who wait
        taking.set_exception(error)
    else:
        taking.set_result(held)


def _obtain(settings: SharedSettings) -> _Held:
    """Connect to the server, which may have to be started, and wait for its answer. Blocks."""
    place = Rendezvous.of(settings)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        connection, was_started_here = _connect(place, settings, deadline)
        try:
            answer = _read_answer(connection, deadline)
        except BaseException:
            connection.close()
            raise
        if answer is not None and answer.failure is None:
            connection.setblocking(False)
            return _Held(connection, place.http_socket)
        connection.close()
        if answer is not None:
            raise _error_of(answer)
        if was_started_here:
            raise WorkerError(f"the shared recogniser ended as it started; see {place.log}")
        # It was just about to end.


def _connect(
    place: Rendezvous, settings: SharedSettings, deadline: float
) -> tuple[socket.socket, bool]:
    """Give a connection, and whether the server at its other end was started for it."""
    was_started_here = False
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(place.lease_socket))
        except OSError as error:
            connection.close()
            if not isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                raise WorkerError(f"the shared recogniser cannot be reached: {error}") from None
        else:
            return connection, was_started_here
        was_started_here = start(place, settings)
        if not was_started_here:
            if time.monotonic() >= deadline:
                raise WorkerError(f"the shared recogniser neither runs nor ends; see {place.log}")
            time.sleep(_RETRY_S)


def _read_answer(connection: socket.socket, deadline: float) -> Answer | None:
    """Wait for the server's line; None if it ends without a word."""
    connection.settimeout(max(_RETRY_S, deadline - time.monotonic()))  # 0 means no waiting
    try:
        with connection.makefile("rb") as lines:
            line = lines.readline()
    except TimeoutError:
        raise WorkerError(
            f"the shared recogniser did not load within {START_TIMEOUT_S:g} s"
        ) from None
    except ConnectionError:
        return None
    return _decoder.decode(line) if line.endswith(b"\n") else None


def _error_of(answer: Answer) -> HarkError:
    failure = answer.failure or ""
    return ModelError(failure) if answer.is_model_error else WorkerError(failure)
