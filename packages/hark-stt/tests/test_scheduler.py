"""Tests of hark.scheduler.

The recogniser here is honest and tiny: its text is the audio that it has heard, a letter for each
sample. So audio that is lost, repeated, old or another stream's shows at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hark.audio import PcmArray
from hark.engines.fake import FakeRecognizer
from hark.errors import ClosedError, ModelError, RecognitionError, WorkerError
from hark.recognizer import (
    Capabilities,
    Context,
    Hypothesis,
    RecognitionOptions,
    RecognitionStream,
)
from hark.scheduler import (
    INTERIM_SHARE,
    MAX_ATTEMPTS,
    MIN_INTERIM_INTERVAL_S,
    Decoded,
    DecodeStream,
    Priority,
    Scheduler,
)
from hark.worker import DecodeJob, LocalWorker

OPTIONS = RecognitionOptions()
DEADLINE_S = 10


def _audio(text: str) -> PcmArray:
    return np.array([ord(letter) for letter in text], np.int16)


class _LetterStream:
    def __init__(self) -> None:
        self.heard = ""
        self.pushes: list[str] = []
        self.is_over = False

    def push(self, samples: PcmArray) -> None:
        assert not self.is_over, "audio after the final decode"
        self.pushes.append("".join(map(chr, samples.tolist())))
        self.heard += self.pushes[-1]


@dataclass
class _Letters:
    """Recogniser and worker in one. Decodes wait for the gate; every call is written down."""

    capabilities: Capabilities = field(default_factory=lambda: Capabilities(languages=("en",)))
    gate: threading.Event = field(default_factory=threading.Event)
    calls: list[list[str]] = field(default_factory=list)
    finals: list[list[bool]] = field(default_factory=list)
    pushes: list[list[str]] = field(default_factory=list)
    previous: list[str | None] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    streams: list[_LetterStream] = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    error_at: str = ""

    def warm_up(self) -> None:
        pass

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> RecognitionStream:
        self.previous.append(previous.text if previous else None)
        self.streams.append(_LetterStream())
        return self.streams[-1]

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        texts = []
        for stream, is_final in zip(streams, final, strict=True):
            assert isinstance(stream, _LetterStream)
            stream.is_over = is_final
            texts.append(stream.heard)
        self.calls.append(texts)
        self.threads.append(threads)
        self.finals.append(list(final))
        self.pushes.append([s.pushes[-1] for s in streams if isinstance(s, _LetterStream)])
        self.entered.release()
        assert self.gate.wait(DEADLINE_S)
        if self.error_at and any(self.error_at in text for text in texts):
            raise ZeroDivisionError
        return [Hypothesis(text) for text in texts]

    def close(self) -> None:
        self.gate.set()

    def wait_until_busy(self) -> None:
        assert self.entered.acquire(timeout=DEADLINE_S)


class _Mortal(LocalWorker):
    """A worker that dies of some texts, as often as it is told."""

    def __init__(self, recognizer: _Letters, *, dies_of: str, times: int) -> None:
        super().__init__(lambda: recognizer)
        self.recognizer = recognizer
        self.dies_of = dies_of
        self.times = times
        self.starts = 0
        self.fail_starts = 0

    def start(self) -> Capabilities:
        self.starts += 1
        if self.starts > 1 and self.fail_starts:
            self.fail_starts -= 1
            raise WorkerError("does not come up")
        return super().start()

    def decode(
        self, jobs: Sequence[DecodeJob], forget: Sequence[int] = (), *, threads: int = 1
    ) -> list[Hypothesis]:
        hypotheses = super().decode(jobs, forget)
        if self.times and any(self.dies_of in hypothesis.text for hypothesis in hypotheses):
            self.times -= 1
            raise WorkerError("died")
        return hypotheses


Start = Callable[..., Scheduler]


def _worker(worker: LocalWorker | _Letters) -> LocalWorker:
    return LocalWorker(lambda: worker) if isinstance(worker, _Letters) else worker


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a scheduler on these workers or recognisers, and close it after the test."""
    schedulers: list[Scheduler] = []

    def start_one(*workers: LocalWorker | _Letters) -> Scheduler:
        scheduler = Scheduler("letters", [_worker(worker) for worker in workers])
        schedulers.append(scheduler)
        scheduler.start()
        return scheduler

    yield start_one
    for scheduler in schedulers:
        scheduler.close()
        assert not any(thread.is_alive() for thread in scheduler._threads)


