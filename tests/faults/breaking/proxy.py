"""A TCP proxy on the loopback interface that breaks what passes through it when it is told to."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable

_CHUNK_BYTES = 16_384
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST and drops what is unsent

Breakage = Callable[["Passage"], None]


class Passage:
    """One client's connection and the one behind it.

    Attributes:
        passed: bytes that got through so far, in both directions together.
        is_broken: whether something was done to it.
    """

    def __init__(self, proxy: FaultProxy, client: asyncio.StreamWriter) -> None:
        self.passed = 0
        self.is_broken = False
        self._proxy = proxy
        self._writers = [client]
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_truncated = False
        self._is_corrupted = False

    async def run(self, reader: asyncio.StreamReader, target_port: int) -> None:
        try:
            back, server = await asyncio.open_connection("127.0.0.1", target_port)
        except OSError:
            self.reset()
            return
        self._writers.append(server)
        client = self._writers[0]
        try:
            await asyncio.gather(self._carry(reader, server), self._carry(back, client))
        except OSError:  # one side is lost: so is the other
            self.reset()
        finally:
            for writer in self._writers:
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(self._proxy.chunk_bytes):
            await self._proxy.take_time(len(data))
            await self._flows.wait()
            if self._is_truncated:
                writer.write(data[: len(data) // 2])
                await writer.drain()
                self.close()
                return
            if self._is_corrupted:
                data = bytes(byte ^ 0x55 for byte in data)
            writer.write(data)
            await writer.drain()
            self.passed += len(data)
            self._proxy.passed(self)
        if writer.can_write_eof():
            writer.write_eof()

    def reset(self) -> None:
        """End both connections with RST: what is under way is lost."""
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def close(self) -> None:
        """End both connections with FIN, in the middle of whatever was passing."""
        for writer in self._writers:
            writer.close()

    def half_open(self) -> None:
        """Let nothing pass any more, and close nothing: what a lost network looks like."""
        self._flows.clear()

    def stall(self, seconds: float) -> None:
        """Let nothing pass for so long."""
        self._flows.clear()
        asyncio.get_running_loop().call_later(seconds, self._flows.set)

    def truncate(self) -> None:
        """Let half of what comes next pass, and then close."""
        self._is_truncated = True

    def corrupt(self) -> None:
        """Pass other bytes than came."""
        self._is_corrupted = True


class FaultProxy:
    """Passes connections on to its targets in turn. Use as a context manager.

    Attributes:
        port: where it listens.
        connected_at: when clients connected, on the event loop's clock.
        delay_s: how long everything takes to pass, each way.
        bytes_per_s: how much passes, each way; None for no limit.
        refuses: whether new connections are reset at once.
        next_ones: what happens to the next connections, one each, after so many bytes have passed.
        broken: how many connections were broken.
    """

    def __init__(self, *target_ports: int, tls: ssl.SSLContext | None = None) -> None:
        """Args: target_ports: of this machine. tls: for the clients; None for plain TCP."""
        self.connected_at: list[float] = []
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.refuses = False
        self.next_ones: deque[tuple[int, Breakage]] = deque()
        self.broken = 0
        self._tls = tls
        self._targets = itertools.cycle(target_ports)
        self._passages: dict[Passage, tuple[int, Breakage] | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """The address of the Hark server behind it."""
        return f"ws://127.0.0.1:{self.port}/ws/transcribe"

    @property
    def chunk_bytes(self) -> int:
        """Most that is passed on in one go."""
        if self.bytes_per_s is None:
            return _CHUNK_BYTES
        return max(1, int(self.bytes_per_s / 20))

    async def __aenter__(self) -> FaultProxy:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        """Take connections, at the same port as before."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Have the system refuse connections; open ones stay."""
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected_at.append(asyncio.get_running_loop().time())
        passage = Passage(self, writer)
        if self.refuses:
            passage.reset()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._passages[passage] = self.next_ones.popleft() if self.next_ones else None
        try:
            self.passed(passage)
            await passage.run(reader, next(self._targets))
        except asyncio.CancelledError:
            pass  # the proxy ends; asyncio's server would log it
        finally:
            del self._passages[passage]
            self._tasks.discard(task)

    async def take_time(self, size: int) -> None:
        """Wait for as long as so many bytes take."""
        seconds = self.delay_s + (size / self.bytes_per_s if self.bytes_per_s else 0.0)
        if seconds:
            await asyncio.sleep(seconds)

    def passed(self, passage: Passage) -> None:
        """Break a connection if it is due and enough of it has passed."""
        due = self._passages.get(passage)
        if due is not None and passage.passed >= due[0]:
            self._passages[passage] = None
            self._break(passage, due[1])

    def each(self, breakage: Breakage) -> None:
        """Break every connection that still is whole this way: `proxy.each(Passage.reset)`."""
        for passage in [passage for passage in self._passages if not passage.is_broken]:
            self._break(passage, breakage)

    def _break(self, passage: Passage, breakage: Breakage) -> None:
        passage.is_broken = True
        self.broken += 1
        breakage(passage)
