"""Tests of hark.shared: leases, and the server that lives as long as somebody holds one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
from sharing import DEADLINE_S, LINGER_S, Holder, ending, servers, workers

from hark.errors import ClosedError, ModelError, SettingsError, WorkerError
from hark.shared import starting
from hark.shared.lease import Lease
from hark.shared.rendezvous import Rendezvous, SharedSettings

Hold = Callable[..., Holder]


def make_lease(model: str = "fake", *, linger_s: float = LINGER_S) -> Lease:
    return Lease(model, workers=2, linger_s=linger_s)


def place(*, linger_s: float = LINGER_S) -> Rendezvous:
    return Rendezvous.of(SharedSettings("fake", workers=2, linger_s=linger_s))


async def is_ready(path: Path) -> bool:
    """Whether a server answers at a socket, with its models loaded."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://localhost/readyz") as response,
    ):
        return response.status == 200


def the_server(folder: Path) -> psutil.Process:
    (server,) = servers(folder)
    return server


async def test_a_lease_comes_with_a_server_that_is_ready(runtime_folder: Path) -> None:
    lease = make_lease()
    assert await is_ready(await lease.http_socket())
    with ending(servers(runtime_folder)):
        lease.release()


def test_processes_share_one_server_and_its_workers(hold: Hold, runtime_folder: Path) -> None:
    holders = [hold() for _ in range(3)]  # at the same time
    for holder in holders:
        holder.wait_until_held()
    assert len(workers(the_server(runtime_folder))) == 2


def test_many_racing_starts_make_one_server(runtime_folder: Path) -> None:
    async def take() -> set[Path]:
        leases = [make_lease() for _ in range(20)]
        paths = set(await asyncio.gather(*(lease.http_socket() for lease in leases)))
        the_server(runtime_folder)
        for lease in leases:
            lease.release()
        return paths

    assert asyncio.run(take()) == {place().http_socket}


def test_the_server_goes_when_the_last_process_is_killed(hold: Hold, runtime_folder: Path) -> None:
    first, second = hold(), hold()
    first.wait_until_held()
    second.wait_until_held()
    server = the_server(runtime_folder)
    first.kill()
    assert asyncio.run(is_ready(place().http_socket))
    with ending([server, *workers(server)]):
        second.kill()


async def test_the_server_outlives_the_process_that_started_it(
    hold: Hold, runtime_folder: Path
) -> None:
    starter = hold()
    starter.wait_until_held()
    server = the_server(runtime_folder)
    lease = make_lease()
    path = await lease.http_socket()
    starter.kill()
    assert await is_ready(path)
    assert the_server(runtime_folder) == server
    lease.release()


async def test_the_server_lingers_for_the_next_lease(runtime_folder: Path) -> None:
    first, second = make_lease(linger_s=60), make_lease(linger_s=60)
    await first.http_socket()
    server = the_server(runtime_folder)
    first.release()
    assert await is_ready(await second.http_socket())
    assert the_server(runtime_folder) == server
    second.release()


async def test_another_model_gets_another_server(runtime_folder: Path) -> None:
    leases = make_lease(), make_lease("moonshine-tiny-en")
    one, other = await asyncio.gather(*(lease.http_socket() for lease in leases))
    assert one != other
    assert len(servers(runtime_folder)) == 2
    for lease in leases:
        lease.release()


async def test_a_server_told_to_end_waits_for_the_last_lease_and_no_longer(
    runtime_folder: Path,
) -> None:
    lease = make_lease(linger_s=60)
    path = await lease.http_socket()
    server = the_server(runtime_folder)
    server.send_signal(signal.SIGTERM)
    server.send_signal(signal.SIGINT)
    assert await is_ready(path)
    with ending([server]):
        lease.release()


async def test_a_server_that_was_killed_is_replaced(runtime_folder: Path) -> None:
    lease = make_lease()
    await lease.http_socket()
    dead = the_server(runtime_folder)
    with ending([dead]):
        dead.kill()
    assert await is_ready(await lease.http_socket())
    assert the_server(runtime_folder) != dead
    lease.release()


async def test_a_server_that_was_killed_is_replaced_once_for_all(runtime_folder: Path) -> None:
    leases = [make_lease() for _ in range(8)]
    await asyncio.gather(*(lease.http_socket() for lease in leases))
    dead = the_server(runtime_folder)
    with ending([dead]):
        dead.kill()
    await asyncio.gather(*(lease.http_socket() for lease in leases))
    the_server(runtime_folder)
    for lease in leases:
        lease.release()


async def test_what_others_left_behind_is_not_in_the_way(runtime_folder: Path) -> None:
    left = place()
    left.lock.write_text("4711")
    left.lease_socket.write_text("no socket")
    with socket.socket(socket.AF_UNIX) as dead:  # bound, but nobody listens
        dead.bind(str(left.http_socket))
    lease = make_lease()
    assert await is_ready(await lease.http_socket())
    lease.release()


async def test_a_model_that_does_not_exist_is_told_to_everyone_and_tried_again(
    runtime_folder: Path,
) -> None:
    leases = [make_lease("no-such-model") for _ in range(2)]
    for _ in range(2):
        failures = await asyncio.gather(
            *(lease.http_socket() for lease in leases), return_exceptions=True
        )
        for failure in failures:
            assert isinstance(failure, ModelError)
            assert "no-such-model" in str(failure)
    psutil.wait_procs(servers(runtime_folder), DEADLINE_S)
    assert servers(runtime_folder) == []


async def test_a_server_that_dies_as_it_starts_is_an_error_that_names_its_log(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_ARGUMENTS", ("-c", "raise SystemExit('no luck')"))
    lease = make_lease()
    with pytest.raises(WorkerError) as error:
        await lease.http_socket()
    assert str(place().log) in str(error.value)
    assert place().log.read_text() == "no luck\n"
    monkeypatch.undo()
    lease.release()


async def test_without_a_safe_place_there_is_no_lease(runtime_folder: Path) -> None:
    (runtime_folder / f"hark-{os.getuid()}").mkdir(mode=0o755)
    lease = make_lease()
    with pytest.raises(SettingsError):
        await lease.http_socket()
    lease.release()
    assert servers(runtime_folder) == []


def test_prewarming_starts_the_server_without_an_event_loop(runtime_folder: Path) -> None:
    lease = make_lease()
    lease.prewarm()
    deadline = time.monotonic() + DEADLINE_S
    while not servers(runtime_folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    path = asyncio.run(lease.http_socket())
    assert asyncio.run(is_ready(path))
    lease.release()


async def test_a_lease_released_while_it_is_taken_keeps_no_server(runtime_folder: Path) -> None:
    lease = make_lease()
    taking = asyncio.create_task(lease.http_socket())
    await asyncio.sleep(0)
    taking.cancel()
    lease.release()
    deadline = time.monotonic() + DEADLINE_S
    while not place().log.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    while servers(runtime_folder):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_released_lease_is_of_no_more_use(runtime_folder: Path) -> None:
    lease = make_lease()
    lease.release()
    lease.release()
    with pytest.raises(ClosedError):
        await lease.http_socket()
    with pytest.raises(ClosedError):
        lease.prewarm()


@pytest.mark.parametrize(("level", "is_told"), [("INFO", True), ("WARNING", False)])
async def test_the_server_logs_to_its_file_as_much_as_who_started_it(
    runtime_folder: Path, caplog: pytest.LogCaptureFixture, level: str, is_told: bool
) -> None:
    caplog.set_level(level, "hark")
    lease = make_lease()
    await lease.http_socket()
    assert ("ready" in place().log.read_text()) is is_told
    lease.release()
