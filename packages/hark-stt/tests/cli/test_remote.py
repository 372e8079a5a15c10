"""Servers that do not answer as they should."""

from __future__ import annotations

import asyncio

import pytest

from hark.cli import remote
from hark.cli.remote import HarkServer, ServerError
from hark.cli.server_address import ServerAddress


async def test_a_server_that_accepts_but_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "CONNECT_TIMEOUT_S", 0.1)
    is_over = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_over.wait()
        writer.close()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        with pytest.raises(ServerError, match="it does not answer"):
            await HarkServer(ServerAddress.parse(f"http://127.0.0.1:{port}")).open_session()
    finally:
        is_over.set()
        listener.close()


async def test_the_timeout_of_python_3_10_is_a_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, url_of_nobody: str
) -> None:
    class TimeoutOfPython310(Exception):  # where it is no OSError
        pass

    async def connect(*arguments: object, **options: object) -> None:
        raise TimeoutOfPython310

    monkeypatch.setattr(asyncio, "TimeoutError", TimeoutOfPython310)
    monkeypatch.setattr("websockets.asyncio.client.connect", connect)
    with pytest.raises(ServerError, match="it does not answer"):
        await HarkServer(ServerAddress.parse(url_of_nobody)).open_session()
