"""Whole recordings: the streaming session, fed as fast as it takes the audio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hark.audio import SAMPLE_RATE, PcmArray
from hark.errors import HarkError, OptionNotSupportedError, OverloadedError, RecognitionError
from hark.session import Models, Session
from hark_protocol import (
    PROTOCOL_VERSION,
    Audio,
    Close,
    Config,
    Endpointing,
    Error,
    Final,
    Progress,
    Ready,
    ServerMessage,
)

BATCH_ENDPOINTING = Endpointing(silence_ms=2_000, max_utterance_ms=30_000)
"""Longer utterances than in conversation, because context helps the model and nobody waits for an
answer."""

_PIECE_S = 1


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word with its times in seconds; `confidence` None where the model gives none."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech with its times in seconds. None means: the model does not say."""

    start_s: float
    end_s: float
    text: str
    confidence: float | None
    language: str | None
    words: tuple[TimedWord, ...] | None


@dataclass(frozen=True, slots=True)
class Transcription:
    """A whole recording.

    Attributes:
        text: all utterances, joined by spaces.
        language: asked for, or found by the model; None where unknown.
        duration_s: of the recording.
        model: that did it.
        utterances: those with text, in order.
    """

    text: str
    language: str | None
    duration_s: float
    model: str
    utterances: tuple[Utterance, ...]


async def transcribe(
    models: Models,
    samples: PcmArray,
    *,
    model: str | None = None,
    language: str | None = None,
    words: bool = False,
    keyterms: Sequence[str] = (),
    on_progress: Callable[[float], None] | None = None,
) -> Transcription:
    """Recognise a whole recording. Safe to cancel.

    Args:
        models: loaded models.
        samples: shape (n,), mono PCM16 at 16 kHz.
        model: name; None for the default.
        language: BCP 47 code; None lets the model decide.
        words: whether word times are wanted.
        keyterms: terms to lean towards.
        on_progress: called with the part that is done, 0 to 1, as it rises.

    Raises:
        ModelNotFoundError: no such model here.
        LanguageNotSupportedError: the model does not know the language.
        OptionNotSupportedError: the model has no word times, or takes no keyterms.
        RecognitionError: the engine failed.
        OverloadedError: it cannot be done now, say because the models were closed meanwhile.
    """
    scheduler = models.select(model, language)
    _check_options(scheduler.model, scheduler.capabilities.words, words, "has no word times")
    _check_options(
        scheduler.model, scheduler.capabilities.keyterms, bool(keyterms), "takes no keyterms"
    )
    config = Config(
        version=PROTOCOL_VERSION,
        model=scheduler.model,
        language=language,
        interim_results=False,
        words=words,
        keyterms=tuple(keyterms),
        endpointing=BATCH_ENDPOINTING,
    )
    session = Session(models, is_live=False)
    feeding = asyncio.create_task(_feed(session, config, samples))
    try:
        transcription = await _collect(
            session, len(samples), scheduler.model, language, on_progress
        )
        await feeding  # over by now; if it broke, that is why
        return transcription
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        await session.aclose()


def _check_options(model: str, able: bool, wanted: bool, complaint: str) -> None:
    if wanted and not able:
        raise OptionNotSupportedError(f"model {model!r} {complaint}")


async def _feed(session: Session, config: Config, samples: PcmArray) -> None:
    try:
        await session.receive(config)
        piece = _PIECE_S * SAMPLE_RATE
        for i in range(0, len(samples), piece):
            await session.receive(Audio(samples[i : i + piece].tobytes()))
        await session.receive(Close())
    except BaseException:
        await session.aclose()  # so that nobody waits for more messages
        raise


async def _collect(
    session: Session,
    length: int,
    model: str,
    language: str | None,
    on_progress: Callable[[float], None] | None,
) -> Transcription:
    finals: list[Final] = []
    async for message in session:
        if isinstance(message, Error):
            raise _to_error(message)
        if isinstance(message, Ready):
            language = message.language
        elif isinstance(message, Final):
            finals.append(message)
        _notify(on_progress, message, length)
    utterances = tuple(utterance_of(final) for final in finals if final.text)
    return Transcription(
        text=" ".join(utterance.text for utterance in utterances),
        language=language or next((u.language for u in utterances if u.language), None),
        duration_s=length / SAMPLE_RATE,
        model=model,
        utterances=utterances,
    )


def _to_error(message: Error) -> HarkError:
    # What is internal may be the audio's fault, so nothing promises that it works later.
    is_for_now = message.retryable and message.code != "internal"
    return (OverloadedError if is_for_now else RecognitionError)(message.message)


def _notify(
    on_progress: Callable[[float], None] | None, message: ServerMessage, length: int
) -> None:
    if on_progress is not None and isinstance(message, Progress) and length:
        on_progress(message.finalized / length)


def utterance_of(final: Final) -> Utterance:
    """A final of a session at `SAMPLE_RATE`, with its times in seconds."""
    words = None
    if final.words is not None:
        words = tuple(
            TimedWord(w.text, w.start / SAMPLE_RATE, w.end / SAMPLE_RATE, w.confidence)
            for w in final.words
        )
    return Utterance(
        start_s=final.start / SAMPLE_RATE,
        end_s=final.end / SAMPLE_RATE,
        text=final.text,
        confidence=final.confidence,
        language=final.language,
        words=words,
    )
