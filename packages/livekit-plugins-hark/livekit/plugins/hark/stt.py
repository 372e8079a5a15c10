"""Hark as LiveKit's STT."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import aiohttp
from livekit.agents import stt as agents_stt
from livekit.agents.language import LanguageCode
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGivenOr,
    TimedString,
)
from livekit.agents.utils import AudioBuffer, is_given, shortuuid
from livekit.agents.utils.audio import calculate_audio_duration

from hark_protocol import Ready

from .address import ServerAddress
from .audio import wav_of
from .link import Backend, Transcription, local, shared
from .link.inprocess import EmbeddedBackend
from .link.shared import SharedBackend
from .link.websocket import ServerBackend
from .log import logger
from .options import ConnectionOptions, OptionChanges, RecognitionOptions
from .stream import SpeechStream

if TYPE_CHECKING:
    from typing_extensions import Unpack

URL_VARIABLE = "HARK_API_URL"
KEY_VARIABLE = "HARK_API_KEY"


class STT(agents_stt.STT[Literal["metrics_collected", "error"]]):
    """Speech-to-text by Hark, on this machine or on a server.

    ```python
    stt = hark.STT()  # on this machine: pip install 'livekit-plugins-hark[local]'
    stt = hark.STT(api_url="ws://localhost:8000/ws/transcribe")
    ```
    """

    def __init__(
        self,
        *,
        api_url: NotGivenOr[str | None] = NOT_GIVEN,
        api_key: NotGivenOr[str | None] = NOT_GIVEN,
        share: bool | None = None,
        model: str | None = None,
        language: str | None = None,
        interim_results: bool = True,
        words: bool = False,
        keyterms: Iterable[str] = (),
        endpointing_silence_ms: int | None = None,
        max_endpointing_silence_ms: int | None = None,
        vad_threshold: float | None = None,
        min_speech_ms: int | None = None,
        max_utterance_ms: int | None = None,
        sample_rate: int = 16_000,
        replay_s: float = 60.0,
        liveness_timeout_s: float = 4.0,
        reconnect_budget_s: float = 60.0,
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Choose the recogniser and what is asked of it.

        Nothing is loaded or connected yet; see `prewarm`.

        Args:
            api_url: a server, `ws`, `wss`, `http` or `https`. By default that of the environment's
                `HARK_API_URL`, or without one, or with an explicit None, the recogniser on this
                machine.
            api_key: for the server; by default the environment's `HARK_API_KEY`.
            share: whether the recogniser on this machine is one for all of this user's processes,
                which starts with the first of them and ends after the last, or this process's own.
                By default it is shared by processes that multiprocessing started, as LiveKit's job
                processes are, where the system has Unix domain sockets. No matter with a server.
            model: name of a model; None for the recogniser's default.
            language: BCP 47 code or English name; None lets the model decide.
            interim_results: whether hypotheses of open utterances are sent.
            words: whether finals have word times; a model without them refuses.
            keyterms: terms to lean towards; a model without them refuses. LiveKit's session adds
                its own only where the model takes them.
            endpointing_silence_ms: silence that ends an utterance.
            max_endpointing_silence_ms: above it, an end-of-turn model adapts that silence to each
                pause, up to this where it is sure that the speaker will go on. The recogniser needs
                it: `hark models download smart-turn-v3.2`. By default no such model is asked.
            vad_threshold: speech probability, 0 to 1, from which audio counts as speech.
            min_speech_ms: speech needed to open an utterance.
            max_utterance_ms: an utterance longer than this is cut.
            sample_rate: Hz; audio is resampled to it. No model hears more than the default gives.
            replay_s: seconds of audio kept until they are finalised, to be sent again on a new
                connection.
            liveness_timeout_s: a connection that has audio and says nothing for this long is given
                up.
            reconnect_budget_s: how long a lost connection is tried again before the stream fails.
                Where `conn_options.max_retry` is not LiveKit's default, LiveKit retries as it says
                there instead.
            http_session: to connect with; by default that of LiveKit's job.

        Raises:
            ValueError: an option is out of range, there is neither a server nor a recogniser on
                this machine, or it is to be shared and cannot be.
        """
        options = RecognitionOptions(
            model=model,
            language=language,
            interim_results=interim_results,
            words=words,
            keyterms=tuple(keyterms),
            endpointing_silence_ms=endpointing_silence_ms,
            max_endpointing_silence_ms=max_endpointing_silence_ms,
            vad_threshold=vad_threshold,
            min_speech_ms=min_speech_ms,
            max_utterance_ms=max_utterance_ms,
        )
        super().__init__(capabilities=_capabilities(options))
        self._options = options
        self._connection = ConnectionOptions(
            sample_rate=sample_rate,
            replay_s=replay_s,
            liveness_timeout_s=liveness_timeout_s,
            reconnect_budget_s=reconnect_budget_s,
        )
        self._backend = _choose_backend(
            api_url if is_given(api_url) else os.environ.get(URL_VARIABLE) or None,
            api_key if is_given(api_key) else os.environ.get(KEY_VARIABLE) or None,
            model,
            share,
            http_session,
        )
        self._ready_model: str | None = None
        self._session_keyterms: tuple[str, ...] = ()
        self._streams: weakref.WeakSet[SpeechStream] = weakref.WeakSet()
        self._is_closed = False

    @property
    def model(self) -> str:
        """The model that was asked for, else the one that recognised last, else "default"."""
        return self._options.model or self._ready_model or "default"

    @property
    def provider(self) -> str:
        """Who recognises."""
        return "Hark"

    def update_options(self, **changes: Unpack[OptionChanges]) -> None:
        """Change options, of streams to come and of live ones: in-band, without a reconnect.

        Only another model takes a new connection, between two utterances.

        Raises:
            TypeError: a name is not that of an option.
            ValueError: a value is out of range; nothing has changed.
        """
        self._options = self._options.updated(changes)
        self._capabilities = _capabilities(self._options, keyterms=self._capabilities.keyterms)
        for stream in list(self._streams):
            stream.update_options(**changes)

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        # Kept even while no model is known: whether it takes keyterms shows when the first stream
        # is ready.
        self._session_keyterms = tuple(keyterms)
        for stream in list(self._streams):
            stream.update_session_keyterms(keyterms)

    def prewarm(self) -> None:
        """Load the model, or warm the way to the server, in the background."""
        self._backend.prewarm()

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> SpeechStream:
        """Open a stream.

        Args:
            language: for this stream, instead of the one given to the constructor.
            conn_options: `timeout` is that of each connection. See `reconnect_budget_s` for
                retries.
        """
        if self._is_closed:
            raise RuntimeError("this hark.STT is closed")
        stream = SpeechStream(
            stt=self,
            backend=self._backend,
            options=self._options_for(language),
            connection=self._connection,
            conn_options=conn_options,
            session_keyterms=self._session_keyterms,
            on_ready=self._learn,
        )
        self._streams.add(stream)
        return stream

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> agents_stt.SpeechEvent:
        options = self._options_for(language)
        duration_s = calculate_audio_duration(buffer)
        if not duration_s:
            return _final(Transcription(text="", model=self.model, utterances=()), options)
        # Recognising takes time of its own: as long as the audio at the very worst.
        timeout_s = conn_options.timeout + duration_s
        transcription = await self._backend.transcribe(wav_of(buffer), options, timeout_s=timeout_s)
        self._ready_model = transcription.model
        return _final(transcription, options)

    async def aclose(self) -> None:
        """Close all streams and let the recogniser go. Idempotent."""
        self._is_closed = True
        await asyncio.gather(*(stream.aclose() for stream in list(self._streams)))
        await self._backend.aclose()

    def _options_for(self, language: NotGivenOr[str]) -> RecognitionOptions:
        if not is_given(language) or not language:
            return self._options
        return self._options.updated({"language": language})

    def _learn(self, ready: Ready) -> None:
        """Take note of what the recogniser turned out to be."""
        self._ready_model = ready.model
        self._capabilities = _capabilities(self._options, keyterms=ready.capabilities.keyterms)


