"""Random input for the decoder and for the server's socket: no crash, no leak, no growth.

`make test` tries some, `make test-faults` many more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from breaking.server import HarkServer
from hearing.recordings import frames, two_sentences
from hearing.transcripts import hear, texts, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_clients import BINARY, CLOSE, CONFIG, TEXT, RawClient

from hark_protocol import (
    Close,
    Config,
    Connection,
    Flush,
    RemoteProtocolError,
    Role,
    encode,
)
from livekit.plugins import hark

pytestmark = pytest.mark.faults

Report = Callable[[str], None]

SEED = 20
MOST_GROWTH_BYTES = 32 << 20

BUGS = ("session failed", "Traceback", "Exception in", "Fatal error", "never retrieved")
"""What a server would log of its own mistakes."""

VALID = [
    str(encode(Config(version=1))),
    str(encode(Config(version=1, keyterms=("Hark",), start_sample=1 << 40))),
    str(encode(Flush(1))),
    str(encode(Close())),
    '{"type":"ready","session":"s","model":"m","language":null,"capabilities":{"languages":["en"],'
    '"words":false,"confidence":true,"keyterms":false,"streaming":false,"language_detection":false},'
    '"limits":{"max_message_bytes":1048576,"max_session_s":0,"idle_timeout_s":60.0}}',
    '{"type":"speech_started","utterance":1,"start":0}',
    '{"type":"final","utterance":1,"start":0,"end":10,"text":"so"}',
    '{"type":"progress","received":5,"finalized":5}',
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid message, damaged."""
    text = draw(st.sampled_from(VALID))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 12)))
    return text[:start] + draw(st.text(max_size=12)) + text[end:]


inputs = st.one_of(
    st.binary(max_size=2_000), st.text(max_size=300), mutated(), st.sampled_from(VALID)
)


def feed(role: Role, conversation: list[str | bytes]) -> int:
    """Give a connection all of it; only the error that is meant for this may come."""
    connection: Connection = Connection(role)  # type: ignore[type-arg]
    if role is Role.CLIENT:
        connection.send(Config(version=1))
    for number, message in enumerate(conversation):
        try:
            connection.receive(message)
        except RemoteProtocolError:
            return number + 1
    return len(conversation)


@pytest.mark.parametrize("role", list(Role))
def test_the_decoder_takes_or_refuses_whatever_comes(role: Role, report: Report) -> None:
    count = 0

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(inputs, min_size=1, max_size=8))
    def try_one(conversation: list[str | bytes]) -> None:
        nonlocal count
        count += feed(role, conversation)

    try_one()
    report(f"decoder as {role.name.lower()}: {count} inputs of hypothesis")


def test_the_decoder_takes_or_refuses_raw_random_bytes(report: Report) -> None:
    chance = random.Random(SEED)
    count = 0
    for _ in range(20_000):
        size = chance.choice((1, 2, 8, 64, 640, 4_000))
        data: str | bytes = chance.randbytes(size)
        if chance.random() < 0.5:
            data = bytes(data).decode("latin-1")
        count += feed(chance.choice(list(Role)), [data])
    report(f"decoder: {count} inputs of random bytes")


async def fuzz_socket(server: HarkServer, connections: int, seed: int) -> int:
    """Connect so often, and send random things; gives how many."""
    chance = random.Random(seed)
    sent = 0

    async def one(chance: random.Random) -> int:
        client = await RawClient.connect(server)
        count = 0
        try:
            if chance.random() < 0.8:
                await client.shake_hands()
                if chance.random() < 0.7:
                    await client.send(CONFIG)
            for _ in range(chance.randrange(1, 20)):
                count += 1
                await _send_something(client, chance)
        except ConnectionError:
            pass  # refused, as it should be
        finally:
            client.close()
        return count

    for _ in range(0, connections, 10):
        batch = [one(random.Random(chance.random())) for _ in range(10)]
        sent += sum(await asyncio.wait_for(asyncio.gather(*batch), 30))
    return sent


async def _send_something(client: RawClient, chance: random.Random) -> None:
    noise = chance.randbytes(chance.choice((0, 1, 2, 640, 3_000, 70_000)))
    kind = chance.random()
    if kind < 0.2:
        await client.send_bytes(noise)
    elif kind < 0.5:
        await client.send(noise, BINARY)
    elif kind < 0.8:
        text = bytearray(chance.choice(VALID).encode())
        for _ in range(chance.randrange(3)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        await client.send(bytes(text), TEXT)
    else:
        await client.send(noise[:200], chance.choice((0, 3, CLOSE, 9, 10, 15)))


async def try_socket(server: HarkServer, connections: int, report: Report) -> None:
    await fuzz_socket(server, 100, SEED)  # what is only made once is made now
    memory, files = server.memory_bytes, server.open_files
    sent = await fuzz_socket(server, connections, SEED + 1)
    await until(lambda: server.open_files <= files)
    growth = server.memory_bytes - memory
    report(
        f"server's socket: {connections} connections, {sent} random messages, memory grew by "
        f"{growth / 1e6:.1f} MB, {server.open_files - files:+d} open files"
    )
    assert growth < MOST_GROWTH_BYTES
    log = server.log.read_text()
    assert not [bug for bug in BUGS if bug in log]
    async with hark.STT(api_url=server.url) as stt:
        assert texts(await hear(stt.stream(), frames(two_sentences())))


async def test_random_messages_neither_crash_the_server_nor_stay_in_its_memory(
    start_server: Callable[..., HarkServer], report: Report
) -> None:
    await try_socket(start_server(), 200, report)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_very_many_random_messages_do_not_either(
    start_server: Callable[..., HarkServer], report: Report
) -> None:
    await try_socket(start_server(), 5_000, report)
