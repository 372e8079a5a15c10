"""Hark's recogniser inside this process.

The only module that imports `hark`, and it does so when it is first needed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from livekit.agents import APIConnectionError, APIError, APITimeoutError
from msgspec import UnsetType

from hark_protocol import ClientMessage, Config, Error, ErrorCode, Ready, ServerMessage

from .. import errors
from ..options import RecognitionOptions
from . import Transcription
from .deadline import within

if TYPE_CHECKING:
    from hark.embedded import Embedded
    from hark.session import Models, Session

T = TypeVar("T")

LOAD_TIMEOUT_S = 120.0
"""Longest wait for the models: a large one from a cold disk. Only the first stream of a process
waits at all."""


def is_installed() -> bool:
    """Whether the recogniser is there (the extra `local`)."""
    return importlib.util.find_spec("hark") is not None


def download_files() -> None:
    """Fetch and check the files of the default model, where the recogniser is there.

    Raises:
        HarkError: they cannot be had, or are not those that the catalogue names.
    """
    from hark.engines import catalogue
    from hark.engines.registry import DEFAULT_MODEL

    catalogue.download(DEFAULT_MODEL)


class EmbeddedBackend:
    """This process's share of the recogniser. Satisfies `Backend`."""

    def __init__(self, *, model: str | None) -> None:
        """Args: model: the one to prewarm; None for the default."""
        self._model = model
        self._shares: dict[str | None, Embedded] = {}

    async def open(self, config: Config, *, timeout_s: float) -> InProcessLink:
        """See `Backend.open`. Loading the models has a deadline of its own."""
        model = None if isinstance(config.model, UnsetType) else config.model
        link = InProcessLink(await self._load(self._share(model).open_session()))
        try:
            await within(timeout_s, link.begin(config))
        except asyncio.TimeoutError:
            await link.aclose()
            raise APITimeoutError(
                f"the recogniser did not become ready within {timeout_s:g} s"
            ) from None
        except BaseException:
            await link.aclose()
            raise
        return link

    async def transcribe(
        self, wav: bytes, options: RecognitionOptions, *, timeout_s: float
    ) -> Transcription:
        """See `Backend.transcribe`."""
        from hark.errors import HarkError

        pool = await self._load(self._share(options.model).pool())
        try:
            return await within(timeout_s, _transcribe(pool, wav, options))
        except asyncio.TimeoutError:
            raise APITimeoutError(f"not recognised within {timeout_s:g} s") from None
        except HarkError as error:
            raise _to_api_error(error) from None

    def prewarm(self) -> None:
        """See `Backend.prewarm`: the models load in the background."""
        self._share(self._model).prewarm()

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        while self._shares:
            _, share = self._shares.popitem()
            share.release()

    def _share(self, model: str | None) -> Embedded:
        from hark.embedded import Embedded

        if model not in self._shares:
            self._shares[model] = Embedded.acquire(model)
        return self._shares[model]

    async def _load(self, loading: Coroutine[Any, Any, T]) -> T:
        try:
            return await within(LOAD_TIMEOUT_S, loading)
        except asyncio.TimeoutError:
            raise APITimeoutError(
                f"the recogniser did not load within {LOAD_TIMEOUT_S:g} s"
            ) from None
        except Exception as error:  # loading runs engines, which raise what they like
            raise _to_api_error(error) from error


class InProcessLink:
    """A session of the recogniser in this process. Satisfies `Link` once `begin` has returned."""

    ready: Ready

    def __init__(self, session: Session) -> None:
        """Args: session: fresh; closed with the link."""
        self._session = session
        self._messages: AsyncIterator[ServerMessage] = aiter(session)

    async def begin(self, config: Config) -> None:
        """Send the first config and wait for its answer; see `Link.receive` for what it raises."""
        await self.send(config)
        message = await self.receive()
        assert isinstance(message, Ready)  # a session says nothing else first
        self.ready = message

    async def send(self, message: ClientMessage) -> None:
        """See `Link.send`. What is wrong with the message shows in `receive`."""
        try:
            await self._session.receive(message)
        except Exception as error:  # LiveKit gives up for good on what is no `APIError`
            raise errors.lost(type(error).__name__) from error

    async def receive(self) -> ServerMessage:
        """See `Link.receive`."""
        try:
            message = await anext(self._messages)
        except StopAsyncIteration:
            raise errors.lost("the session is closed") from None
        except Exception as error:  # as above
            raise errors.lost(type(error).__name__) from error
        if isinstance(message, Error):
            raise errors.from_message(message)
        return message

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        await self._session.aclose()


async def _transcribe(models: Models, wav: bytes, options: RecognitionOptions) -> Transcription:
    from hark.audio import read_audio
    from hark.transcription import transcribe

    samples = await asyncio.to_thread(read_audio, io.BytesIO(wav))
    transcription = await transcribe(
        models,
        samples,
        model=options.model,
        language=options.language,
        words=options.words,
        keyterms=options.keyterms,
    )
    return msgspec.convert(transcription, Transcription, from_attributes=True)


def _to_api_error(error: Exception) -> APIError:
    """What a server would have answered."""
    from hark.errors import (
        HarkError,
        LanguageNotSupportedError,
        ModelError,
        OptionNotSupportedError,
        SettingsError,
    )

    codes: dict[type[HarkError], ErrorCode] = {
        LanguageNotSupportedError: "language_not_supported",
        OptionNotSupportedError: "option_not_supported",
        ModelError: "model_not_found",
        SettingsError: "invalid_message",
    }
    for kind, code in codes.items():
        if isinstance(error, kind):
            return errors.from_message(Error.from_code(code, str(error)))
    reason = str(error) if isinstance(error, HarkError) else type(error).__name__
    return APIConnectionError(f"the recogniser failed: {reason}")
