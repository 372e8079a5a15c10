from __future__ import annotations

import pytest

from hark_protocol import Audio, Close, Closed, Config, Flush, Flushed, Interim, Progress
from livekit.plugins.hark.liveness import ANSWER_TIMEOUT_S, SEND_TIMEOUT_S, Liveness

RATE = 1000
TIMEOUT_S = 4.0


@pytest.fixture
def liveness() -> Liveness:
    return Liveness(sample_rate=RATE, start_sample=50_000, timeout_s=TIMEOUT_S, now=100.0)


def send(liveness: Liveness, seconds: float, now: float) -> None:
    liveness.sending(Audio(bytes(int(seconds * RATE) * 2)), now)
    liveness.sent(now)


def stream(liveness: Liveness, start: float, seconds: int) -> None:
    for tenth in range(seconds * 10):
        send(liveness, 0.1, start + tenth / 10)


def test_a_connection_without_audio_lives_for_ever(liveness: Liveness) -> None:
    assert not liveness.is_dead(1e6)


def test_unanswered_audio_is_dead_after_the_timeout(liveness: Liveness) -> None:
    stream(liveness, 100.0, 6)
    assert not liveness.is_dead(100.0 + TIMEOUT_S)
    assert liveness.is_dead(100.1 + TIMEOUT_S)


def test_an_answer_that_is_due_may_take_its_time_although_the_timeout_is_short() -> None:
    impatient = Liveness(sample_rate=RATE, start_sample=0, timeout_s=0.3, now=100.0)
    for second in range(3):
        for frame in range(20):
            now = 100.0 + second + frame / 20
            send(impatient, 0.05, now)
            if second and frame == 5:  # the answer to the second before
                assert not impatient.is_dead(now)
                impatient.heard(Progress(1_000 * second, 0), now)
    assert not impatient.is_dead(102.95)
    send(impatient, 0.05, 103.0)
    assert not impatient.is_dead(103.3)
    assert impatient.is_dead(103.4)


def test_it_need_not_be_looked_at_before_it_can_be_dead(liveness: Liveness) -> None:
    assert liveness.dies_at(200.0) == 200.0 + TIMEOUT_S  # of audio that is sent then
    send(liveness, 0.9, 200.0)
    assert liveness.dies_at(200.5) == 200.0 + TIMEOUT_S
    send(liveness, 0.9, 200.9)
    assert liveness.dies_at(203.0) == 200.0 + TIMEOUT_S
    liveness.heard(Progress(51_800, 50_000), 203.5)
    liveness.sending(Flush(1), 204.0)
    liveness.sent(204.0)
    assert liveness.dies_at(205.0) == 205.0 + TIMEOUT_S
    assert liveness.dies_at(213.0) == 204.0 + ANSWER_TIMEOUT_S


def test_what_is_not_due_yet_need_not_be_looked_at_all_the_time(liveness: Liveness) -> None:
    send(liveness, 0.9, 100.0)
    assert liveness.dies_at(1e6) == 1e6 + 1  # more of it would be due, and then late after a second


def test_progress_keeps_it_alive(liveness: Liveness) -> None:
    stream(liveness, 100.0, 3)
    liveness.heard(Progress(52_000, 50_000), 103.0)
    stream(liveness, 103.0, 3)
    assert not liveness.is_dead(103.0 + TIMEOUT_S)
    assert liveness.is_dead(103.1 + TIMEOUT_S)


def test_any_message_is_a_sign_of_life(liveness: Liveness) -> None:
    stream(liveness, 100.0, 3)
    liveness.heard(Interim(1, 50_000, 51_000, "a"), 103.0)
    assert not liveness.is_dead(106.9)


def test_less_than_a_second_of_audio_may_wait_for_more(liveness: Liveness) -> None:
    send(liveness, 0.9, 100.0)
    assert not liveness.is_dead(1e6)
    assert liveness.has_unheard_audio


def test_audio_after_a_pause_starts_a_new_wait(liveness: Liveness) -> None:
    send(liveness, 0.9, 100.0)
    send(liveness, 2.0, 160.0)
    assert not liveness.is_dead(160.0 + TIMEOUT_S)
    assert liveness.is_dead(160.1 + TIMEOUT_S)


def test_a_pause_does_not_excuse_audio_that_was_due(liveness: Liveness) -> None:
    stream(liveness, 100.0, 2)
    send(liveness, 0.1, 103.9)
    assert liveness.is_dead(104.1)


@pytest.mark.parametrize("message", [Flush(1), Close()])
def test_an_answer_has_its_own_longer_deadline(liveness: Liveness, message: Flush | Close) -> None:
    liveness.sending(message, 100.0)
    liveness.sent(100.0)
    assert not liveness.is_dead(100.0 + ANSWER_TIMEOUT_S)
    assert liveness.is_dead(100.1 + ANSWER_TIMEOUT_S)


def test_an_answered_flush_is_waited_for_no_more(liveness: Liveness) -> None:
    liveness.sending(Flush(1), 100.0)
    liveness.sent(100.0)
    liveness.heard(Flushed(1), 101.0)
    assert not liveness.is_dead(1e6)


def test_messages_on_the_way_to_an_answer_extend_its_deadline(liveness: Liveness) -> None:
    liveness.sending(Close(), 100.0)
    liveness.sent(100.0)
    liveness.heard(Progress(50_000, 50_000), 105.0)
    assert not liveness.is_dead(105.0 + ANSWER_TIMEOUT_S)
    liveness.heard(Closed(), 106.0)
    assert not liveness.is_dead(1e6)


def test_a_message_that_does_not_leave_is_a_dead_connection(liveness: Liveness) -> None:
    liveness.sending(Config(language="en"), 100.0)
    assert not liveness.is_dead(100.0 + ANSWER_TIMEOUT_S)
    assert liveness.is_dead(100.1 + ANSWER_TIMEOUT_S)


def test_a_server_that_speaks_may_take_its_time_with_our_audio_but_not_for_ever(
    liveness: Liveness,
) -> None:
    liveness.sending(Audio(bytes(2 * RATE)), 100.0)
    for second in range(int(SEND_TIMEOUT_S)):
        liveness.heard(Progress(50_000, 50_000), 100.0 + second)
        assert not liveness.is_dead(100.9 + second)
    liveness.heard(Progress(50_000, 50_000), 100.0 + SEND_TIMEOUT_S)
    assert liveness.is_dead(100.1 + SEND_TIMEOUT_S)
