"""The plugin with the recogniser it is for: in this process, on a server, on one that dies."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import pytest
import pytest_asyncio
import soundfile
from fake_hark import frames
from listening import (
    END,
    FINAL,
    START,
    Errors,
    Listener,
    assert_order,
    eventually,
    of_kind,
    spans,
    texts,
)
from livekit.agents import APIStatusError
from livekit.agents.stt import SpeechEvent

from livekit import rtc
from livekit.plugins import hark

MODEL = "moonshine-tiny-en"

AUDIO_S = 13.5

ENDPOINTING = {"endpointing_silence_ms": 200}
"""The reader hardly pauses, and there are to be several utterances."""


def reading(seconds: float) -> tuple[np.ndarray, int]:
    """The beginning of a reading of "A Tale of Two Cities", mono, with its sample rate."""
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "assets" / "two_cities.wav"
    samples, rate = soundfile.read(path, dtype="int16")
    return samples[: int(seconds * rate)], rate


@asynccontextmanager
async def serving(
    *, port: int = 0, **settings: str
) -> AsyncIterator[tuple[int, subprocess.Popen[str]]]:
    """A server process; gives its port."""
    arguments = {
        "models": MODEL,
        "workers": "1",
        "port": str(port),
        "log_format": "json",
        **settings,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in arguments.items()]
    process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-m", "hark", "serve", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        port = await asyncio.wait_for(asyncio.to_thread(_read_port, process), 30)
        await _wait_until_ready(port)
        yield port, process
    finally:
        process.kill()
        process.communicate()


def _read_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        record = json.loads(line)
        if record["message"] == "listening":
            return int(record["port"])
    raise AssertionError("the server ended")


async def _wait_until_ready(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            async with session.get(f"http://localhost:{port}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.1)
    raise TimeoutError


async def transcript(stt: hark.STT, audio: np.ndarray, rate: int) -> list[SpeechEvent]:
    async with stt.stream() as stream:
        listener = Listener(stream)
        for frame in frames(audio, rate=rate):
            stream.push_frame(frame)
        stream.end_input()
        return await listener.end()


def told(events: Sequence[SpeechEvent]) -> list[tuple[object, ...]]:
    """What must be the same whenever the same audio is heard: everything but interims."""
    return [
        (
            event.type,
            *(
                (d.text, d.start_time, d.end_time, d.confidence, d.language)
                for d in event.alternatives
            ),
        )
        for event in events
        if event.type in (START, FINAL, END)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server_url() -> AsyncIterator[str]:
    """A server that nothing happens to."""
    async with serving() as (port, _):
        yield f"localhost:{port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded() -> list[SpeechEvent]:
    """The events of `AUDIO_S` of the reading, recognised in this process."""
    async with hark.STT(api_url=None, **ENDPOINTING) as stt:
        events = await transcript(stt, *reading(AUDIO_S))
    assert "best of times" in texts(events)[0]
    assert len(texts(events)) >= 2
    assert_order(events)
    return events


async def test_in_process_and_served_the_same_audio_gives_the_same_events(
    embedded: list[SpeechEvent], server_url: str
) -> None:
    async with hark.STT(api_url=server_url, **ENDPOINTING) as stt:
        served = await transcript(stt, *reading(AUDIO_S))
    assert told(served) == told(embedded)
    assert_order(served)


async def test_in_process_and_served_the_same_recording_gives_the_same_transcript(
    server_url: str,
) -> None:
    audio, rate = reading(5)
    recording = rtc.AudioFrame(audio.tobytes(), rate, 1, len(audio))
    async with hark.STT(language="en") as stt:
        embedded = await stt.recognize(recording)
    async with hark.STT(api_url=server_url, language="en") as stt:
        served = await stt.recognize(recording)
    assert embedded.alternatives == served.alternatives
    assert "best of times" in embedded.alternatives[0].text


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
async def test_no_word_is_lost_when_a_server_in_the_middle_of_an_utterance_is(
    embedded: list[SpeechEvent], how: signal.Signals
) -> None:
    audio, rate = reading(AUDIO_S)
    pushed = frames(audio, rate=rate)
    in_the_second_utterance = int(len(pushed) * sum(spans(embedded)[1]) / 2 / AUDIO_S)
    async with serving() as (port, process):
        stt = hark.STT(api_url=f"localhost:{port}", **ENDPOINTING)
        errors = Errors(stt)
        stream = stt.stream()
        listener = Listener(stream)
        for frame in pushed[:in_the_second_utterance]:
            stream.push_frame(frame)
        await listener.until(START, 2)
        process.send_signal(how)
        for frame in pushed[in_the_second_utterance:]:
            stream.push_frame(frame)
        if how is signal.SIGKILL:
            stream.end_input()
        await asyncio.to_thread(process.wait)
    async with serving(port=port):
        if how is signal.SIGTERM:
            stream.end_input()
        events = await listener.end()
    await stt.aclose()
    assert texts(events) == texts(embedded)
    assert_order(events)
    assert len(of_kind(events, START)) == len(of_kind(embedded, START))
    assert all(errors.recoverable)
    for ours, theirs in zip(spans(events), spans(embedded), strict=True):
        # A detector that starts in the middle may find a border some windows of 32 ms away.
        assert ours == pytest.approx(theirs, abs=0.1)


async def test_an_unknown_model_is_a_clear_error_in_process() -> None:
    async with hark.STT(model="no-such-model") as stt, stt.stream() as stream:
        with pytest.raises(APIStatusError, match="no-such-model") as error:
            await Listener(stream).end()
    assert error.value.status_code == 404


async def test_an_unknown_model_is_a_clear_error_of_a_server(server_url: str) -> None:
    async with hark.STT(api_url=server_url, model="gone") as stt, stt.stream() as stream:
        with pytest.raises(APIStatusError, match="gone") as error:
            await Listener(stream).end()
    assert error.value.status_code == 404


async def test_a_server_with_keys_takes_the_right_one_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARK_API_KEYS", "right")
    async with serving(models="fake") as (port, _):
        url = f"localhost:{port}"
        stt = hark.STT(api_url=url, api_key="wrong")
        with pytest.raises(APIStatusError, match="api_key") as error:
            await Listener(stt.stream()).end()
        await stt.aclose()
        async with hark.STT(api_url=url, api_key="right") as stt:
            await transcript(stt, *reading(1))
    assert error.value.status_code == 401


async def test_in_process_a_model_without_word_times_refuses_them() -> None:
    async with hark.STT(words=True) as stt, stt.stream() as stream:
        with pytest.raises(APIStatusError, match="word") as error:
            await Listener(stream).end()
    assert not error.value.retryable


async def test_in_process_and_served_a_language_that_the_model_lacks_is_the_same_error(
    server_url: str,
) -> None:
    audio, rate = reading(1)
    recording = rtc.AudioFrame(audio.tobytes(), rate, 1, len(audio))
    told = []
    for api_url in (None, server_url):
        async with hark.STT(api_url=api_url) as stt:
            with pytest.raises(hark.RefusedError) as error:
                await stt.recognize(recording, language="ko")
        told.append((error.value.status_code, error.value.code, error.value.message))
    assert told[0] == told[1]
    assert told[0][:2] == (400, "language_not_supported")


async def test_in_process_options_change_in_band() -> None:
    async with hark.STT(model="fake") as stt, stt.stream() as stream:
        listener = Listener(stream)
        await eventually(lambda: stt.model == "fake")
        stt.update_options(endpointing_silence_ms=2000)
        stream.end_input()
        await listener.end()


async def test_prewarming_in_process_loads_the_model_in_the_background() -> None:
    def is_worker(process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
            return "fake" in command and any("hark.engines.worker_main" in part for part in command)
        except psutil.NoSuchProcess:  # it has just ended
            return False

    def workers() -> set[int]:
        running = filter(is_worker, psutil.Process().children(recursive=True))
        return {process.pid for process in running} - others

    others: set[int] = set()
    others = workers()  # of a server that another test has running
    async with hark.STT(model="fake") as stt:
        assert not workers()
        stt.prewarm()
        await eventually(lambda: len(workers()) == 1)
    await eventually(lambda: not workers())
