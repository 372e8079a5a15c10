from __future__ import annotations

import pytest

from livekit.plugins.hark.address import ServerAddress


@pytest.mark.parametrize(
    ("url", "stream_url", "transcribe_url"),
    [
        (
            "ws://localhost:8000/ws/transcribe",
            "ws://localhost:8000/ws/transcribe",
            "http://localhost:8000/v1/transcribe",
        ),
        (
            "wss://stt.example.org/ws/transcribe/",
            "wss://stt.example.org/ws/transcribe",
            "https://stt.example.org/v1/transcribe",
        ),
        ("http://h:1", "ws://h:1/ws/transcribe", "http://h:1/v1/transcribe"),
        ("https://h/", "wss://h/ws/transcribe", "https://h/v1/transcribe"),
        (
            "localhost:8000",
            "ws://localhost:8000/ws/transcribe",
            "http://localhost:8000/v1/transcribe",
        ),
        ("https://h/stt", "wss://h/stt/ws/transcribe", "https://h/stt/v1/transcribe"),
        (
            "wss://h/stt/ws/transcribe?tenant=1#top",
            "wss://h/stt/ws/transcribe?tenant=1",
            "https://h/stt/v1/transcribe?tenant=1",
        ),
        ("ws://[::1]:8000", "ws://[::1]:8000/ws/transcribe", "http://[::1]:8000/v1/transcribe"),
    ],
)
def test_every_form_of_an_address_is_understood(
    url: str, stream_url: str, transcribe_url: str
) -> None:
    address = ServerAddress.parse(url)
    assert (address.stream_url, address.transcribe_url) == (stream_url, transcribe_url)


def test_the_name_for_messages_has_no_credentials() -> None:
    address = ServerAddress.parse("wss://me:secret@[::1]:8000/a?key=secret")
    assert address.name == "[::1]:8000"
    assert ServerAddress.parse("http://h").name == "h"


@pytest.mark.parametrize(
    "url", ["", "ftp://h", "ws://", "ws://:8000", "/ws/transcribe", "ws://h:x"]
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="api_url must look like") as error:
        ServerAddress.parse(url)
    assert not url or f" {url!r}" not in str(error.value)
