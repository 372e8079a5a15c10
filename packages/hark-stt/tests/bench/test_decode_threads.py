from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from hark.bench.peers.decode_threads import DecodeThreads, to_float

DEADLINE_S = 20


def test_finals_are_decoded_before_interims_that_came_earlier() -> None:
    threads = DecodeThreads(["decoder"])
    may_go_on = threading.Event()
    order: list[str] = []

    def note(what: str) -> Callable[[str], str]:
        def decode(decoder: str) -> str:
            order.append(what)
            return what

        return decode

    def wait(decoder: str) -> str:
        may_go_on.wait(DEADLINE_S)
        return ""

    threads.submit(wait, is_final=True)
    interim = threads.submit(note("interim"), is_final=False)
    first = threads.submit(note("first"), is_final=True)
    second = threads.submit(note("second"), is_final=True)
    may_go_on.set()
    assert [one.result(DEADLINE_S) for one in (interim, first, second)] == [
        "interim",
        "first",
        "second",
    ]
    assert order == ["first", "second", "interim"]
    threads.close()
    threads.close()


def test_a_decoder_that_fails_fails_its_job_only() -> None:
    threads = DecodeThreads([1])
    broken = threads.submit(lambda decoder: str(decoder // 0), is_final=True)
    whole = threads.submit(lambda decoder: str(decoder), is_final=True)
    with pytest.raises(ZeroDivisionError):
        broken.result(DEADLINE_S)
    assert whole.result(DEADLINE_S) == "1"
    threads.close()


def test_samples_are_between_minus_one_and_one() -> None:
    pcm = np.array([-32768, 0, 16384], "<i2").tobytes()
    samples = to_float(pcm)
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, 0.0, 0.5]
