"""Streaming a recording at the pace of speech."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from hark.cli.realtime import transcribe_in_real_time
from hark.engines.pool import ModelPool
from hark.session import Session
from hark_protocol import PROTOCOL_VERSION, Config


class _Failing:
    """A listener whose terminal is gone."""

    def on_progress(self, part: float) -> None:
        raise ZeroDivisionError

    def on_interim(self, text: str) -> None:
        pass

    def on_final(self, text: str) -> None:
        pass


async def test_what_breaks_the_feeding_ends_the_transcription(fake_pool: ModelPool) -> None:
    session = Session(fake_pool)
    samples = np.zeros(16_000, dtype=np.int16)
    transcribing = transcribe_in_real_time(
        session, Config(version=PROTOCOL_VERSION), samples, _Failing()
    )
    try:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(transcribing, 20)
    finally:
        await session.aclose()
