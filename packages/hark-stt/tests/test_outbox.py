"""Tests of hark.outbox."""

from __future__ import annotations

import asyncio

from hark.outbox import CAPACITY, Outbox
from hark_protocol import Closed, Final, Flushed, Interim, Progress, SpeechStarted


def _interim(text: str) -> Interim:
    return Interim(1, 0, 100, text)


async def _drain(outbox: Outbox) -> list[object]:
    outbox.finish()
    messages: list[object] = []
    while (message := await outbox.get()) is not None:
        messages.append(message)
    return messages


async def test_messages_come_out_in_the_order_they_went_in() -> None:
    outbox = Outbox()
    messages = [SpeechStarted(1, 0), _interim("a"), Final(1, 0, 100, "a"), Flushed(1)]
    for message in messages:
        outbox.put(message)
    assert await _drain(outbox) == messages


async def test_an_interim_takes_the_place_of_one_just_before_that_still_waits() -> None:
    outbox = Outbox()
    for text in ("a", "a b", "a b c"):
        outbox.put(_interim(text))
    assert await _drain(outbox) == [_interim("a b c")]


async def test_progress_takes_the_place_of_one_just_before_that_still_waits() -> None:
    outbox = Outbox()
    outbox.put(Progress(100, 0))
    outbox.put(Progress(200, 50))
    assert await _drain(outbox) == [Progress(200, 50)]


async def test_an_interim_does_not_replace_one_that_something_else_follows() -> None:
    outbox = Outbox()
    messages = [_interim("a"), Progress(100, 0), _interim("a b"), Progress(200, 0)]
    for message in messages:
        outbox.put(message)
    assert await _drain(outbox) == messages


async def test_a_message_that_was_read_is_not_replaced() -> None:
    outbox = Outbox()
    outbox.put(_interim("a"))
    assert await outbox.get() == _interim("a")
    outbox.put(_interim("a b"))
    assert await _drain(outbox) == [_interim("a b")]


async def test_a_full_outbox_says_so_until_it_is_read() -> None:
    outbox = Outbox()
    for id in range(CAPACITY):
        assert outbox.has_room
        outbox.put(Flushed(id))
    assert not outbox.has_room
    await outbox.get()
    assert outbox.has_room


async def test_what_waits_can_still_be_read_after_the_finish() -> None:
    outbox = Outbox()
    outbox.put(Closed())
    outbox.finish()
    assert await outbox.get() == Closed()
    assert await outbox.get() is None
    assert await outbox.get() is None


async def test_nothing_can_be_added_after_the_finish() -> None:
    outbox = Outbox()
    outbox.finish()
    outbox.put(Closed())
    assert outbox.is_finished
    assert await outbox.get() is None


async def test_a_waiting_reader_gets_the_next_message() -> None:
    outbox = Outbox()
    reading = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put(Closed())
    assert await asyncio.wait_for(reading, 5) == Closed()


async def test_a_waiting_reader_learns_of_the_finish() -> None:
    outbox = Outbox()
    reading = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.finish()
    assert await asyncio.wait_for(reading, 5) is None


async def test_a_cancelled_reader_loses_no_message() -> None:
    outbox = Outbox()
    reading = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put(Closed())
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await _drain(outbox) == [Closed()]
