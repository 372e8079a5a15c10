"""How a command runs and ends: one line for an error, and nothing left running after Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

from hark.cli.console import INTERRUPTED, fail
from hark.errors import HarkError

T = TypeVar("T")


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what Hark raises into a message and exit code 1, and Ctrl-C into exit code 130."""
    try:
        yield
    except HarkError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def run(command: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end.

    Ctrl-C and SIGTERM cancel it, so that it closes what it has opened; a second one kills it.

    Raises:
        typer.Exit: it was interrupted (130 for Ctrl-C, 143 for SIGTERM), or an error of Hark ended
            it (1).
    """
    with exit_codes():
        return asyncio.run(_until_signalled(command))


async def _until_signalled(command: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(command)
    received: list[signal.Signals] = []

    def cancel(number: signal.Signals) -> None:
        received.append(number)
        forget()
        task.cancel()

    def forget() -> None:
        for number in watched:
            loop.remove_signal_handler(number)

    watched: list[signal.Signals] = []
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, cancel, number)
            watched.append(number)
    except NotImplementedError:  # Windows: Ctrl-C reaches asyncio.run as KeyboardInterrupt
        pass
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise typer.Exit(128 + received[0]) from None
    finally:
        forget()
