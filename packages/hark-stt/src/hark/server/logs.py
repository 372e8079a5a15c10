"""Log lines for people or for programs; values travel in `extra`, messages are constant."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import datetime, timezone
from pathlib import Path

from hark.server.settings import LogFormat, LogLevel

# What every record has; the rest came in by `extra`.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
}


MAX_FILE_BYTES = 1_000_000
"""Of a log file. What was logged before is kept in a second one."""


def configure_logging(level: LogLevel, format: LogFormat, *, file: Path | None = None) -> None:
    """Log to standard error, or to a file of bounded size, from now on, in the whole process."""
    handler: dict[str, object] = {"class": "logging.StreamHandler"}
    if file is not None:
        handler = {
            "class": "logging.handlers.RotatingFileHandler",
            "filename": file,
            "maxBytes": MAX_FILE_BYTES,
            "backupCount": 1,
        }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "hark": {"()": JsonFormatter if format == "json" else TextFormatter},
            },
            "handlers": {"hark": {**handler, "formatter": "hark"}},
            "root": {"level": "WARNING", "handlers": ["hark"]},
            "loggers": {
                "hark": {"level": level.upper()},
                # Never below: at INFO uvicorn logs query strings, at DEBUG messages with speech.
                "uvicorn": {"level": "WARNING"},
                "websockets": {"level": "WARNING"},
            },
        }
    )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; a value that is not JSON is written as `str` writes it."""
        entry: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then `name=value` for each field of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record in one line, plus the traceback where there is one."""
        head = f"{_timestamp(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        parts = [
            head,
            *(f"{name}={_plain(value)}" for name, value in _extra_fields(record).items()),
        ]
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _plain(value: object) -> str:
    text = str(value)
    # Quoted where it could pass for another field or, with a line break in it, for another line.
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
