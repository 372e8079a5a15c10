"""Where the commands write: results to stdout, everything about them to stderr."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

PAGE_WIDTH = 160
"""Columns where there is no terminal: a log must not be wrapped at 80."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PAGE_WIDTH
    return console


out = _console(stderr=False)
"""Standard output; what a command was asked for."""

err = _console(stderr=True)
"""Standard error: progress and problems."""

FAILED = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def complain(message: str) -> None:
    """Say on stderr what is wrong; `message` is plain text, not markup."""
    err.print(f"hark: {message}", style="red", markup=False, soft_wrap=True)


def fail(message: str) -> NoReturn:
    """Say what is wrong and end the command with exit code 1."""
    complain(message)
    raise typer.Exit(FAILED)
