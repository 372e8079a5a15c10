"""Tests of livekit.plugins.hark.intake."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents.utils import aio

from livekit import rtc
from livekit.plugins.hark.intake import Intake

FLUSH = object()


def frame() -> rtc.AudioFrame:
    return rtc.AudioFrame(b"\0\0", 16_000, 1, 1)


async def test_audio_is_taken_at_once() -> None:
    taken: list[Any] = []
    intake = Intake(taken.append)
    first = frame()
    intake.send_nowait(first)
    assert taken == [first]
    assert intake.empty()


async def test_audio_after_a_flush_waits_behind_it() -> None:
    taken: list[Any] = []
    intake = Intake(taken.append)
    after = frame()
    intake.send_nowait(FLUSH)
    intake.send_nowait(after)
    assert taken == []
    assert [intake.recv_nowait(), intake.recv_nowait()] == [FLUSH, after]
    intake.send_nowait(frame())
    assert len(taken) == 1


async def test_a_closed_stream_takes_nothing() -> None:
    taken: list[Any] = []
    intake = Intake(taken.append)
    intake.close()
    with pytest.raises(aio.ChanClosed):
        intake.send_nowait(frame())
    assert taken == []
