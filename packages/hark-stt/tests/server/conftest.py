"""A real server on a loopback port, and clients for it."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect

from hark.audio import PcmArray, read_audio
from hark.engines.pool import ModelPool
from hark.server.serve import DrainingServer, listen
from hark.server.service import Service
from hark.server.settings import ServerSettings
from hark_protocol import (
    PROTOCOL_VERSION,
    ClientMessage,
    Config,
    Connection,
    Role,
    ServerMessage,
)

DEADLINE_S = 20


class RunningServer:
    """A server in a thread of this process."""

    def __init__(
        self,
        settings: ServerSettings,
        models: ModelPool,
        prepare_socket: Callable[[Any], None] = lambda listener: None,
    ) -> None:
        self.settings = settings
        self.service = Service(settings, models)
        self._server = DrainingServer(self.service)
        listener = listen(settings)
        prepare_socket(listener)
        self.port = listener.getsockname()[1]
        self.http = f"http://127.0.0.1:{self.port}"
        self.websocket = f"ws://127.0.0.1:{self.port}/ws/transcribe"
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what another thread brings about."""
        woken = threading.Event()
        for _ in range(DEADLINE_S * 100):
            if condition():
                return
            woken.wait(0.01)
        raise TimeoutError

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: self.service.is_ready)

    @property
    def is_listening(self) -> bool:
        return self._server.started

    @property
    def connections(self) -> set[Any]:
        return self._server.server_state.connections

    @property
    def connection_count(self) -> int:
        return len(self.connections)

    def end(self) -> None:
        """Do what SIGTERM does."""
        self._server.handle_exit(15, None)

    def join(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def close(self) -> None:
        """End without grace."""
        if self._thread.is_alive():
            self.end()
            self.end()
            self.join()


class Client:
    """A client that holds both sides to the protocol."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.connection: Connection[ClientMessage, ServerMessage] = Connection(Role.CLIENT)

    async def send(self, message: ClientMessage) -> None:
        await self.websocket.send(self.connection.send(message))

    async def receive(self) -> ServerMessage:
        data = await asyncio.wait_for(self.websocket.recv(), DEADLINE_S)
        return self.connection.receive(data)

    async def receive_until(self, kind: type) -> list[ServerMessage]:
        """All messages up to the first of this kind."""
        messages = [await self.receive()]
        while not isinstance(messages[-1], kind):
            messages.append(await self.receive())
        return messages

    async def begin(self, **options: Any) -> ServerMessage:
        """Send the first config and give the answer."""
        await self.send(Config(version=PROTOCOL_VERSION, **options))
        return await self.receive()

    async def close_code(self) -> int:
        """Wait for the server to close, and give its code."""
        await asyncio.wait_for(self.websocket.wait_closed(), DEADLINE_S)
        assert self.websocket.close_code is not None
        return self.websocket.close_code


@contextmanager
def _servers() -> Iterator[Callable[..., RunningServer]]:
    running: list[RunningServer] = []

    def start(
        *,
        models: ModelPool | None = None,
        wait: bool = True,
        prepare_socket: Callable[[Any], None] = lambda listener: None,
        **settings: Any,
    ) -> RunningServer:
        pool = models or ModelPool(["fake"], workers=1, kind="thread")
        server = RunningServer(ServerSettings(port=0, **settings), pool, prepare_socket)
        running.append(server)
        if wait:
            server.wait_until_ready()
        return server

    try:
        yield start
    finally:
        for server in running:
            server.close()


@pytest.fixture
def run_server() -> Iterator[Callable[..., RunningServer]]:
    """Starts servers with a fake model and the given settings; waits until they are ready."""
    with _servers() as start:
        yield start


@pytest.fixture(scope="module")
def start_module_server() -> Iterator[Callable[..., RunningServer]]:
    """As `run_server`, for servers that all tests of a module share."""
    with _servers() as start:
        yield start


@pytest.fixture(scope="module")
def server(start_module_server: Callable[..., RunningServer]) -> RunningServer:
    """A server that all tests of a module share."""
    return start_module_server(max_sessions=8)


@dataclass(frozen=True)
class Reply:
    """An HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers["Content-Type"].partition(";")[0]

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class HttpClient:
    """Requests to a server by path."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, server: RunningServer, path: str, **options: Any) -> Reply:
        return await self.request(server, "GET", path, **options)

    async def transcribe(self, server: RunningServer, data: Any, **options: Any) -> Reply:
        return await self.request(server, "POST", "/v1/transcribe", data=data, **options)

    async def request(self, server: RunningServer, method: str, path: str, **options: Any) -> Reply:
        url = server.http + path
        async with self._session.request(method, url, **options) as response:
            return Reply(response.status, response.headers, await response.read())


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(DEADLINE_S)) as session:
        yield HttpClient(session)


@pytest.fixture
def open_client() -> Callable[..., Any]:
    """Opens a WebSocket: `async with open_client(server) as client`."""

    @asynccontextmanager
    async def open_(server: RunningServer, **options: Any) -> AsyncIterator[Client]:
        # No close_timeout to wait for: tests look at what the server does, not at farewells.
        async with connect(server.websocket, close_timeout=1, **options) as websocket:
            yield Client(websocket)

    return open_


@pytest.fixture(scope="session")
def recording() -> PcmArray:
    """44 s of a public-domain reading, which comes with the default model's weights."""
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    return read_audio(Path(spec.origin).parent / "assets" / "two_cities.wav")


@pytest.fixture(scope="session")
def wav(recording: PcmArray) -> bytes:
    """The first ten seconds of `recording`, as a file."""
    return encode_audio(recording[: 10 * 16_000], "WAV")


@pytest.fixture(scope="session")
def encode() -> Callable[[PcmArray, str], bytes]:
    """Makes an audio file of samples at 16 kHz: `encode(samples, "FLAC")`."""
    return encode_audio


def encode_audio(samples: PcmArray, format: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples), 16_000, format=format)
    return buffer.getvalue()
