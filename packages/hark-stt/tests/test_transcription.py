"""Tests of hark.transcription."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.engines.fake import WORD_SAMPLES, FakeRecognizer
from hark.engines.pool import ModelPool
from hark.errors import (
    LanguageNotSupportedError,
    ModelNotFoundError,
    OptionNotSupportedError,
    OverloadedError,
    RecognitionError,
)
from hark.recognizer import Hypothesis, RecognitionStream
from hark.scheduler import Scheduler
from hark.session import Session
from hark.transcription import Transcription, transcribe
from hark.worker import LocalWorker
from hark_protocol import ClientMessage


@pytest.fixture(scope="module")
def transcription(pool: ModelPool, speech: PcmArray) -> Transcription:
    return asyncio.run(transcribe(pool, speech))


def test_a_recording_is_recognised(transcription: Transcription) -> None:
    assert transcription.text.startswith("It was the best of times")
    assert "incredulity" in transcription.text
    assert transcription.model == "moonshine-tiny-en"
    assert transcription.language == "en"
    assert transcription.duration_s == pytest.approx(13.2)


def test_utterances_are_in_order_and_inside_the_recording(transcription: Transcription) -> None:
    times = [t for u in transcription.utterances for t in (u.start_s, u.end_s)]
    assert times == sorted(times)
    assert 0.5 < times[0] < 1.3
    assert 12.5 < times[-1] <= transcription.duration_s


def test_the_text_is_that_of_all_utterances(transcription: Transcription) -> None:
    assert transcription.text == " ".join(u.text for u in transcription.utterances)


def test_what_the_model_does_not_say_is_absent(transcription: Transcription) -> None:
    assert all(utterance.words is None for utterance in transcription.utterances)
    assert all(utterance.confidence is not None for utterance in transcription.utterances)


async def test_words_have_their_times_in_seconds(fake_pool: ModelPool, speech: PcmArray) -> None:
    transcription = await transcribe(fake_pool, speech, words=True, keyterms=["hark"])
    first = transcription.utterances[0]
    assert first.words is not None
    assert first.words[0].text == "hark"
    assert first.words[0].start_s == pytest.approx(first.start_s)
    assert first.words[1].start_s - first.words[0].start_s == pytest.approx(WORD_SAMPLES / 16_000)
    assert first.words[-1].end_s <= first.end_s


async def test_progress_rises_to_one(fake_pool: ModelPool, speech: PcmArray) -> None:
    progress: list[float] = []
    await transcribe(fake_pool, speech, on_progress=progress.append)
    assert progress == sorted(progress)
    assert 0 <= progress[0] < 1
    assert progress[-1] == 1


async def test_silence_has_no_text(fake_pool: ModelPool) -> None:
    progress: list[float] = []
    transcription = await transcribe(
        fake_pool, np.zeros(480_000, np.int16), on_progress=progress.append
    )
    assert (transcription.text, transcription.utterances) == ("", ())
    assert transcription.duration_s == 30
    assert transcription.language is None
    assert progress[-1] == 1


async def test_no_audio_has_no_text(fake_pool: ModelPool) -> None:
    transcription = await transcribe(fake_pool, np.zeros(0, np.int16))
    assert (transcription.text, transcription.duration_s) == ("", 0)


async def test_the_language_is_the_model_s_own_code(fake_pool: ModelPool) -> None:
    transcription = await transcribe(fake_pool, np.zeros(16_000, np.int16), language="en-GB")
    assert transcription.language == "en"


async def test_what_the_models_cannot_do_is_an_error(pool: ModelPool, speech: PcmArray) -> None:
    with pytest.raises(ModelNotFoundError, match="available: moonshine-tiny-en"):
        await transcribe(pool, speech, model="whisper-9")
    with pytest.raises(LanguageNotSupportedError, match="it knows: en"):
        await transcribe(pool, speech, language="de")
    with pytest.raises(OptionNotSupportedError, match="no word times"):
        await transcribe(pool, speech, words=True)
    with pytest.raises(OptionNotSupportedError, match="takes no keyterms"):
        await transcribe(pool, speech, keyterms=["hark"])


class _One:
    """Satisfies `hark.session.Models`."""

    def __init__(self, recognizer: FakeRecognizer) -> None:
        self.scheduler = Scheduler("scripted", [LocalWorker(lambda: recognizer)])
        self.scheduler.start()

    def select(self, model: str | None, language: str | None) -> Scheduler:
        return self.scheduler


class _Failing(FakeRecognizer):
    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        raise RecognitionError("what was said cannot be decoded")


async def test_an_engine_that_fails_fails_the_transcription(speech: PcmArray) -> None:
    models = _One(_Failing())
    with pytest.raises(RecognitionError) as caught:
        await transcribe(models, speech)
    assert "what was said" not in str(caught.value)
    assert not models.scheduler._streams
    models.scheduler.close()


class _Stuck(FakeRecognizer):
    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        self.entered.set()
        assert self.gate.wait(20)
        return super().decode(streams, final=final)


async def test_a_cancelled_transcription_leaves_nothing_behind(speech: PcmArray) -> None:
    stuck = _Stuck()
    models = _One(stuck)
    transcribing = asyncio.create_task(transcribe(models, speech))
    await asyncio.to_thread(stuck.entered.wait, 20)
    transcribing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(transcribing, 20)
    assert not models.scheduler._streams
    assert models.scheduler.waiting == 0
    stuck.gate.set()
    models.scheduler.close()


async def test_an_error_in_the_progress_report_ends_the_transcription(
    fake_pool: ModelPool, speech: PcmArray
) -> None:
    def fail(part: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await transcribe(fake_pool, speech, on_progress=fail)
    assert not any(scheduler._streams for scheduler in fake_pool.schedulers)


async def test_an_error_while_feeding_does_not_hang(
    fake_pool: ModelPool, speech: PcmArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: Session, message: ClientMessage) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "receive", fail)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(transcribe(fake_pool, speech), 20)


async def test_models_that_are_closed_meanwhile_are_no_failure_of_the_engine(
    speech: PcmArray,
) -> None:
    models = _One(FakeRecognizer())
    models.scheduler.close()
    with pytest.raises(OverloadedError):
        await asyncio.wait_for(transcribe(models, speech), 20)
