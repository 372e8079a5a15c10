"""`hark serve`: the flags and variables of `hark.server.settings.ServerSettings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hark.cli.console import complain
from hark.cli.extras import require
from hark.cli.lifecycle import exit_codes
from hark.errors import SettingsError
from hark.server.settings import (
    LogFormat,
    LogLevel,
    ServerSettings,
    flag,
    read_api_keys,
    variable,
)

_DEFAULT = ServerSettings()

WRONG_USAGE = 2
"""The exit code of the command line's own complaints about flags."""


def _option(name: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(flag(name), envvar=variable(name), help=help, rich_help_panel=panel, **more)


def serve(
    host: Annotated[str, _option("host", "Address to listen on.", "Network")] = _DEFAULT.host,
    port: Annotated[
        int, _option("port", "TCP port; 0 lets the system choose.", "Network")
    ] = _DEFAULT.port,
    tls_certificate: Annotated[
        Path | None,
        _option("tls_certificate", "PEM file with the certificate chain; turns TLS on.", "Network"),
    ] = None,
    tls_key: Annotated[
        Path | None, _option("tls_key", "PEM file with the certificate's private key.", "Network")
    ] = None,
    ping_interval_s: Annotated[
        float, _option("ping_interval_s", "Seconds between WebSocket pings.", "Network")
    ] = _DEFAULT.ping_interval_s,
    ping_timeout_s: Annotated[
        float, _option("ping_timeout_s", "Seconds a client has to answer a ping.", "Network")
    ] = _DEFAULT.ping_timeout_s,
    models: Annotated[
        str,
        _option(
            "models",
            "Models to load, names or folders, separated by commas; the first is the default.",
            "Models",
            show_default="moonshine-tiny-en",
        ),
    ] = "",
    workers: Annotated[
        int | None,
        _option(
            "workers",
            "Worker processes for each model.",
            "Models",
            show_default="one for each core",
        ),
    ] = None,
    api_keys: Annotated[
        str,
        _option(
            "api_keys",
            "API keys, separated by commas; clients present one of them. Other users of this "
            "machine can read flags, so rather use the variable or the file.",
            "Access",
            show_default=False,
        ),
    ] = "",
    api_keys_file: Annotated[
        Path | None,
        _option(
            "api_keys_file", "File with more API keys, one a line; `#` starts a comment.", "Access"
        ),
    ] = None,
    allow_anonymous: Annotated[
        bool,
        typer.Option(
            flag("allow_anonymous"),
            envvar=variable("allow_anonymous"),
            help="Listen beyond this machine without API keys.",
            rich_help_panel="Access",
        ),
    ] = False,
    max_sessions: Annotated[
        int | None,
        _option(
            "max_sessions",
            "Most sessions at a time.",
            "Limits",
            show_default="measured at the first start",
        ),
    ] = None,
    max_transcriptions: Annotated[
        int, _option("max_transcriptions", "Most uploaded files in work at a time.", "Limits")
    ] = _DEFAULT.max_transcriptions,
    max_message_bytes: Annotated[
        int, _option("max_message_bytes", "Largest WebSocket message.", "Limits")
    ] = _DEFAULT.max_message_bytes,
    max_file_bytes: Annotated[
        int, _option("max_file_bytes", "Largest uploaded file.", "Limits")
    ] = _DEFAULT.max_file_bytes,
    max_file_s: Annotated[
        int, _option("max_file_s", "Longest uploaded audio, in seconds.", "Limits")
    ] = _DEFAULT.max_file_s,
    max_session_s: Annotated[
        int,
        _option("max_session_s", "Longest session, in seconds of audio; 0 for no limit.", "Limits"),
    ] = _DEFAULT.max_session_s,
    idle_timeout_s: Annotated[
        float,
        _option(
            "idle_timeout_s", "Seconds after which a client that sends nothing is cut.", "Limits"
        ),
    ] = _DEFAULT.idle_timeout_s,
    send_timeout_s: Annotated[
        float,
        _option(
            "send_timeout_s", "Seconds after which a client that reads nothing is cut.", "Limits"
        ),
    ] = _DEFAULT.send_timeout_s,
    grace_period_s: Annotated[
        float,
        _option("grace_period_s", "Seconds that sessions get to move away on SIGTERM.", "Limits"),
    ] = _DEFAULT.grace_period_s,
    log_level: Annotated[
        str, _option("log_level", "debug, info, warning or error.", "Logs")
    ] = _DEFAULT.log_level,
    log_format: Annotated[
        str, _option("log_format", "text for people, json for programs.", "Logs")
    ] = _DEFAULT.log_format,
) -> None:
    """Serve speech-to-text over WebSocket and HTTP until told to end.

    On SIGTERM or Ctrl-C, open sessions get `--grace-period-s` to move to another server; a second
    signal ends them at once. For example:

    - `hark serve`
    - `HARK_API_KEYS=... hark serve --host 0.0.0.0 --max-sessions 16`
    """
    require("server", "hark serve")
    from hark.server.serve import run

    with exit_codes():
        try:
            settings = ServerSettings(
                host=host,
                port=port,
                tls_certificate=tls_certificate,
                tls_key=tls_key,
                ping_interval_s=ping_interval_s,
                ping_timeout_s=ping_timeout_s,
                models=_split(models),
                workers=workers,
                api_keys=(
                    *_split(api_keys),
                    *(read_api_keys(api_keys_file) if api_keys_file else ()),
                ),
                allow_anonymous=allow_anonymous,
                max_sessions=max_sessions,
                max_transcriptions=max_transcriptions,
                max_message_bytes=max_message_bytes,
                max_file_bytes=max_file_bytes,
                max_file_s=max_file_s,
                max_session_s=max_session_s,
                idle_timeout_s=idle_timeout_s,
                send_timeout_s=send_timeout_s,
                grace_period_s=grace_period_s,
                log_level=cast(LogLevel, log_level),  # checked there
                log_format=cast(LogFormat, log_format),
            )
        except SettingsError as error:
            complain(str(error))
            raise typer.Exit(WRONG_USAGE) from None
        run(settings)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text.strip() else ()
