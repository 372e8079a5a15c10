"""The way to a recogniser. Two kinds carry the same messages: a WebSocket, and none at all.

Backend ── open() ──> Link      one stream: `hark_protocol` messages both ways
└─ transcribe()         a whole recording
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from hark_protocol import ClientMessage, Config, Ready, ServerMessage

from ..options import RecognitionOptions


class TranscribedWord(Struct, frozen=True):
    """One word of a recording."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None


class TranscribedUtterance(Struct, frozen=True):
    """One utterance of a recording."""

    start_s: float
    end_s: float
    text: str
    confidence: float | None = None
    language: str | None = None
    words: tuple[TranscribedWord, ...] | None = None


class Transcription(Struct, frozen=True):
    """The text of a whole recording."""

    text: str
    model: str
    utterances: tuple[TranscribedUtterance, ...]
    language: str | None = None


class Link(Protocol):
    """An open connection to a recogniser, for one stream.

    One task may send while another receives. After an error the link is of no use.

    Attributes:
        ready: how the recogniser introduced itself.
    """

    ready: Ready

    async def send(self, message: ClientMessage) -> None:
        """Hand over a message; returns when there is room for the next one.

        Cancelling is safe only when the link is given up with it.

        Raises:
            APIError: the connection is lost.
        """
        ...

    async def receive(self) -> ServerMessage:
        """The next message. Never `error`: that is raised.

        Cancelling is safe only when the link is given up with it.

        Raises:
            APIError: the connection is lost, the recogniser ended it, or it broke the protocol.
        """
        ...

    async def aclose(self) -> None:
        """Give the connection up. Idempotent; waits for the other side briefly or not at all."""
        ...


class Backend(Protocol):
    """A recogniser, wherever it is."""

    async def open(self, config: Config, *, timeout_s: float) -> Link:
        """Connect once, and wait until the recogniser is ready for audio. Cancelling is safe.

        Args:
            config: the stream's first message.
            timeout_s: longest wait for the other side.

        Raises:
            APIError: no connection, or a refusal.
        """
        ...

    async def transcribe(
        self, wav: bytes, options: RecognitionOptions, *, timeout_s: float
    ) -> Transcription:
        """Recognise a whole recording. Cancelling is safe.

        Args:
            wav: a WAV file of any rate, mono.
            options: what is asked of the recogniser.
            timeout_s: longest wait.

        Raises:
            APIError: no connection, or a refusal.
        """
        ...

    def prewarm(self) -> None:
        """Begin what makes the first stream start fast, without waiting for it."""
        ...

    async def aclose(self) -> None:
        """Let go of what is shared by all links. Idempotent."""
        ...
