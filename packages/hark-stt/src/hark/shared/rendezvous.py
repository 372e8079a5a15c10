"""Where processes that want the same recogniser meet: a folder that is this user's alone."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

import hark
from hark.engines import catalogue
from hark.errors import SettingsError
from hark.version import __version__

LINGER_S = 10.0
"""Seconds that a server waits for a next lease when the last one has ended: a call may follow the
other, and loading the models again would take longer than a caller likes to wait."""

_MAX_SOCKET_PATH_BYTES = 103
"""macOS's limit; Linux allows 107."""


class SharedSettings(msgspec.Struct, frozen=True):
    """What processes must agree on to share a server.

    Attributes:
        model: name or folder.
        workers: worker processes, one core each.
        linger_s: see `LINGER_S`.
    """

    model: str
    workers: int
    linger_s: float = LINGER_S

    def key(self) -> str:
        """A short name, the same for whoever would start the very same server."""
        is_named = self.model in catalogue.CATALOGUE
        facts = (
            self.model,
            self.workers,
            self.linger_s,
            # A name stands for files there; the same relative path may be another folder elsewhere.
            os.path.abspath(catalogue.models_dir() if is_named else self.model),
            # The very same code: two versions need not understand each other.
            __version__,
            hark.__file__,
            sys.executable,
            sys.prefix,
        )
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:16]


class Answer(msgspec.Struct, frozen=True):
    """The one line that a server says on each lease, as JSON, when it knows.

    Attributes:
        failure: why the models cannot be loaded; None when they are.
        is_model_error: whether that is the model's fault, so that trying again is of no use.
    """

    failure: str | None = None
    is_model_error: bool = False


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """The files of one server.

    They stay when it ends; only a locked lock and a socket that answers mean anything.

    Attributes:
        lease_socket: a connection to it is a lease.
        http_socket: where it serves Hark's protocol.
        lock: locked for as long as there is a server, or one is being started.
        log: what it logs; `log.1` is what came before.
    """

    lease_socket: Path
    http_socket: Path
    lock: Path
    log: Path

    @classmethod
    def of(cls, settings: SharedSettings) -> Rendezvous:
        """Give the place for these settings; its folder is made.

        Raises:
            SettingsError: there is no folder that is safe to use.
        """
        folder = users_folder() / settings.key()
        _make_private(folder)
        return cls(folder / "lease", folder / "http", folder / "lock", folder / "log")


def users_folder() -> Path:
    """Give the folder of all servers of this user.

    It is in `XDG_RUNTIME_DIR`, or without one where temporary files go.

    Raises:
        SettingsError: it cannot be made, or others could get at what is in it.
    """
    parent = _runtime_folder()
    if parent.stat().st_uid not in (0, os.getuid()):  # who owns it could put another folder there
        raise SettingsError(
            f"{parent} belongs to another user; set XDG_RUNTIME_DIR to a folder of yours"
        )
    folder = parent / f"hark-{os.getuid()}"
    _make_private(folder)
    if len(os.fsencode(folder)) + len("/0123456789abcdef/lease") > _MAX_SOCKET_PATH_BYTES:
        raise SettingsError(
            f"the path of {folder} is too long for a socket; set XDG_RUNTIME_DIR to a shorter one"
        )
    return folder


def _runtime_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")  # of a user that is gone, it may not exist
    return Path(runtime if runtime and os.access(runtime, os.W_OK) else tempfile.gettempdir())


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can use; one that is there must be such a folder.

    Raises:
        SettingsError: it is not.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SettingsError(f"{folder} cannot be made: {error.strerror}") from None
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if not is_ours or stat.S_IMODE(status.st_mode) & 0o077:
        raise SettingsError(
            f"{folder} is not a folder of this user's alone; remove it, or set XDG_RUNTIME_DIR"
        )
