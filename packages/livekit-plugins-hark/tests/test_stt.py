"""Making an STT, and what it says of itself."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
from typing import Any

import pytest
from livekit.agents import Plugin, stt

from livekit.plugins import hark
from livekit.plugins.hark.link import local
from livekit.plugins.hark.link.inprocess import EmbeddedBackend
from livekit.plugins.hark.link.websocket import ServerBackend

URL = "ws://localhost:8000/ws/transcribe"


async def test_without_an_url_it_recognises_in_this_process() -> None:
    async with hark.STT() as made:
        assert isinstance(made._backend, EmbeddedBackend)


async def test_with_an_url_it_uses_a_server() -> None:
    async with hark.STT(api_url=URL) as made:
        assert isinstance(made._backend, ServerBackend)


async def test_the_environment_names_the_server_and_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARK_API_URL", "https://stt.example.org")
    monkeypatch.setenv("HARK_API_KEY", "sesame")
    async with hark.STT() as made:
        assert isinstance(made._backend, ServerBackend)
        assert made._backend._address.stream_url == "wss://stt.example.org/ws/transcribe"
        assert made._backend._headers["Authorization"] == "Bearer sesame"


async def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARK_API_URL", "https://stt.example.org")
    monkeypatch.setenv("HARK_API_KEY", "sesame")
    async with hark.STT(api_url=URL, api_key=None) as made:
        assert isinstance(made._backend, ServerBackend)
        assert made._backend._address.stream_url == URL
        assert "Authorization" not in made._backend._headers
    async with hark.STT(api_url=None) as made:
        assert isinstance(made._backend, EmbeddedBackend)


def test_without_the_extra_and_an_url_both_ways_out_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"livekit-plugins-hark\[local\]") as error:
        hark.STT()
    assert "api_url" in str(error.value)
    assert "HARK_API_URL" in str(error.value)


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as error:
        hark.STT(api_url=URL, api_key=key)
    assert not key or key not in str(error.value)


def test_the_key_is_not_in_any_repr() -> None:
    made = hark.STT(api_url=URL, api_key="sesame")
    assert "sesame" not in f"{made!r} {made._backend!r} {made._options!r} {made._connection!r}"


def test_what_it_can_do_is_declared_as_it_is() -> None:
    able = hark.STT(api_url=URL).capabilities
    assert able.streaming
    assert able.offline_recognize
    assert able.interim_results
    assert able.aligned_transcript == "chunk"
    assert not able.diarization
    assert not able.chat_context
    assert not able.keyterms
    assert hark.STT(api_url=URL, words=True).capabilities.aligned_transcript == "word"
    assert not hark.STT(api_url=URL, interim_results=False).capabilities.interim_results


def test_manual_flush_is_declared_where_livekit_knows_it() -> None:
    known = {field.name for field in dataclasses.fields(stt.STTCapabilities)}
    able = dataclasses.asdict(hark.STT(api_url=URL).capabilities)
    assert able.get("manual_flush") is (True if "manual_flush" in known else None)


def test_changed_options_change_what_is_declared() -> None:
    made = hark.STT(api_url=URL)
    made.update_options(interim_results=False, words=True, model="large")
    assert not made.capabilities.interim_results
    assert made.capabilities.aligned_transcript == "word"
    assert made.model == "large"


def test_a_refused_change_changes_nothing() -> None:
    made = hark.STT(api_url=URL, vad_threshold=0.5)
    with pytest.raises(ValueError, match="threshold"):
        made.update_options(language="de", vad_threshold=7)
    assert (made._options.language, made._options.vad_threshold) == (None, 0.5)


def test_it_has_a_model_and_a_provider() -> None:
    assert hark.STT(api_url=URL).model == "default"
    assert hark.STT(api_url=URL, model="large").model == "large"
    assert hark.STT(api_url=URL).provider == "Hark"


def test_prewarming_without_an_event_loop_does_nothing() -> None:
    hark.STT(api_url=URL).prewarm()


async def test_prewarming_a_server_that_is_not_there_is_no_error() -> None:
    async with hark.STT(api_url="ws://127.0.0.1:1") as made:
        made.prewarm()
        await asyncio.sleep(0.1)


def the_plugin() -> Plugin:
    (plugin,) = [p for p in Plugin.registered_plugins if p.title == "livekit.plugins.hark"]
    return plugin


def test_the_plugin_is_registered() -> None:
    plugin = the_plugin()
    assert plugin.version == hark.__version__
    assert plugin.package == "livekit.plugins.hark"
    assert plugin.logger is not None
    assert plugin.logger.name == "livekit.plugins.hark"


def test_downloading_files_checks_the_default_model_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", "livekit.plugins.hark"):
        the_plugin().download_files()
    told = vars(caplog.records[0])
    assert (told["model"], told["downloaded"]) == ("moonshine-tiny-en", False)


def test_downloading_files_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from hark.engines import catalogue
    from hark.errors import ModelFileError

    def fail(*_: Any) -> None:
        raise ModelFileError("another file")

    monkeypatch.setattr(catalogue, "download", fail)
    with pytest.raises(ModelFileError, match="another file"):
        the_plugin().download_files()


def test_without_the_extra_there_is_nothing_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "is_installed", lambda: False)
    the_plugin().download_files()
