"""Hark as a contestant: a server, of this machine or another, and the client for its streams."""

from __future__ import annotations

from collections.abc import Mapping

from hark.bench.contestant import Contestant, Hear
from hark.bench.hark_client import HarkClient, HarkStream
from hark.bench.hark_server import HarkServer
from hark.bench.job import Options
from hark.version import __version__

SPARE_SESSIONS = 1024
"""Sessions that the server is told to admit: what it carries is to be found out, not what it
promises."""


class HarkContestant(Contestant):
    """Hark. See `Contestant`."""

    def __init__(self, client: HarkClient, settings: Mapping[str, str], server: HarkServer | None):
        """Args: client: of the server. server: to be ended with this; None if it is another's."""
        super().__init__(settings)
        self.server_pid = None if server is None else server.pid
        self._client = client
        self._server = server

    @classmethod
    async def start(cls, options: Options) -> HarkContestant:
        """Start a server, or take the one at `options.url`. When cancelled, it is ended.

        Raises:
            ContestantError: it cannot be started.
        """
        silence_ms = options.silence_ms
        settings = {"hark": __version__, "endpointing silence": f"{silence_ms} ms"}
        if options.url is not None:
            settings["server"] = "was running already"
            return cls(HarkClient(options.url, silence_ms, options.api_key), settings, None)
        arguments = ["--max-sessions", str(SPARE_SESSIONS)]
        if options.model is not None:
            arguments += ["--models", options.model]
        if options.workers is not None:
            arguments += ["--workers", str(options.workers)]
        settings["hark serve"] = " ".join(arguments)
        server = await HarkServer.start(arguments)
        return cls(HarkClient(server.url, silence_ms), settings, server)

    async def open(self, hear: Hear) -> HarkStream:
        """Open a stream. See `Contestant.open`."""
        return await self._client.open(hear)

    async def server_lag_s(self) -> float | None:
        """Ask the server for its health. See `Contestant.server_lag_s`."""
        return await self._client.answer_time_s()

    async def aclose(self) -> None:
        """End the server if it was started here. Idempotent."""
        if self._server is not None:
            await self._server.aclose()
