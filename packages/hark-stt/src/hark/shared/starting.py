"""Make a server, unless there is one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hark.errors import WorkerError
from hark.shared.rendezvous import Rendezvous, SharedSettings

logger = logging.getLogger("hark.shared")

_BACKLOG = 1024

# Not `-m`: that would let a file in the folder where the user stands take a module's place.
_ARGUMENTS = (
    "-c",
    "import sys; sys.path[:] = filter(None, sys.path); from hark.shared.server import main; main()",
)


class Errand(msgspec.Struct, frozen=True):
    """What a new server is told, as JSON on its command line.

    Attributes:
        settings: what it is for.
        log: file to log to.
        log_level: number of the least severe level to log.
        lease_socket: descriptor of the listening socket.
        http_socket: descriptor of the other one.
        lock: descriptor of the lock; to be closed when no more leases are taken.
    """

    settings: SharedSettings
    log: str
    log_level: int
    lease_socket: int
    http_socket: int
    lock: int


def start(place: Rendezvous, settings: SharedSettings) -> bool:
    """Start a server, unless there is one or somebody else is about to.

    When this has returned, its sockets take connections. It belongs to nobody, and ends by itself.

    Returns:
        Whether it was started here.

    Raises:
        WorkerError: it cannot be started.
    """
    try:
        with _locked(place.lock) as lock:
            if lock is None:
                return False
            with _listening(place.lease_socket) as lease, _listening(place.http_socket) as http:
                _spawn(place, settings, lease, http, lock)
    except OSError as error:
        raise WorkerError(f"the shared recogniser cannot be started: {error}") from None
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The descriptor of the locked file, or None if somebody else has locked it.

    Closing it frees the lock only if no other process has been handed it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def _listening(path: Path) -> socket.socket:
    """A listening socket in place of whatever an earlier server left there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _spawn(
    place: Rendezvous,
    settings: SharedSettings,
    lease: socket.socket,
    http: socket.socket,
    lock: int,
) -> None:
    descriptors = (lease.fileno(), http.fileno(), lock)
    level = logging.getLogger("hark").getEffectiveLevel()
    errand = Errand(settings, str(place.log), level, *descriptors)
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *_ARGUMENTS, msgspec.json.encode(errand).decode()],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a terminal's Ctrl-C is not for it
        )
    logger.info("shared recogniser started", extra={"pid": process.pid, "log": str(place.log)})
    # Should it end before we do, somebody has to take note, or it stays in the list of processes.
    threading.Thread(target=process.wait, name="hark-shared-reaper", daemon=True).start()
