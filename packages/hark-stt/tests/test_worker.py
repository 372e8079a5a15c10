"""Tests of hark.worker."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from hark.engines.fake import WORD_SAMPLES, FakeRecognizer
from hark.errors import ClosedError, RecognitionError, WorkerError
from hark.recognizer import Context, Hypothesis, RecognitionOptions, RecognitionStream
from hark.worker import DecodeJob, LocalWorker, RecognizerHost


def _job(
    stream: int, offset: int, words: int, *, keep: bool = False, final: bool = False
) -> DecodeJob:
    samples = np.zeros(words * WORD_SAMPLES, np.int16)
    return DecodeJob(stream, offset, samples, RecognitionOptions(), None, final, keep)


class _Watched(FakeRecognizer):
    """Remembers what is done to it."""

    def __init__(self) -> None:
        super().__init__(max_batch=8)
        self.warmed = 0
        self.closed = 0
        self.finals: list[Sequence[bool]] = []
        self.threads: list[int] = []
        self.previous: list[Hypothesis | None] = []
        self.contexts: list[Context | None] = []

    def warm_up(self) -> None:
        self.warmed += 1

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> RecognitionStream:
        self.previous.append(previous)
        self.contexts.append(context)
        return super().open_stream(options, previous=previous, context=context)

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        self.finals.append(list(final))
        self.threads.append(threads)
        return super().decode(streams, final=final)

    def close(self) -> None:
        self.closed += 1
        super().close()


def _texts(hypotheses: Sequence[Hypothesis]) -> list[str]:
    return [hypothesis.text for hypothesis in hypotheses]


# --- the host of a recogniser


def test_streams_of_one_call_are_decoded_together_and_in_order() -> None:
    recognizer = _Watched()
    host = RecognizerHost(recognizer)
    hypotheses = host.decode([_job(1, 0, 2, final=True), _job(2, 0, 1)])
    assert _texts(hypotheses) == ["one two", "one"]
    assert recognizer.finals == [[True, False]]


def test_the_number_of_threads_reaches_the_recogniser() -> None:
    recognizer = _Watched()
    host = RecognizerHost(recognizer)
    host.decode([_job(1, 0, 1)])
    host.decode([_job(1, 0, 1)], threads=2)
    assert recognizer.threads == [1, 2]


def test_a_kept_stream_goes_on_with_the_audio_that_is_new() -> None:
    host = RecognizerHost(FakeRecognizer())
    host.decode([_job(1, 0, 2, keep=True)])
    hypotheses = host.decode([_job(1, 2 * WORD_SAMPLES, 1, keep=True)])
    assert _texts(hypotheses) == ["one two three"]


def test_a_job_from_the_start_opens_the_stream_anew() -> None:
    host = RecognizerHost(FakeRecognizer())
    host.decode([_job(1, 0, 2, keep=True)])
    assert _texts(host.decode([_job(1, 0, 1, keep=True)])) == ["one"]


def test_the_previous_hypothesis_reaches_the_recogniser() -> None:
    recognizer = _Watched()
    previous = Hypothesis("one", tokens=(1,))
    job = DecodeJob(1, 0, np.zeros(0, np.int16), RecognitionOptions(), previous, True, False)
    RecognizerHost(recognizer).decode([job])
    assert recognizer.previous == [previous]


def test_the_context_reaches_the_recogniser() -> None:
    recognizer = _Watched()
    context = Context(np.zeros(10, np.int16), (1, 2))
    job = DecodeJob(
        1, 0, np.zeros(0, np.int16), RecognitionOptions(), None, True, False, context=context
    )
    RecognizerHost(recognizer).decode([job])
    assert recognizer.contexts == [context]


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_stream_that_was_not_kept_cannot_go_on(forgotten: bool) -> None:
    host = RecognizerHost(FakeRecognizer())
    host.decode([_job(1, 0, 2, keep=forgotten)])
    with pytest.raises(RecognitionError, match="not on this worker"):
        host.decode([_job(1, 2 * WORD_SAMPLES, 1)], forget=[1] if forgotten else [])


def test_streams_that_are_not_there_are_forgotten_without_ado() -> None:
    assert RecognizerHost(FakeRecognizer()).decode([], forget=[1, 2, 3]) == []


# --- the worker in this process


def test_a_local_worker_warms_its_recogniser_and_tells_what_it_can_do() -> None:
    recognizer = _Watched()
    worker = LocalWorker(lambda: recognizer)
    assert worker.start() == recognizer.capabilities
    assert recognizer.warmed == 1
    assert _texts(worker.decode([_job(1, 0, 2)])) == ["one two"]
    worker.close()


def test_a_local_worker_that_was_not_started_decodes_nothing() -> None:
    with pytest.raises(WorkerError, match="not running"):
        LocalWorker(FakeRecognizer).decode([_job(1, 0, 1)])


def test_closing_a_local_worker_closes_its_recogniser_once() -> None:
    recognizer = _Watched()
    worker = LocalWorker(lambda: recognizer)
    worker.start()
    worker.close()
    worker.close()
    assert recognizer.closed == 1
    with pytest.raises(WorkerError, match="not running"):
        worker.decode([_job(1, 0, 1)])


def test_starting_a_local_worker_again_loads_anew() -> None:
    loaded: list[_Watched] = []

    def load() -> _Watched:
        loaded.append(_Watched())
        return loaded[-1]

    worker = LocalWorker(load)
    worker.start()
    worker.start()
    assert [recognizer.closed for recognizer in loaded] == [1, 0]
    worker.close()


def test_a_recogniser_that_cannot_be_warmed_is_closed() -> None:
    class Broken(_Watched):
        def warm_up(self) -> None:
            raise RecognitionError("does not work here")

    recognizer = Broken()
    with pytest.raises(RecognitionError, match="does not work here"):
        LocalWorker(lambda: recognizer).start()
    assert recognizer.closed == 1


def test_a_local_worker_closed_while_it_loads_does_not_come_up() -> None:
    loading, closed = threading.Event(), threading.Event()
    recognizer = _Watched()

    def load() -> _Watched:
        loading.set()
        assert closed.wait(5)
        return recognizer

    worker = LocalWorker(load)
    failures: list[WorkerError] = []

    def start() -> None:
        try:
            worker.start()
        except WorkerError as error:
            failures.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    assert loading.wait(5)
    worker.close()
    closed.set()
    thread.join(5)
    assert len(failures) == 1
    assert recognizer.closed == 1


def test_a_recogniser_that_was_closed_meanwhile_says_so() -> None:
    recognizer = FakeRecognizer()
    worker = LocalWorker(lambda: recognizer)
    worker.start()
    recognizer.close()
    with pytest.raises(ClosedError):
        worker.decode([_job(1, 0, 1)])
    worker.close()
