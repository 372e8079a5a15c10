"""Hark's recogniser inside this process. Imports `hark` when it is first needed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from livekit.agents import APITimeoutError
from msgspec import UnsetType

from hark_protocol import ClientMessage, Config, Error, Ready, ServerMessage

from .. import errors
from ..options import RecognitionOptions
from . import Transcription
from .deadline import within
from .local import loaded, to_api_error

if TYPE_CHECKING:
    from hark.embedded import Embedded
    from hark.session import Models, Session


class EmbeddedBackend:
    """This process's share of the recogniser. Satisfies `Backend`."""

    def __init__(self, *, model: str | None) -> None:
        """Args: model: the one to prewarm; None for the default."""
        self._model = model
        self._shares: dict[str | None, Embedded] = {}

    async def open(self, config: Config, *, timeout_s: float) -> InProcessLink:
        """See `Backend.open`. Loading the models has a deadline of its own."""
        model = None if isinstance(config.model, UnsetType) else config.model
        link = InProcessLink(await loaded(self._share(model).open_session()))
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

        pool = await loaded(self._share(options.model).pool())
        try:
            return await within(timeout_s, _transcribe(pool, wav, options))
        except asyncio.TimeoutError:
            raise APITimeoutError(f"not recognised within {timeout_s:g} s") from None
        except HarkError as error:
            raise to_api_error(error) from None

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