def _stream(scheduler: Scheduler, text: str, *, caller: str | None = None) -> DecodeStream:
    stream = scheduler.open_stream(OPTIONS, caller=text if caller is None else caller)
    stream.push(_audio(text))
    return stream


def _interim(stream: DecodeStream) -> Future[Decoded]:
    return stream.decode(Priority.INTERIM, final=False)


def _final(stream: DecodeStream, length: int | None = None) -> Future[Decoded]:
    return stream.decode(Priority.FINAL, final=True, length=length)


def _text(future: Future[Decoded]) -> str:
    return future.result(timeout=DEADLINE_S).hypothesis.text


# --- who is next


def test_a_decode_gives_the_hypothesis_and_how_much_it_is_for(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    stream = _stream(start(letters), "abc")
    assert _final(stream).result(DEADLINE_S) == Decoded(Hypothesis("abc"), 3)
    assert _final(stream, 2).result(DEADLINE_S) == Decoded(Hypothesis("ab"), 2)


def test_finals_go_first_then_preflights_then_interims_then_recordings(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    first = _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    futures = [
        _stream(scheduler, "recording").decode(Priority.RECORDING, final=True),
        _interim(_stream(scheduler, "interim")),
        _stream(scheduler, "preflight").decode(Priority.PREFLIGHT, final=True),
        _final(_stream(scheduler, "final")),
    ]
    letters.gate.set()
    assert [_text(future) for future in [first, *futures]] == [
        "first",
        "recording",
        "interim",
        "preflight",
        "final",
    ]
    assert letters.calls == [["first"], ["final"], ["preflight"], ["interim"], ["recording"]]
    assert letters.finals == [[False], [True], [True], [False], [True]]


def test_requests_of_one_kind_and_caller_are_served_as_they_came(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    futures = [_final(_stream(scheduler, text, caller="one")) for text in "abcdef"]
    letters.gate.set()
    for future in futures:
        _text(future)
    assert letters.calls == [[text] for text in "abcdef"]


def test_callers_take_turns(start: Start) -> None:
    # Who is behind with many finals must not hold up who has one.
    letters = _Letters()
    scheduler = start(letters)
    futures = [_final(_stream(scheduler, text, caller="behind")) for text in "abcd"]
    letters.wait_until_busy()
    futures += [_final(_stream(scheduler, text, caller="live")) for text in "xy"]
    letters.gate.set()
    for future in futures:
        _text(future)
    assert letters.calls == [["a"], ["x"], ["b"], ["y"], ["c"], ["d"]]


def test_turns_of_callers_without_streams_are_forgotten(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    scheduler = start(letters)
    streams = [_stream(scheduler, text, caller=caller) for text, caller in ("a1", "b1", "c2")]
    for stream in streams:
        _text(_final(stream))
    streams[0].close()
    assert set(scheduler._last_turn) == {"1", "2"}
    for stream in streams:
        stream.close()
    assert not scheduler._last_turn


def test_an_interim_is_decoded_with_the_audio_there_is_when_its_turn_comes(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    stream = _stream(scheduler, "early")
    future = _interim(stream)
    stream.push(_audio(" and late"))
    letters.gate.set()
    assert _text(future) == "early and late"
    assert future.result().length == len("early and late")


def test_a_request_with_a_length_is_decoded_to_there(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    stream = _stream(start(letters), "the end and then silence")
    assert _text(_final(stream, len("the end"))) == "the end"


def test_the_previous_hypothesis_of_the_stream_is_handed_on(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    stream = _stream(start(letters), "ab")
    _text(_interim(stream))
    stream.push(_audio("c"))
    _text(_interim(stream))
    assert letters.previous == [None, "ab"]


def test_a_hastened_request_goes_first(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    stream = _stream(scheduler, "preflight")
    futures = [_final(_stream(scheduler, "a")), stream.decode(Priority.PREFLIGHT, final=True)]
    futures.append(_final(_stream(scheduler, "b")))
    stream.hasten(futures[1], Priority.FINAL)
    letters.gate.set()
    for future in futures:
        _text(future)
    assert letters.calls == [["first"], ["a"], ["preflight"], ["b"]]


def test_hastening_never_slows_down(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    stream = _stream(scheduler, "final")
    futures = [_final(stream), _stream(scheduler, "b").decode(Priority.PREFLIGHT, final=True)]
    stream.hasten(futures[0], Priority.INTERIM)
    letters.gate.set()
    for future in futures:
        _text(future)
    assert letters.calls == [["first"], ["final"], ["b"]]


def test_two_workers_decode_at_the_same_time(start: Start) -> None:
    one, two = _Letters(), _Letters()
    scheduler = start(one, two)
    futures = [_final(_stream(scheduler, text)) for text in "ab"]
    one.wait_until_busy()
    two.wait_until_busy()
    one.gate.set()
    two.gate.set()
    assert sorted(map(_text, futures)) == ["a", "b"]


# --- taking requests back


def test_a_request_that_is_cancelled_while_it_waits_is_never_decoded(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    unwanted, wanted = _final(_stream(scheduler, "x")), _final(_stream(scheduler, "b"))
    assert unwanted.cancel()
    letters.gate.set()
    assert _text(wanted) == "b"
    assert letters.calls == [["first"], ["b"]]
    assert scheduler.waiting == 0


def test_a_request_that_has_started_cannot_be_cancelled(start: Start) -> None:
    letters = _Letters()
    future = _final(_stream(start(letters), "a"))
    letters.wait_until_busy()
    assert not future.cancel()
    letters.gate.set()
    assert _text(future) == "a"


def test_closing_a_stream_takes_back_all_its_requests(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    stream = _stream(scheduler, "unwanted")
    futures = [_interim(stream), _final(stream)]
    wanted = _final(_stream(scheduler, "b"))
    stream.close()
    stream.close()
    letters.gate.set()
    assert _text(wanted) == "b"
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(DEADLINE_S)
    assert letters.calls == [["first"], ["b"]]


def test_a_closed_stream_takes_no_more_requests(start: Start) -> None:
    stream = _stream(start(_Letters()), "a")
    stream.close()
    with pytest.raises(ClosedError):
        _final(stream).result(DEADLINE_S)


def test_closed_streams_leave_nothing_behind(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    scheduler = start(letters)
    for text in "abc":
        stream = _stream(scheduler, text)
        _text(_final(stream))
        stream.close()
    assert not scheduler._streams
    assert scheduler.waiting == 0


# --- when engines and workers fail


def test_an_engine_that_fails_fails_the_request_and_nothing_else(start: Start) -> None:
    class Failing(_Letters):
        def decode(
            self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
        ) -> list[Hypothesis]:
            hypotheses = super().decode(streams, final=final)
            if "bad" in hypotheses[0].text:
                raise RecognitionError("cannot decode this")
            return hypotheses

    letters = Failing()
    letters.gate.set()
    scheduler = start(letters)
    bad, good = _final(_stream(scheduler, "bad")), _final(_stream(scheduler, "good"))
    with pytest.raises(RecognitionError, match="cannot decode this"):
        bad.result(DEADLINE_S)
    assert _text(good) == "good"


def test_a_bug_in_an_engine_leaves_nobody_waiting(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    letters = _Letters(error_at="bad")
    letters.gate.set()
    scheduler = start(letters)
    with pytest.raises(RecognitionError, match="ZeroDivisionError"):
        _text(_final(_stream(scheduler, "bad")))
    assert _text(_final(_stream(scheduler, "good"))) == "good"
    assert "decode failed" in caplog.messages
    assert "bad" not in caplog.text


def test_an_engine_that_forgets_a_stream_leaves_nobody_waiting(start: Start) -> None:
    class Forgetful(_Letters):
        def decode(
            self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
        ) -> list[Hypothesis]:
            return super().decode(streams, final=final)[1:]

    letters = Forgetful()
    letters.gate.set()
    with pytest.raises(RecognitionError, match="ValueError"):
        _text(_final(_stream(start(letters), "a")))


def test_a_worker_that_dies_is_started_again_and_its_job_is_done_again(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    letters = _Letters()
    letters.gate.set()
    worker = _Mortal(letters, dies_of="a", times=1)
    assert _text(_final(_stream(start(worker), "a"))) == "a"
    assert worker.starts == 2
    assert letters.calls == [["a"], ["a"]]
    assert "worker died; starting it again" in caplog.messages


def test_a_worker_that_does_not_come_up_at_once_is_started_until_it_does(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    worker = _Mortal(letters, dies_of="a", times=1)
    worker.fail_starts = 1
    assert _text(_final(_stream(start(worker), "a"))) == "a"
    assert worker.starts == 3


@pytest.fixture
def _quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hark.scheduler._RESTART_DELAYS_S", (0.0, 0.001))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.usefixtures("_quick_restarts")
def test_with_no_worker_left_nobody_is_kept_waiting(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    worker = _Mortal(letters, dies_of="a", times=1)
    worker.fail_starts = 10_000_000
    scheduler = start(worker)
    stream = _stream(scheduler, "a")
    for _ in range(2):
        with pytest.raises(WorkerError, match="no worker of this model is running"):
            _text(_final(stream))
    assert not scheduler.is_alive


@pytest.mark.usefixtures("_quick_restarts")
def test_a_worker_that_comes_up_after_all_is_used_again(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    worker = _Mortal(letters, dies_of="a", times=1)
    worker.fail_starts = 10_000_000
    scheduler = start(worker)
    stream = _stream(scheduler, "a")
    with pytest.raises(WorkerError):
        _text(_final(stream))
    worker.fail_starts = 0
    _wait_until(lambda: scheduler.is_alive)
    assert _text(_final(stream)) == "a"


@pytest.mark.usefixtures("_quick_restarts")
def test_while_another_worker_is_left_requests_wait_for_it(start: Start) -> None:
    letters, others = _Letters(), _Letters()
    worker = _Mortal(letters, dies_of="a", times=1)
    worker.fail_starts = 10_000_000
    scheduler = start(worker, others)
    futures = [_final(_stream(scheduler, text)) for text in "aa"]
    letters.wait_until_busy()
    others.wait_until_busy()
    letters.gate.set()
    _wait_until(lambda: bool(scheduler._dead))
    assert scheduler.is_alive
    others.gate.set()
    assert [_text(future) for future in futures] == ["a", "a"]


def test_a_request_that_keeps_killing_workers_is_given_up(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    worker = _Mortal(letters, dies_of="poison", times=100)
    scheduler = start(worker)
    poison, good = _final(_stream(scheduler, "poison")), _final(_stream(scheduler, "good"))
    with pytest.raises(RecognitionError, match="brought down several workers"):
        poison.result(DEADLINE_S)
    assert _text(good) == "good"
    assert letters.calls.count(["poison"]) == MAX_ATTEMPTS


def test_poison_does_not_take_down_those_who_shared_its_batch(start: Start) -> None:
    letters = _Letters(Capabilities(languages=("en",), max_batch=8))
    worker = _Mortal(letters, dies_of="poison", times=100)
    scheduler = start(worker)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    futures = [_final(_stream(scheduler, text)) for text in ("a", "poison", "b", "c")]
    letters.gate.set()
    assert [_text(futures[i]) for i in (0, 2, 3)] == ["a", "b", "c"]
    with pytest.raises(RecognitionError):
        futures[1].result(DEADLINE_S)


def test_what_another_worker_does_goes_on_while_one_dies(start: Start) -> None:
    letters, others = _Letters(), _Letters()
    scheduler = start(_Mortal(letters, dies_of="a", times=1), others)
    futures = [_final(_stream(scheduler, text)) for text in "aa"]
    letters.wait_until_busy()
    others.wait_until_busy()
    letters.gate.set()
    others.gate.set()
    assert [_text(future) for future in futures] == ["a", "a"]


# --- the end


def test_closing_fails_what_waits_and_ends_the_threads(start: Start) -> None:
    letters = _Letters()
    scheduler = start(letters)
    running = _final(_stream(scheduler, "running"))
    letters.wait_until_busy()
    waiting = [_final(_stream(scheduler, "a")), _interim(_stream(scheduler, "b"))]
    scheduler.close()
    for future in waiting:
        with pytest.raises(ClosedError):
            future.result(0)
    assert running.done()
    assert not any(thread.is_alive() for thread in scheduler._threads)
    scheduler.close()


def test_a_closed_scheduler_takes_nothing_more(start: Start) -> None:
    scheduler = start(_Letters())
    stream = _stream(scheduler, "a")
    scheduler.close()
    with pytest.raises(ClosedError):
        scheduler.open_stream(OPTIONS)
    with pytest.raises(ClosedError):
        _final(stream).result(0)


def test_closing_while_a_worker_is_being_started_again_ends_the_threads(start: Start) -> None:
    letters = _Letters()
    letters.gate.set()
    worker = _Mortal(letters, dies_of="a", times=1)
    worker.fail_starts = 1_000
    scheduler = start(worker)
    future = _final(_stream(scheduler, "a"))
    letters.wait_until_busy()
    scheduler.close()
    with pytest.raises(ClosedError):
        future.result(0)
    assert not any(thread.is_alive() for thread in scheduler._threads)


def test_a_scheduler_closed_while_it_starts_does_not_come_up() -> None:
    loading, closed = threading.Event(), threading.Event()

    def load() -> FakeRecognizer:
        loading.set()
        assert closed.wait(DEADLINE_S)
        return FakeRecognizer()

    scheduler = Scheduler("fake", [LocalWorker(load)])
    failures: list[Exception] = []

    def start_it() -> None:
        try:
            scheduler.start()
        except (ClosedError, WorkerError) as error:
            failures.append(error)

    thread = threading.Thread(target=start_it)
    thread.start()
    assert loading.wait(DEADLINE_S)
    scheduler.close()
    closed.set()
    thread.join(DEADLINE_S)
    assert len(failures) == 1
    assert scheduler._threads == []


@pytest.mark.parametrize("error", [ModelError("no such model"), OSError("no such file")])
def test_a_worker_that_does_not_start_stops_all_others(error: Exception) -> None:
    letters = _Letters()

    def fail() -> FakeRecognizer:
        raise error

    scheduler = Scheduler("letters", [LocalWorker(lambda: letters), LocalWorker(fail)])
    with pytest.raises(type(error), match="no such"):
        scheduler.start()
    assert letters.gate.is_set()  # closed
    with pytest.raises(ClosedError):
        scheduler.open_stream(OPTIONS)


def test_capabilities_are_unknown_before_the_start() -> None:
    with pytest.raises(ClosedError):
        _ = Scheduler("letters", [LocalWorker(_Letters)]).capabilities


# --- streaming models

STREAMING = Capabilities(languages=("en",), streaming=True)


def test_a_streaming_model_gets_only_the_audio_that_is_new(start: Start) -> None:
    letters = _Letters(STREAMING)
    letters.gate.set()
    stream = _stream(start(letters), "ab")
    texts = [_text(_interim(stream))]
    for more in ("c", "", "de"):
        stream.push(_audio(more))
        texts.append(_text(_interim(stream)))
    assert texts == ["ab", "abc", "abc", "abcde"]
    assert letters.pushes == [["ab"], ["c"], [""], ["de"]]


def test_a_streaming_model_s_final_gets_only_the_audio_that_is_new(start: Start) -> None:
    letters = _Letters(STREAMING)
    letters.gate.set()
    stream = _stream(start(letters), "ab")
    _text(_interim(stream))
    stream.push(_audio("cd"))
    assert _text(_final(stream, 3)) == "abc"
    assert letters.pushes == [["ab"], ["c"]]


def test_a_streaming_model_that_heard_past_the_end_starts_anew(start: Start) -> None:
    letters = _Letters(STREAMING)
    letters.gate.set()
    stream = _stream(start(letters), "abcdef")
    assert _text(_interim(stream)) == "abcdef"
    assert _text(_final(stream, 4)) == "abcd"


def test_a_streaming_model_that_has_finished_an_utterance_can_begin_it_again(start: Start) -> None:
    # A pause is decoded as if it were the end, and then the speaker goes on.
    letters = _Letters(STREAMING)
    letters.gate.set()
    stream = _stream(start(letters), "ab")
    assert _text(stream.decode(Priority.PREFLIGHT, final=True, length=2)) == "ab"
    stream.push(_audio("cd"))
    assert _text(_interim(stream)) == "abcd"
    assert _text(_final(stream)) == "abcd"


def test_a_stream_of_a_streaming_model_stays_on_one_worker(start: Start) -> None:
    one, two = _Letters(STREAMING), _Letters(STREAMING)
    for letters in (one, two):
        letters.gate.set()
    scheduler = start(one, two)
    streams = [_stream(scheduler, text) for text in "abcdefgh"]
    for _ in range(5):
        for future in [_interim(stream) for stream in streams]:
            _text(future)
        for stream in streams:
            stream.push(_audio("."))
    for stream, text in zip(streams, "abcdefgh", strict=True):
        assert _text(_final(stream)) == text + "." * 5
    assert len(one.streams) + len(two.streams) == len(streams)


def test_a_worker_forgets_closed_streams(start: Start) -> None:
    letters = _Letters(STREAMING)
    letters.gate.set()
    worker = LocalWorker(lambda: letters)
    scheduler = start(worker)
    for text in "abc":
        stream = _stream(scheduler, text)
        _text(_interim(stream))
        stream.close()
    _text(_final(_stream(scheduler, "d")))
    assert worker._host is not None
    assert worker._host._streams == {}


def test_a_worker_forgets_a_stream_that_was_closed_during_its_decode(start: Start) -> None:
    letters = _Letters(STREAMING)
    worker = LocalWorker(lambda: letters)
    scheduler = start(worker)
    stream = _stream(scheduler, "a")
    future = _interim(stream)
    letters.wait_until_busy()
    stream.close()
    letters.gate.set()
    assert _text(future) == "a"
    _text(_final(_stream(scheduler, "b")))
    assert worker._host is not None
    assert worker._host._streams == {}


def test_a_streaming_worker_that_dies_hears_everything_again(start: Start) -> None:
    letters = _Letters(STREAMING)
    letters.gate.set()
    worker = _Mortal(letters, dies_of="c", times=1)
    scheduler = start(worker)
    stream, other = _stream(scheduler, "ab"), _stream(scheduler, "xy")
    _text(_interim(stream))
    _text(_interim(other))
    stream.push(_audio("c"))
    other.push(_audio("z"))
    assert _text(_interim(stream)) == "abc"
    assert _text(_final(other)) == "xyz"


# --- batching models


def test_a_batching_model_gets_several_streams_in_one_call(start: Start) -> None:
    letters = _Letters(Capabilities(languages=("en",), max_batch=3))
    scheduler = start(letters)
    first = _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    futures = [_interim(_stream(scheduler, text)) for text in "abcd"]
    futures.append(_final(_stream(scheduler, "final")))
    letters.gate.set()
    assert [_text(future) for future in [first, *futures]] == ["first", *"abcd", "final"]
    assert letters.calls == [["first"], ["final", "a", "b"], ["c", "d"]]
    assert letters.finals == [[False], [True, False, False], [False, False]]


def test_two_requests_of_one_stream_never_share_a_call(start: Start) -> None:
    letters = _Letters(Capabilities(languages=("en",), max_batch=8))
    scheduler = start(letters)
    _interim(_stream(scheduler, "first"))
    letters.wait_until_busy()
    stream = _stream(scheduler, "a")
    futures = [_interim(stream), _final(stream)]
    letters.gate.set()
    for future in futures:
        _text(future)
    assert letters.calls == [["first"], ["a"], ["a"]]


# --- the cadence of interims


def test_at_first_interims_come_at_their_least_interval(start: Start) -> None:
    assert start(_Letters()).interim_interval_s == MIN_INTERIM_INTERVAL_S


def test_the_interval_of_interims_grows_with_the_streams_and_the_time_of_a_decode(
    start: Start,
) -> None:
    scheduler = start(LocalWorker(lambda: FakeRecognizer(decode_delay_s=0.05)))
    streams = [_stream(scheduler, str(i)) for i in range(20)]
    _text(_interim(streams[0]))
    interval_s = scheduler.interim_interval_s
    assert interval_s >= 20 * 0.05 / INTERIM_SHARE
    for stream in streams[:10]:
        stream.close()
    assert scheduler.interim_interval_s == pytest.approx(interval_s / 2)


def test_the_interval_of_interims_shrinks_with_more_workers(start: Start) -> None:
    alone, together = start(_Letters()), start(*[_Letters() for _ in range(4)])
    for scheduler in (alone, together):
        for i in range(40):
            _stream(scheduler, str(i))
        scheduler._interim_s = 0.05  # as if measured
    assert together.interim_interval_s == pytest.approx(alone.interim_interval_s / 4)


def test_finals_do_not_count_for_the_interval_of_interims(start: Start) -> None:
    scheduler = start(LocalWorker(lambda: FakeRecognizer(decode_delay_s=0.05)))
    streams = [_stream(scheduler, str(i)) for i in range(50)]
    _text(_final(streams[0]))
    assert scheduler.interim_interval_s == MIN_INTERIM_INTERVAL_S


# --- the threads of a decode


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hark.scheduler.usable_cores", lambda: 2)


@pytest.mark.parametrize(
    ("workers", "speakers", "threads"),
    [(1, 1, 1), (2, 1, 2), (2, 2, 1), (4, 2, 2), (8, 1, 2), (8, 5, 1)],
)
def test_a_decode_has_more_threads_where_there_are_idle_workers_for_them(
    start: Start, monkeypatch: pytest.MonkeyPatch, workers: int, speakers: int, threads: int
) -> None:
    monkeypatch.setattr("hark.scheduler.usable_cores", lambda: 8)
    letters = [_Letters(Capabilities(("en",), threads=2)) for _ in range(workers)]
    for one in letters:
        one.gate.set()
    scheduler = start(*letters)
    streams = [_stream(scheduler, str(i)) for i in range(speakers)]
    _text(_interim(streams[0]))
    _text(_final(streams[-1]))
    assert [count for one in letters for count in one.threads] == [threads] * 2


def test_workers_that_share_cores_have_one_thread_each(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.scheduler.usable_cores", lambda: 1)
    one, other = (_Letters(Capabilities(("en",), threads=2)) for _ in range(2))
    one.gate.set()
    other.gate.set()
    _text(_final(_stream(start(one, other), "a")))
    assert one.threads + other.threads == [1]


def test_a_decode_beside_another_of_the_same_speaker_has_one_thread(
    start: Start, two_cores: None
) -> None:
    one, other = (_Letters(Capabilities(("en",), threads=2)) for _ in range(2))
    stream = _stream(start(one, other), "a")
    interim = _interim(stream)
    busy = one if one.entered.acquire(timeout=0.5) else other
    idle = other if busy is one else one
    if busy is other:
        other.wait_until_busy()
    final = _final(stream)
    idle.wait_until_busy()
    one.gate.set()
    other.gate.set()
    assert [_text(interim), _text(final)] == ["a", "a"]
    assert (busy.threads, idle.threads) == ([2], [1])


def test_an_engine_that_computes_on_one_thread_is_given_one(start: Start, two_cores: None) -> None:
    one, other = _Letters(), _Letters()
    one.gate.set()
    other.gate.set()
    _text(_final(_stream(start(one, other), "a")))
    assert one.threads + other.threads == [1]


def test_an_anchor_has_as_many_threads_as_its_final(
    start: Start, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.scheduler.ANCHOR_MARGIN", 1)
    capabilities = Capabilities(("en",), anchor=2, threads=2)
    letters, idle = _Letters(capabilities), _Letters(capabilities)
    letters.gate.set()
    idle.gate.set()
    _text(_final(_stream(start(letters, idle), "abcdef")))
    assert letters.threads + idle.threads == [2] * 3


def test_an_interim_on_two_threads_counts_for_more_in_the_interval_of_interims(
    start: Start, two_cores: None
) -> None:
    class Slow(FakeRecognizer):
        @property
        def capabilities(self) -> Capabilities:
            return replace(super().capabilities, threads=2)

    scheduler = start(*[LocalWorker(lambda: Slow(decode_delay_s=0.1)) for _ in range(2)])
    _text(_interim(_stream(scheduler, "alone")))
    for i in range(39):
        _stream(scheduler, str(i))
    assert scheduler.interim_interval_s >= 40 * 1.5 * 0.1 / (2 * INTERIM_SHARE)


# --- threads of callers


def test_many_threads_may_use_one_scheduler(start: Start) -> None:
    one, two = _Letters(), _Letters()
    one.gate.set()
    two.gate.set()
    scheduler = start(one, two)
    wrong: list[str] = []

    def use(name: str) -> None:
        for i in range(30):
            stream = _stream(scheduler, f"{name}{i}")
            interim = _interim(stream)
            stream.push(_audio("!"))
            final = _final(stream)
            if i % 3 == 0:
                interim.cancel()
            if _text(final) != f"{name}{i}!":
                wrong.append(_text(final))
            stream.close()

    threads = [threading.Thread(target=use, args=(name,)) for name in "abcdefgh"]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(started + DEADLINE_S - time.monotonic())
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    assert not scheduler._streams


# --- anchors


@pytest.fixture
def anchored(start: Start, monkeypatch: pytest.MonkeyPatch) -> tuple[_Letters, Scheduler]:
    """A recogniser with an anchor at every second letter, none at the last."""
    monkeypatch.setattr("hark.scheduler.ANCHOR_MARGIN", 1)
    letters = _Letters(Capabilities(("en",), anchor=2))
    letters.gate.set()
    return letters, start(letters)


def _calls(letters: _Letters) -> list[tuple[str, str | None]]:
    return [
        (texts[0], previous)
        for texts, previous in zip(letters.calls, letters.previous, strict=True)
    ]


BY_WAY_OF_ANCHORS = [("ab", None), ("abcd", "ab"), ("abcdef", "abcd")]


def test_a_final_goes_by_way_of_its_anchors(anchored: tuple[_Letters, Scheduler]) -> None:
    letters, scheduler = anchored
    assert _text(_final(_stream(scheduler, "abcdef"))) == "abcdef"
    assert _calls(letters) == BY_WAY_OF_ANCHORS


def test_an_interim_at_an_anchor_spares_the_final_that_decode(
    anchored: tuple[_Letters, Scheduler],
) -> None:
    letters, scheduler = anchored
    stream = _stream(scheduler, "abcdef")
    assert _text(stream.decode(Priority.INTERIM, final=False, length=4)) == "abcd"
    _text(_final(stream))
    assert _calls(letters) == BY_WAY_OF_ANCHORS


def test_interims_elsewhere_make_no_difference_to_a_final(
    anchored: tuple[_Letters, Scheduler],
) -> None:
    letters, scheduler = anchored
    stream = _stream(scheduler, "abcde")
    _text(_interim(stream))
    stream.push(_audio("f"))
    _text(_final(stream))
    assert _calls(letters) == [("abcde", None), *BY_WAY_OF_ANCHORS]


def test_an_anchor_after_the_end_of_a_final_makes_no_difference_to_it(
    anchored: tuple[_Letters, Scheduler],
) -> None:
    # An utterance that grew too long is cut in the past.
    letters, scheduler = anchored
    stream = _stream(scheduler, "abcdef")
    _text(stream.decode(Priority.INTERIM, final=False, length=6))
    letters.calls.clear()
    letters.previous.clear()
    _text(_final(stream, 3))
    assert _calls(letters) == [("abc", "ab")]


def test_a_recording_is_decoded_once(anchored: tuple[_Letters, Scheduler]) -> None:
    letters, scheduler = anchored
    _text(_stream(scheduler, "abcdef").decode(Priority.RECORDING, final=True))
    assert _calls(letters) == [("abcdef", None)]
