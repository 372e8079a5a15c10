"""The server's settings: each one a field, a flag of `hark serve` and a HARK_* variable."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from hark.errors import ModelFileError, SettingsError
from hark_protocol import DEFAULT_MAX_MESSAGE_BYTES, LEAST_MAX_MESSAGE_BYTES

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

SESSIONS_PER_WORKER = 4
"""Sessions admitted for each worker where they are neither set nor can be measured: few, since
another model may be slower than the default one."""

_MODEL_CHARACTERS = 200  # as `hark_protocol.messages.Name`, in which `ready` names the model

_DAY_S = 24 * 60 * 60

# Smallest and largest value that makes sense; None for no bound.
_RANGES: dict[str, tuple[float, float | None]] = {
    "port": (0, 65_535),
    "workers": (1, 1_024),
    "max_sessions": (1, 100_000),
    "max_transcriptions": (1, 1_000),
    "max_message_bytes": (LEAST_MAX_MESSAGE_BYTES, 64 * 1024 * 1024),
    "max_file_bytes": (1_024, None),
    "max_file_s": (1, None),
    "max_session_s": (0, None),
    "idle_timeout_s": (1, _DAY_S),
    "send_timeout_s": (0.1, 600),
    "grace_period_s": (0, _DAY_S),
    "ping_interval_s": (1, 3_600),
    "ping_timeout_s": (1, 3_600),
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
}


@dataclass(frozen=True)
class ServerSettings:
    """What one server process is told at its start; never changes afterwards.

    Attributes:
        host: address to listen on.
        port: TCP port to listen on; 0 lets the system choose.
        models: names or folders of models to load; the first is the default. Empty for Hark's
            default model.
        workers: worker processes for each model; None for one for each core.
        api_keys: keys of which a client must present one; empty for no authentication.
        allow_anonymous: lets anyone in although the server listens beyond this machine.
        max_sessions: most sessions at a time; None for as many as the machine carries, measured at
            the first start (`hark.server.capacity`).
        max_transcriptions: most uploaded files in work at a time; more may be coming in meanwhile.
        max_message_bytes: largest WebSocket message.
        max_file_bytes: largest uploaded file.
        max_file_s: longest uploaded audio, in seconds.
        max_session_s: longest session, in seconds of audio; 0 for no limit.
        idle_timeout_s: longest time without a message, or without a byte of an upload, in seconds.
        send_timeout_s: longest time that a client may leave our messages unread, in seconds.
        grace_period_s: longest time that sessions get to move away when the server is told to end.
        ping_interval_s: seconds between WebSocket pings.
        ping_timeout_s: longest time a client may take to answer one.
        log_level: least severe level that is logged.
        log_format: "text" for people, "json" for programs.
        tls_certificate: PEM file with the certificate chain; None for no TLS.
        tls_key: PEM file with its private key.

    Raises:
        SettingsError: a value is out of range or contradicts another; names the setting.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ()
    workers: int | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allow_anonymous: bool = False
    max_sessions: int | None = None
    max_transcriptions: int = 2
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    max_file_bytes: int = 256 * 1024 * 1024
    max_file_s: int = 2 * 60 * 60  # in memory twice 115 MB an hour
    max_session_s: int = 0
    idle_timeout_s: float = 60.0
    send_timeout_s: float = 10.0
    grace_period_s: float = 25.0  # below the 30 s after which Kubernetes kills by default
    ping_interval_s: float = 20.0
    ping_timeout_s: float = (
        60.0  # a phone that changes networks needs more than uvicorn's default of 20 s
    )
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        """Check every value by itself, then those that depend on each other."""
        for name, (least, most) in _RANGES.items():
            _check_range(name, getattr(self, name), least, most)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _error(name, f"must be one of: {', '.join(choices)}")
        if not self.host:
            raise _error("host", "must not be empty")
        self._check_models()
        self._check_keys()
        self._check_tls()

    def _check_models(self) -> None:
        if not all(self.models):
            raise _error("models", "has an empty name in it")
        for model in self.models:
            if len(model) > _MODEL_CHARACTERS:
                raise _error(
                    "models",
                    f"has a path of {len(model)} characters in it, but clients are told no more "
                    f"than {_MODEL_CHARACTERS}; link to the folder from a shorter path",
                )
            _check_is_here(model)

    def _check_keys(self) -> None:
        for key in self.api_keys:
            # What cannot stand in a header can never match. The message must not hold the key.
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise _error("api_keys", "holds a key that is not printable ASCII without spaces")
        if self.api_keys and self.allow_anonymous:
            raise _error("allow_anonymous", f"contradicts {describe('api_keys')}; drop one of them")
        if not self.api_keys and not self.allow_anonymous and not is_loopback(self.host):
            raise _error(
                "api_keys",
                f"must be set to listen on {self.host!r}, which other machines can reach; "
                f"{describe('allow_anonymous')} opens the server to everyone instead",
            )

    def _check_tls(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise _error(missing, "must be set too: TLS needs both the certificate and its key")
        for name in ("tls_certificate", "tls_key"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                raise _error(name, f"must be a readable file, not {str(path)!r}")


def read_api_keys(path: Path) -> tuple[str, ...]:
    """Read API keys from a file: one a line, but for empty lines and those that start with `#`.

    Raises:
        SettingsError: the file cannot be read, or has no key in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise _error("api_keys_file", f"cannot be read ({reason}): {path}") from None
    stripped = (line.strip() for line in lines)
    keys = tuple(line for line in stripped if line and not line.startswith("#"))
    if not keys:
        raise _error("api_keys_file", f"has no key in it: {path}")
    return keys


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return "HARK_" + name.upper()


def describe(name: str) -> str:
    """A setting, as messages name it: by its flag and its variable."""
    return f"{flag(name)} ({variable(name)})"


def _check_range(name: str, value: float | None, least: float, most: float | None) -> None:
    if value is None or (least <= value and (most is None or value <= most)):
        return  # NaN compares false, so it ends up below
    bounds = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
    raise _error(name, f"must be {bounds}, not {value:g}")


def _check_is_here(model: str) -> None:
    from hark.engines import catalogue  # not needed by `hark --help`

    if model in catalogue.CATALOGUE:
        if model not in catalogue.installed():
            try:
                catalogue.locate(model)
            except ModelFileError as error:
                raise _error("models", f"cannot be had: {error}") from None
    elif not Path(model).is_dir():
        here = [name for name in catalogue.installed() if catalogue.find(name).files]
        raise _error(
            "models",
            f"has {model!r} in it, which is neither a folder nor a model that is here; "
            f"available: {', '.join(here) or 'none'}",
        )


def _error(name: str, problem: str) -> SettingsError:
    return SettingsError(f"{describe(name)} {problem}")


SETTING_NAMES = tuple(setting.name for setting in fields(ServerSettings))
"""Names of all settings, in the order in which they are documented."""
