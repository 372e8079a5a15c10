"""Networks that fail in other ways than a lost connection, and how often and how long we try."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from breaking.proxy import Breakage, FaultProxy, Passage
from breaking.server import HarkServer
from breaking.streams import Errors, check, hear_at_pace, tell
from hearing.recordings import beckett, frames, silence
from hearing.transcripts import Listener, hear, texts
from livekit.agents import APIConnectionError, APITimeoutError
from livekit.agents.stt import FallbackAdapter, SpeechEvent

from livekit.plugins import hark
from livekit.plugins.hark.backoff import MOST_CONNECTS

pytestmark = pytest.mark.faults

Report = Callable[[str], None]

CERTIFICATES = Path(__file__).parents[2] / "packages" / "hark-stt" / "tests" / "server"


# --- slow networks


@pytest.mark.slow
async def test_a_stall_shorter_than_the_timeout_costs_no_connection(
    proxy: FaultProxy, stt: hark.STT, expected: list[SpeechEvent]
) -> None:
    stall = (1.5, lambda: proxy.each(lambda passage: passage.stall(2.0)))
    check(expected, await hear_at_pace(stt, beckett(), at=[stall]))
    assert len(proxy.connected_at) == 1


@pytest.mark.slow
async def test_a_slow_way_costs_nothing_but_time(
    proxy: FaultProxy, stt: hark.STT, expected: list[SpeechEvent]
) -> None:
    proxy.delay_s = 0.3
    check(expected, await hear_at_pace(stt, beckett()))
    assert len(proxy.connected_at) == 1


@pytest.mark.slow
async def test_replay_waits_for_a_network_that_is_hardly_faster_than_speech(
    proxy: FaultProxy, stt: hark.STT, expected: list[SpeechEvent]
) -> None:
    proxy.bytes_per_s = 40_000  # the audio alone takes 32000, and what comes back some more

    cut = (5.0, lambda: proxy.each(Passage.reset))
    check(expected, await hear_at_pace(stt, beckett(), at=[cut]))
    assert len(proxy.connected_at) == 2


async def test_a_whole_recording_at_once_is_taken_at_the_pace_of_decoding(
    server: HarkServer, proxy: FaultProxy, expected: list[SpeechEvent]
) -> None:
    """Replaying, too, is faster than real time, and a cut in it is like any other."""
    proxy.next_ones.extend([(60_000, Passage.reset), (150_000, Passage.truncate)])
    async with hark.STT(api_url=proxy.url) as stt:
        check(expected, await hear(stt.stream(), frames(beckett())))
    assert len(proxy.connected_at) == 3


# --- dead networks


async def test_a_half_open_connection_is_noticed_within_five_seconds(
    proxy: FaultProxy, stt: hark.STT, expected: list[SpeechEvent], report: Report
) -> None:
    cut_at: list[float] = []

    def cut() -> None:
        cut_at.append(asyncio.get_running_loop().time())
        proxy.each(Passage.half_open)

    errors = Errors(stt)
    check(expected, await hear_at_pace(stt, beckett(), at=[(2.0, cut)]))
    noticed_s = proxy.connected_at[1] - cut_at[0]
    report(f"half-open connection left after {noticed_s:.1f} s")
    assert noticed_s < 5.0
    assert [type(error.error) for error in errors.reported] == [APITimeoutError]


@pytest.mark.slow
async def test_an_outage_loses_no_word(
    proxy: FaultProxy, stt: hark.STT, expected: list[SpeechEvent]
) -> None:
    async def leave() -> None:
        await proxy.stop_listening()
        proxy.each(Passage.reset)

    check(expected, await hear_at_pace(stt, beckett(), at=[(3.0, leave), (6.0, proxy.listen)]))


async def test_no_way_to_fail_makes_a_storm_of_connects(server: HarkServer, report: Report) -> None:
    async def connects(after: int, breakage: Breakage) -> int:
        async with FaultProxy(server.port) as proxy:
            proxy.next_ones.extend([(after, breakage)] * 1000)
            async with hark.STT(api_url=proxy.url) as stt:
                await tell(stt.stream(), silence(5.0), end=False)
                return len(proxy.connected_at)

    breakages = (Passage.reset, Passage.close, Passage.truncate)
    # In the request, in its answer, before `ready` and after it.
    ways = [(after, breakage) for after in (0, 100, 350, 500, 2000) for breakage in breakages]
    counts = await asyncio.gather(*(connects(*way) for way in ways))
    report(f"connects in 5 s, {len(ways)} ways to fail: at most {max(counts)}")
    told = dict(zip(((after, way.__name__) for after, way in ways), counts, strict=True))
    assert all(2 <= count <= MOST_CONNECTS for count in counts), told


async def test_a_spent_budget_is_one_clear_error_and_the_fallback_takes_over(
    server: HarkServer, proxy: FaultProxy, expected: list[SpeechEvent]
) -> None:
    proxy.refuses = True
    async with (
        hark.STT(api_url=proxy.url, reconnect_budget_s=1.0) as unreachable,
        hark.STT(api_url=server.url) as reachable,
    ):
        errors = Errors(unreachable)
        stream = unreachable.stream()
        with pytest.raises(APIConnectionError, match="reconnect_budget_s"):
            await hear(stream, frames(silence(1.0)))
        assert errors.recoverable.count(False) == 1
        assert errors.recoverable[-1] is False

        adapter = FallbackAdapter([unreachable, reachable])
        async with adapter.stream() as falling_back:
            listener = Listener(falling_back)
            await tell(falling_back, beckett(), speed=3)
            events = await listener.end()
        await adapter.aclose()
    assert texts(expected)[-1] in texts(events)


# --- TLS


@pytest.fixture
async def tls_proxy(server: HarkServer) -> AsyncIterator[FaultProxy]:
    """Gives `server` TLS, with a certificate that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        CERTIFICATES / "localhost_certificate.pem", CERTIFICATES / "localhost_key.pem"
    )
    async with FaultProxy(server.port, tls=context) as proxy:
        yield proxy


