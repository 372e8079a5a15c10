from __future__ import annotations

import pytest

from livekit.plugins.hark.replay import ReplayBuffer


def pcm(*samples: int) -> bytes:
    return b"".join(sample.to_bytes(2, "little") for sample in samples)


def test_audio_is_read_by_its_position() -> None:
    buffer = ReplayBuffer()
    buffer.append(pcm(1, 2, 3))
    buffer.append(pcm(4, 5))
    assert (buffer.start, buffer.end) == (0, 5)
    assert buffer.read(1, 3) == pcm(2, 3, 4)
    assert buffer.read(3, 100) == pcm(4, 5)
    assert buffer.read(5, 100) == b""


def test_forgetting_keeps_positions() -> None:
    buffer = ReplayBuffer()
    buffer.append(pcm(1, 2, 3, 4))
    buffer.forget(2)
    assert (buffer.start, buffer.end) == (2, 4)
    assert buffer.read(2, 1) == pcm(3)


def test_forgetting_goes_neither_back_nor_beyond_the_end() -> None:
    buffer = ReplayBuffer()
    buffer.append(pcm(1, 2, 3, 4))
    buffer.forget(3)
    buffer.forget(1)
    assert buffer.start == 3
    buffer.forget(10)
    assert (buffer.start, buffer.end) == (4, 4)


def test_shrinking_lets_the_oldest_go_and_counts_them() -> None:
    buffer = ReplayBuffer()
    buffer.append(pcm(1, 2, 3))
    assert buffer.shrink(3) == 0
    buffer.append(pcm(4, 5, 6))
    assert buffer.shrink(4) == 2
    assert (buffer.start, buffer.end) == (2, 6)
    assert buffer.read(2, 9) == pcm(3, 4, 5, 6)


@pytest.mark.parametrize("position", [1, 5])
def test_what_is_not_held_cannot_be_read(position: int) -> None:
    buffer = ReplayBuffer()
    buffer.append(pcm(1, 2, 3, 4))
    buffer.forget(2)
    with pytest.raises(IndexError):
        buffer.read(position, 1)
