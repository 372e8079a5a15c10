"""Tests of hark.process_worker, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from hark.audio import PcmArray
from hark.cores import usable_cores
from hark.engines.fake import WORD_SAMPLES
from hark.errors import ModelError, RecognitionError, WorkerError
from hark.process_worker import ProcessWorker
from hark.recognizer import Hypothesis, RecognitionOptions
from hark.scheduler import Priority, Scheduler
from hark.worker import DecodeJob

DEADLINE_S = 20
FAKE = ("-m", "hark.engines.worker_main", "fake")

# Silence this long is what a scripted worker reacts to, in words of the fake model.
CRASH, HANG, FAIL, LEAVE, COMPUTE, THREADS = 7, 8, 9, 10, 11, 12

SCRIPTED = f"""
import os, pathlib, sys, time
from hark.engines.fake import FakeRecognizer, WORD_SAMPLES
from hark.errors import RecognitionError
from hark.process_worker import serve
from hark.recognizer import Hypothesis

class Scripted(FakeRecognizer):
    def decode(self, streams, *, final, threads=1):
        words = streams[0].length // WORD_SAMPLES
        if words == {CRASH}:
            raise ZeroDivisionError
        if words == {HANG}:
            if sys.argv[1:]:
                pathlib.Path(sys.argv[1]).touch()
            time.sleep(600)
        if words == {FAIL}:
            raise RecognitionError("cannot decode this")
        if words == {LEAVE}:
            os._exit(3)
        if words == {THREADS}:
            return [Hypothesis(str(threads))]
        until = time.monotonic() + (3.0 if words == {COMPUTE} else 0.0)
        while time.monotonic() < until:  # with the interpreter lock, as Python code has it
            pass
        return super().decode(streams, final=final)

serve(Scripted)
"""


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Neither threads nor children nor open files are left behind."""
    process = psutil.Process()
    threads, files = set(threading.enumerate()), process.num_fds()
    children = set(process.children())
    yield
    deadline = time.monotonic() + DEADLINE_S
    while set(threading.enumerate()) - threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= threads
    assert set(process.children()) <= children
    assert process.num_fds() <= files


Make = Callable[..., ProcessWorker]


@pytest.fixture
def make(tmp_path: Path, no_leaks: None) -> Iterator[Make]:
    """Make workers, of a script's text or of arguments; they are closed after the test."""
    workers: list[ProcessWorker] = []

    def make_one(*arguments: str, script: str = "", **timeouts: float) -> ProcessWorker:
        if script:
            path = tmp_path / f"worker{len(workers)}.py"
            path.write_text(script)
            arguments = (str(path),)
        workers.append(ProcessWorker(arguments, **timeouts))
        return workers[-1]

    yield make_one
    for worker in workers:
        worker.close()


def _job(words: int, *, previous: Hypothesis | None = None, wants_words: bool = False) -> DecodeJob:
    samples = np.zeros(words * WORD_SAMPLES, np.int16)
    options = RecognitionOptions(words=wants_words, keyterms=("hark",))
    return DecodeJob(1, 0, samples, options, previous, final=True, keep=False)


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process brings about."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- the good case


def test_a_worker_process_decodes_like_its_recogniser(make: Make) -> None:
    worker = make(*FAKE)
    assert worker.pid is None
    capabilities = worker.start()
    assert capabilities.languages == ("en",)
    assert capabilities.words
    assert worker.pid != os.getpid()
    previous = Hypothesis("one", 0.5, "en", tokens=(1, 2))
    (hypothesis,) = worker.decode([_job(2, previous=previous, wants_words=True)])
    assert hypothesis.text == "hark two"
    assert hypothesis.words is not None
    assert [word.start for word in hypothesis.words] == [0, WORD_SAMPLES]


def test_a_worker_process_runs_the_real_model(make: Make, speech: PcmArray) -> None:
    worker = make("-m", "hark.engines.worker_main", "moonshine-tiny-en")
    assert worker.start().threads == min(2, usable_cores())
    job = DecodeJob(1, 0, speech[13_000:76_000], RecognitionOptions(), None, True, False)
    (hypothesis,) = worker.decode([job])
    assert "best of times" in hypothesis.text
    assert hypothesis.confidence is not None


def test_the_number_of_threads_reaches_the_engine(make: Make) -> None:
    worker = make(script=SCRIPTED)
    worker.start()
    texts = [worker.decode([_job(THREADS)], threads=threads)[0].text for threads in (1, 2)]
    assert texts == ["1", "2"]


def test_an_engine_that_fails_leaves_the_worker_alive(make: Make) -> None:
    worker = make(script=SCRIPTED)
    worker.start()
    pid = worker.pid
    with pytest.raises(RecognitionError, match="cannot decode this"):
        worker.decode([_job(FAIL)])
    assert worker.decode([_job(1)])[0].text == "hark"
    assert worker.pid == pid


