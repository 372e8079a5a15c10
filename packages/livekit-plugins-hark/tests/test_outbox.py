from __future__ import annotations

from hark_protocol import Audio, Close, Flush
from livekit.plugins.hark.outbox import Outbox


def said(outbox: Outbox, most: int = 100) -> list[str]:
    """Everything that there is to say now: a letter for each sample, then flushes and close."""
    words = []
    while (message := outbox.next_message(most)) is not None:
        match message:
            case Audio():
                words.append(message.pcm[::2].decode())
            case Flush():
                words.append(f"flush {message.id}")
            case Close():
                words.append("close")
    return words


def push(outbox: Outbox, letters: str) -> int:
    return outbox.push_audio(b"".join(letter.encode() + b"\0" for letter in letters))


def with_context(letters: str, *, finalized: int, context: int, capacity: int = 100) -> Outbox:
    """An outbox that has said all of this, and been told what is done with and what helps."""
    outbox = Outbox(capacity=capacity, headroom=0)
    push(outbox, letters)
    said(outbox)
    outbox.forget(finalized, context=context)
    return outbox


def test_audio_goes_out_in_pieces() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abcde")
    assert said(outbox, most=2) == ["ab", "cd", "e"]
    assert said(outbox) == []
    push(outbox, "f")
    assert said(outbox) == ["f"]


def test_a_flush_stands_between_the_audio_before_and_after_it() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abc")
    assert outbox.push_flush() == 1
    push(outbox, "de")
    assert outbox.push_flush() == 2
    outbox.end()
    assert said(outbox, most=2) == ["ab", "c", "flush 1", "de", "flush 2", "close"]


def test_a_new_connection_says_again_what_is_not_done_with() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abc")
    outbox.push_flush()
    push(outbox, "de")
    outbox.end()
    said(outbox)
    outbox.forget(2)
    assert outbox.connect() == (2, 2)
    assert said(outbox) == ["c", "flush 1", "de", "close"]


def test_an_answered_flush_is_not_said_again() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abc")
    outbox.push_flush()
    push(outbox, "de")
    said(outbox)
    outbox.forget(3)
    outbox.flushed(1)
    outbox.connect()
    assert said(outbox) == ["de"]


def test_a_flush_of_finalised_audio_comes_first() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abc")
    outbox.push_flush()
    push(outbox, "de")
    said(outbox)
    outbox.forget(4)
    outbox.connect()
    assert said(outbox) == ["flush 1", "e"]


def test_flushes_without_audio_in_between_are_one() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "a")
    assert [outbox.push_flush(), outbox.push_flush()] == [1, 1]
    push(outbox, "b")
    assert outbox.push_flush() == 2


def test_a_flush_after_an_answered_one_at_the_same_place_is_another() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    outbox.push_flush()
    said(outbox)
    outbox.flushed(1)
    assert outbox.push_flush() == 2
    assert said(outbox) == ["flush 2"]


def test_only_what_was_sent_can_be_finalised() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abc")
    outbox.next_message(1)
    outbox.forget(3)
    assert said(outbox) == ["bc"]


def test_when_full_the_oldest_goes_and_is_counted() -> None:
    outbox = Outbox(capacity=4, headroom=2)
    assert push(outbox, "abc") == 0
    assert push(outbox, "def") == 2
    assert outbox.connect() == (2, 2)
    assert said(outbox) == ["cdef"]


def test_nothing_goes_while_a_connection_is_opened_within_the_headroom() -> None:
    outbox = Outbox(capacity=4, headroom=2)
    push(outbox, "abcdef")
    assert outbox.connect() == (2, 2)
    assert push(outbox, "gh") == 0
    assert not outbox.is_cut_off
    assert said(outbox) == ["cdefgh"]


def test_a_connection_that_did_not_come_about_gives_its_headroom_back() -> None:
    outbox = Outbox(capacity=4, headroom=2)
    push(outbox, "abcd")
    outbox.connect()
    push(outbox, "ef")
    outbox.disconnect()
    assert outbox.connect() == (2, 2)
    push(outbox, "gh")
    assert said(outbox) == ["cdefgh"]


def test_a_connection_that_has_caught_up_gives_its_headroom_back() -> None:
    outbox = Outbox(capacity=4, headroom=2)
    outbox.connect()
    push(outbox, "abcdef")
    assert said(outbox) == ["abcdef"]
    assert push(outbox, "g") == 3
    assert not outbox.is_cut_off
    assert said(outbox) == ["g"]


def test_a_flush_in_between_does_not_mean_that_a_connection_has_caught_up() -> None:
    outbox = Outbox(capacity=4, headroom=2)
    push(outbox, "a")
    outbox.push_flush()
    push(outbox, "bcd")
    outbox.connect()
    push(outbox, "ef")
    assert isinstance(outbox.next_message(100), Audio)
    assert isinstance(outbox.next_message(100), Flush)
    assert outbox.has_more
    push(outbox, "g")
    assert not outbox.is_cut_off
    assert said(outbox) == ["bcdefg"]


def test_it_says_when_nothing_is_left_to_say() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    outbox.connect()
    assert said(outbox) == []
    assert not outbox.has_more
    push(outbox, "ab")
    assert outbox.has_more
    outbox.next_message(1)
    assert outbox.has_more
    outbox.next_message(1)
    assert not outbox.has_more
    outbox.end()
    assert outbox.has_more


def test_a_connection_is_cut_off_when_audio_goes_before_it_was_sent() -> None:
    outbox = Outbox(capacity=4, headroom=2)
    outbox.connect()
    assert push(outbox, "abcdefg") == 1
    assert outbox.is_cut_off
    assert outbox.connect() == (3, 3)
    assert not outbox.is_cut_off
    assert said(outbox) == ["defg"]


def test_it_is_done_when_the_stream_has_ended_and_all_is_answered() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    assert not outbox.is_done
    push(outbox, "ab")
    outbox.push_flush()
    outbox.end()
    said(outbox)
    assert not outbox.is_done
    outbox.forget(2)
    assert not outbox.is_done
    outbox.flushed(1)
    assert outbox.is_done


def test_context_is_said_again_before_what_is_not_done_with() -> None:
    outbox = with_context("abcdef", finalized=4, context=2)
    assert outbox.connect() == (4, 2)
    assert said(outbox) == ["cd", "ef"]


def test_a_stream_is_done_while_it_still_holds_context() -> None:
    outbox = Outbox(capacity=100, headroom=0)
    push(outbox, "abc")
    outbox.end()
    said(outbox)
    outbox.forget(3, context=1)
    assert outbox.is_done


def test_where_room_is_short_context_goes_first_and_nothing_is_lost() -> None:
    outbox = with_context("abcd", finalized=3, context=1, capacity=4)
    assert push(outbox, "efg") == 0
    assert outbox.connect() == (3, 3)
    assert said(outbox) == ["defg"]


def test_options_that_change_while_context_is_said_again_do_not_cut_the_connection_off() -> None:
    outbox = with_context("abcdef", finalized=4, context=2)
    outbox.connect()
    outbox.forget_context()
    assert not outbox.is_cut_off
    assert said(outbox) == ["cd", "ef"]
    outbox.forget(5)
    assert outbox.connect() == (5, 5)


def test_audio_heard_with_other_options_is_no_context() -> None:
    outbox = with_context("abcd", finalized=3, context=1)
    outbox.forget_context()
    assert outbox.connect() == (3, 3)
    said(outbox)
    outbox.forget(4, context=3)  # on its way when the options changed
    assert outbox.connect() == (4, 4)