def _capabilities(
    options: RecognitionOptions, *, keyterms: bool = False
) -> agents_stt.STTCapabilities:
    """What can be promised; `keyterms` is known from the first connection on."""
    promised: dict[str, Any] = {
        "streaming": True,
        "interim_results": options.interim_results,
        "aligned_transcript": "word" if options.words else "chunk",
        "offline_recognize": True,
        "keyterms": keyterms,
        "manual_flush": True,  # LiveKit Agents 2.0.0b1 does not know it
    }
    known = {field.name for field in dataclasses.fields(agents_stt.STTCapabilities)}
    return agents_stt.STTCapabilities(**{k: v for k, v in promised.items() if k in known})


def _choose_backend(
    api_url: str | None,
    api_key: str | None,
    model: str | None,
    share: bool | None,
    http_session: aiohttp.ClientSession | None,
) -> Backend:
    if api_url is not None:
        return ServerBackend(
            ServerAddress.parse(api_url), api_key=_checked(api_key), http_session=http_session
        )
    if not local.is_installed():
        raise ValueError(
            "hark.STT() needs a recogniser: either install the one for this machine, "
            "pip install 'livekit-plugins-hark[local]', or name a server, "
            f'hark.STT(api_url="ws://localhost:8000/ws/transcribe") or {URL_VARIABLE}'
        )
    return SharedBackend(model=model) if _is_shared(share) else EmbeddedBackend(model=model)


