from __future__ import annotations

import pytest

from hark.cli.server_address import ServerAddress
from hark.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "page", "stream"),
    [
        ("http://h:8000", "http://h:8000/readyz", "ws://h:8000/ws/transcribe"),
        ("http://h:8000/", "http://h:8000/readyz", "ws://h:8000/ws/transcribe"),
        ("ws://h:8000/ws/transcribe", "http://h:8000/readyz", "ws://h:8000/ws/transcribe"),
        ("wss://h", "https://h/readyz", "wss://h/ws/transcribe"),
        ("https://h/stt/", "https://h/stt/readyz", "wss://h/stt/ws/transcribe"),
        ("wss://h/stt/ws/transcribe", "https://h/stt/readyz", "wss://h/stt/ws/transcribe"),
        ("localhost:8000", "http://localhost:8000/readyz", "ws://localhost:8000/ws/transcribe"),
        ("ws://[::1]:8000", "http://[::1]:8000/readyz", "ws://[::1]:8000/ws/transcribe"),
    ],
)
def test_any_form_of_an_address_names_the_same_server(url: str, page: str, stream: str) -> None:
    address = ServerAddress.parse(url)
    assert address.http("/readyz") == page
    assert address.stream == stream


@pytest.mark.parametrize("url", ["ftp://me:s3cret@h", "http://", "http://me:s3cret@h:port", ""])
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ServerAddress.parse(url)
    assert "s3cret" not in str(caught.value)