# --- workers that die


def _decode_and_kill(worker: ProcessWorker) -> WorkerError:
    """Kill -9 in the middle of a decode that would never end."""
    pid = worker.pid
    assert pid is not None
    killer = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(WorkerError) as caught:
        worker.decode([_job(HANG)])
    killer.join()
    return caught.value


def test_a_worker_that_is_killed_in_a_decode_can_be_started_again(make: Make) -> None:
    worker = make(script=SCRIPTED)
    worker.start()
    pid = worker.pid
    assert "is gone" in str(_decode_and_kill(worker))
    with pytest.raises(WorkerError, match="not running"):
        worker.decode([_job(1)])
    worker.start()
    assert worker.pid != pid
    assert worker.decode([_job(1)])[0].text == "hark"


def test_a_worker_that_was_killed_between_decodes_shows_in_the_next(make: Make) -> None:
    worker = make(*FAKE)
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="is gone"):
        worker.decode([_job(1)])
    worker.start()
    assert worker.decode([_job(1)])[0].text == "hark"


def test_a_recogniser_that_brings_its_process_down_is_a_worker_error(make: Make) -> None:
    worker = make(script=SCRIPTED)
    worker.start()
    with pytest.raises(WorkerError, match="is gone"):
        worker.decode([_job(LEAVE)])
    assert worker.pid is None


def test_a_recogniser_s_bug_does_not_take_the_worker_from_others(make: Make) -> None:
    worker = make(script=SCRIPTED)
    worker.start()
    with pytest.raises(RecognitionError, match="the engine raised"):
        worker.decode([_job(CRASH)])
    assert worker.decode([_job(1)])[0].text == "hark"


def test_a_worker_that_hangs_is_killed_after_its_time(make: Make) -> None:
    worker = make(script=SCRIPTED, decode_timeout_s=0.3, decode_timeout_per_audio_s=0)
    worker.start()
    pid = worker.pid
    assert pid is not None
    with pytest.raises(WorkerError, match=r"did not answer within 0\.3 s"):
        worker.decode([_job(HANG)])
    assert _is_gone(pid)
    worker.start()
    assert worker.decode([_job(1)])[0].text == "hark"


def test_a_worker_that_is_stopped_in_a_decode_is_found_without_waiting_for_the_decode(
    make: Make, tmp_path: Path
) -> None:
    hanging = tmp_path / "hanging"
    script = tmp_path / "scripted.py"
    script.write_text(SCRIPTED)
    worker = make(str(script), str(hanging), stopped_timeout_s=1.5, decode_timeout_s=600)
    worker.start()
    pid = worker.pid
    assert pid is not None

    def stop() -> None:
        _wait_until(hanging.exists)
        os.kill(pid, signal.SIGSTOP)

    stopper = threading.Thread(target=stop)
    stopper.start()
    with pytest.raises(WorkerError, match="has stopped"):
        worker.decode([_job(HANG)])
    stopper.join()
    assert _is_gone(pid)
    worker.start()
    assert worker.decode([_job(1)])[0].text == "hark"


def test_a_worker_that_was_stopped_between_decodes_is_found_when_it_reads_nothing(
    make: Make,
) -> None:
    worker = make(*FAKE, stopped_timeout_s=0.3, decode_timeout_s=600)
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match="is gone"):
        worker.decode([_job(100)])  # more than fits into the socket


def test_a_worker_that_computes_for_long_is_not_taken_for_stopped(make: Make) -> None:
    worker = make(script=SCRIPTED, stopped_timeout_s=1.5)
    worker.start()
    pid = worker.pid
    assert worker.decode([_job(COMPUTE)])[0].text.startswith("hark")
    # Nor does a sign of life that comes late pass for an answer.
    assert worker.decode([_job(1)])[0].text == "hark"
    assert worker.pid == pid


def test_a_scheduler_does_the_job_of_a_killed_process_again(make: Make) -> None:
    worker = make(*FAKE)
    scheduler = Scheduler("fake", [worker])
    scheduler.start()
    stream = scheduler.open_stream(RecognitionOptions())
    stream.push(np.zeros(2 * WORD_SAMPLES, np.int16))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    decoded = stream.decode(Priority.FINAL, final=True).result(DEADLINE_S)
    assert decoded.hypothesis.text == "one two"
    scheduler.close()


# --- workers that do not come up


def test_a_model_that_is_not_there_is_a_model_error_that_says_why(make: Make) -> None:
    worker = make("-m", "hark.engines.worker_main", "no-such-model")
    with pytest.raises(ModelError, match="no-such-model"):
        worker.start()
    assert worker.pid is None


