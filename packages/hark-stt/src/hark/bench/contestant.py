"""What is measured: anything that takes streams of audio and gives text."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from hark.errors import HarkError

Kind = Literal["interim", "preflight", "final"]


class ContestantError(HarkError):
    """A contestant cannot start, or breaks off; the message says why."""


class StreamRefused(ContestantError):
    """It takes no more streams now."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One result.

    Attributes:
        kind: "interim" or "preflight", which the next result replaces, or "final".
        text: of all that is not final yet, or of what now is.
        start_s: where in the stream that is, as far as the contestant says so.
        end_s: where it ends.
        at_s: when it came, on the clock of the stream: at 0 its first sample was spoken.
    """

    kind: Kind
    text: str
    start_s: float
    end_s: float
    at_s: float


Hear = Callable[[Kind, str, float, float], None]
"""Takes a result as it comes: kind, text, start and end in seconds. From any thread."""


class ContestantStream(Protocol):
    """One stream. Its audio is 16 kHz, mono."""

    def push(self, pcm: bytes) -> None:
        """Take the next samples, little-endian PCM16; must return at once."""

    async def finish(self) -> None:
        """Say that no audio follows; return when all results have come. May be cancelled.

        Raises:
            ContestantError: the stream has failed.
        """


class Contestant(ABC):
    """Something to measure, ready for streams.

    Attributes:
        settings: versions and settings, for the report.
        server_pid: the process that recognises, with its children: this one unless told otherwise;
            None if it is on another machine.
    """

    settings: Mapping[str, str]
    server_pid: int | None

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Args: settings: versions and settings."""
        self.settings = settings
        self.server_pid = os.getpid()

    @abstractmethod
    async def open(self, hear: Hear) -> ContestantStream:
        """Open a stream. Safe to cancel.

        Raises:
            StreamRefused: there is no room for it.
            ContestantError: it cannot be opened.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End everything. Idempotent."""

    async def server_lag_s(self) -> float | None:
        """How long a server takes to answer when it has nothing to do for it; None without one.

        That is how late its event loop is, and a little more.
        """
        return None
