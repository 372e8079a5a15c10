"""Serving over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from hark.errors import SettingsError

CERTIFICATE = Path(__file__).parent / "localhost_certificate.pem"
KEY = Path(__file__).parent / "localhost_key.pem"


async def test_sessions_come_over_tls(run_server):
    server = run_server(tls_certificate=CERTIFICATE, tls_key=KEY)
    trust = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with connect(f"wss://localhost:{server.port}/ws/transcribe", ssl=trust) as websocket:
        await websocket.send('{"type":"config","version":1}')
        assert '"ready"' in await websocket.recv()


def test_files_that_hold_no_certificate_are_refused_at_the_start(run_server):
    with pytest.raises(SettingsError, match="HARK_TLS_CERTIFICATE"):
        run_server(tls_certificate=KEY, tls_key=KEY)