@pytest.fixture
async def trusting() -> AsyncIterator[aiohttp.ClientSession]:
    """Knows the certificate."""
    context = ssl.create_default_context(cafile=CERTIFICATES / "localhost_certificate.pem")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def over_tls(proxy: FaultProxy) -> str:
    return f"wss://localhost:{proxy.port}/ws/transcribe"


@pytest.mark.slow
async def test_tls_that_breaks_in_the_handshake_and_in_mid_stream_loses_no_word(
    tls_proxy: FaultProxy, trusting: aiohttp.ClientSession, expected: list[SpeechEvent]
) -> None:
    async with FaultProxy(tls_proxy.port) as proxy:
        # Of the handshake, the client's first message has 500 bytes, the answer 1500.
        proxy.next_ones.extend(
            [
                (0, Passage.corrupt),
                (600, Passage.corrupt),
                (600, Passage.truncate),
                (50_000, Passage.corrupt),
                (50_000, Passage.truncate),
            ]
        )
        async with hark.STT(api_url=over_tls(proxy), http_session=trusting) as stt:
            check(expected, await hear_at_pace(stt, beckett(), speed=2))
        assert proxy.broken == 5


async def test_a_certificate_that_is_not_trusted_is_told_at_once(
    tls_proxy: FaultProxy,
) -> None:
    async with FaultProxy(tls_proxy.port) as proxy, hark.STT(api_url=over_tls(proxy)) as stt:
        with pytest.raises(APIConnectionError, match="not trusted") as refusal:
            await hear(stt.stream(), frames(silence(1.0)))
    assert not refusal.value.retryable
    assert len(proxy.connected_at) == 1


async def test_a_server_without_tls_is_told_from_one_with_a_bad_certificate(
    proxy: FaultProxy,
) -> None:
    async with hark.STT(api_url=over_tls(proxy), reconnect_budget_s=0.5) as stt:
        errors = Errors(stt)
        with pytest.raises(APIConnectionError, match="reconnect_budget_s"):
            await hear(stt.stream(), frames(silence(1.0)))
    assert "TLS" in str(errors.reported[0].error)
    assert "trusted" not in str(errors.reported[0].error)