@pytest.mark.parametrize(
    "script",
    ["raise SystemExit(3)", "import hark_no_such_module", "print('hello')"],
)
def test_a_process_that_does_not_come_up_is_a_worker_error(
    make: Make, script: str, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = make(script=script)
    with pytest.raises(WorkerError, match="did not come up"):
        worker.start()
    assert worker.pid is None


def test_a_process_that_never_connects_is_given_up(make: Make) -> None:
    worker = make(script="import time; time.sleep(600)", start_timeout_s=0.3)
    with pytest.raises(WorkerError, match="did not come up"):
        worker.start()


def test_a_process_that_connects_and_says_nothing_is_given_up(make: Make) -> None:
    silent = (
        "import sys, time\n"
        "from multiprocessing.connection import Client\n"
        "address, key = sys.stdin.readline().strip(), sys.stdin.readline().strip()\n"
        "connection = Client(address, authkey=bytes.fromhex(key))\n"
        "time.sleep(600)\n"
    )
    worker = make(script=silent, start_timeout_s=2.0)
    with pytest.raises(WorkerError, match="did not answer within 2 s"):
        worker.start()


def test_a_process_that_connects_without_the_key_is_given_up(make: Make) -> None:
    stranger = (
        "import sys\n"
        "from multiprocessing.connection import Client\n"
        "from multiprocessing import AuthenticationError\n"
        "try:\n"
        "    Client(sys.stdin.readline().strip(), authkey=b'wrong')\n"
        "except AuthenticationError:\n"
        "    pass\n"
    )
    with pytest.raises(WorkerError, match="did not come up"):
        make(script=stranger).start()


def test_a_process_that_talks_nonsense_is_a_worker_error(make: Make) -> None:
    babbling = (
        "import sys, time\n"
        "from multiprocessing.connection import Client\n"
        "address, key = sys.stdin.readline().strip(), sys.stdin.readline().strip()\n"
        "connection = Client(address, authkey=bytes.fromhex(key))\n"
        "connection.send_bytes(b'hello')\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(WorkerError, match="nonsense"):
        make(script=babbling).start()


# --- the end


def test_a_closed_worker_cannot_be_started_again(make: Make) -> None:
    worker = make(*FAKE)
    worker.start()
    pid = worker.pid
    assert pid is not None
    worker.close()
    worker.close()
    assert _is_gone(pid)
    with pytest.raises(WorkerError, match="closed"):
        worker.start()
    with pytest.raises(WorkerError, match="not running"):
        worker.decode([_job(1)])


def test_closing_from_another_thread_ends_a_decode(make: Make) -> None:
    worker = make(script=SCRIPTED)
    worker.start()
    closer = threading.Timer(0.2, worker.close)
    closer.start()
    with pytest.raises(WorkerError):
        worker.decode([_job(HANG)])
    closer.join()


@pytest.mark.parametrize(
    "script",
    [
        "import time; time.sleep(600)",
        "import time\nfrom hark.process_worker import serve\nserve(lambda: time.sleep(600))",
    ],
)
def test_closing_from_another_thread_ends_a_start(make: Make, script: str) -> None:
    worker = make(script=script)
    closer = threading.Timer(0.5, worker.close)
    closer.start()
    with pytest.raises(WorkerError):
        worker.start()
    closer.join()
    assert worker.pid is None


def test_ctrl_c_and_terminate_are_for_the_parent(make: Make) -> None:
    worker = make(*FAKE)
    worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.decode([_job(1)])[0].text == "hark"


PARENT = f"""
import sys, numpy as np
from hark.process_worker import ProcessWorker
from hark.recognizer import RecognitionOptions
from hark.worker import DecodeJob

worker = ProcessWorker(sys.argv[2:])
worker.start()
print(worker.pid, flush=True)
samples = np.zeros(int(sys.argv[1]) * {WORD_SAMPLES}, np.int16)
while True:
    worker.decode([DecodeJob(1, 0, samples, RecognitionOptions(), None, True, False)])
    print("decoded", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("is_decoding", [False, True])
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path, is_decoding: bool) -> None:
    parent_script, worker_script = tmp_path / "parent.py", tmp_path / "worker.py"
    parent_script.write_text(PARENT)
    worker_script.write_text(SCRIPTED)
    hanging = tmp_path / "hanging"
    words = HANG if is_decoding else 1
    with subprocess.Popen(
        [sys.executable, str(parent_script), str(words), str(worker_script), str(hanging)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if is_decoding:
            _wait_until(hanging.exists)
        else:
            assert parent.stdout.readline() == "decoded\n"
        assert not _is_gone(pid)
        parent.kill()
    _wait_until(lambda: _is_gone(pid))


def test_starting_and_closing_many_workers_leaks_nothing(make: Make) -> None:
    for _ in range(3):
        worker = make(*FAKE)
        worker.start()
        worker.decode([_job(1)])
        worker.close()