def _is_shared(share: bool | None) -> bool:
    """Whether to share, if it can be done."""
    if share is False or (share is None and not shared.is_job_process()):
        return False
    obstacle = shared.obstacle()
    if obstacle is None:
        return True
    if share:
        raise ValueError(f"share=True is not possible here: {obstacle}")
    logger.warning(
        "this process loads a model of its own, as it cannot share one with others",
        extra={"reason": obstacle},
    )
    return False


def _checked(api_key: str | None) -> str | None:
    # What cannot stand in a header would fail later, in an error with the key in it.
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key):
        raise ValueError(f"api_key ({KEY_VARIABLE}) must be printable ASCII without line breaks")
    return api_key


def _final(transcription: Transcription, options: RecognitionOptions) -> agents_stt.SpeechEvent:
    """A whole recording as one final transcript."""
    utterances = transcription.utterances
    data = agents_stt.SpeechData(
        language=LanguageCode(transcription.language or options.language or ""),
        text=transcription.text,
        confidence=_mean_confidence(transcription),
    )
    if utterances:
        data.start_time, data.end_time = utterances[0].start_s, utterances[-1].end_s
    if options.words:
        data.words = [
            TimedString(
                word.text,
                start_time=word.start_s,
                end_time=word.end_s,
                confidence=NOT_GIVEN if word.confidence is None else word.confidence,
            )
            for utterance in utterances
            for word in utterance.words or ()
        ]
    return agents_stt.SpeechEvent(
        agents_stt.SpeechEventType.FINAL_TRANSCRIPT, shortuuid("hark_"), [data]
    )


def _mean_confidence(transcription: Transcription) -> float:
    """Mean over the audio, or LiveKit's 0.0 for unknown when any part is."""
    weights = [utterance.end_s - utterance.start_s for utterance in transcription.utterances]
    confidences = [u.confidence for u in transcription.utterances if u.confidence is not None]
    if len(confidences) < len(weights) or not sum(weights):
        return 0.0
    return sum(w * c for w, c in zip(weights, confidences, strict=True)) / sum(weights)
