"""A real Chromium with a microphone that plays a recording, and real servers that can be killed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urljoin

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Page, Request

TWO_CITIES_PAUSES_S = {"short": 8.5, "long": 28.7}
"""Where the shipped recording can be cut between two sentences."""

START_TIMEOUT_S = 60


class Server:
    """`hark serve` in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, log: Path, *flags: str) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._log = log
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it is ready."""
        command = [sys.executable, "-m", "hark", "serve", "--port", str(self.port), *self._flags]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=30)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(timeout=30)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}readyz", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; where there is none the test is skipped, or fails where one must be."""
    if importlib.util.find_spec("playwright") is None:
        return _cannot_run("Playwright is not installed: pip install playwright, or make venv")
    for name in (os.environ.get("HARK_CHROMIUM", ""), "chromium", "google-chrome"):
        path = shutil.which(name)
        if path is not None:
            return path
    return _cannot_run("no browser: apt-get install chromium, or set HARK_CHROMIUM to its path")


def _cannot_run(reason: str) -> NoReturn:
    if os.environ.get("HARK_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that anyone may use."""
    yield from _serve(tmp_path_factory, "--workers", "1")


@pytest.fixture
def mortal_server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to be killed."""
    yield from _serve(tmp_path_factory, "--workers", "1", "--grace-period-s", "20")


@pytest.fixture(scope="session")
def locked_server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for the key `opensesame`."""
    yield from _serve(tmp_path_factory, "--workers", "1", "--api-keys", "opensesame")


def _serve(factory: pytest.TempPathFactory, *flags: str) -> Iterator[Server]:
    server = Server(factory.mktemp("server") / "log", *flags)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the first sentences of the shipped recording, "short" or "long", and silence."""
    folder = tmp_path_factory.mktemp("recordings")

    def make(name: str) -> Path:
        path = folder / f"{name}.wav"
        if not path.exists():
            samples, sample_rate = soundfile.read(_two_cities(), dtype="int16")
            speech = samples[: int(TWO_CITIES_PAUSES_S[name] * sample_rate)]
            silence = np.zeros(int(1.5 * sample_rate), dtype=np.int16)
            soundfile.write(path, np.concatenate([speech, silence]), sample_rate)
        return path

    return make


def _two_cities() -> Path:
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets" / "two_cities.wav"


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for pictures of the page, for people to look at; HARK_SCREENSHOTS names another."""
    folder = Path(os.environ.get("HARK_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


OpenPage = Callable[..., Coroutine[Any, Any, "Page"]]
Browsing = Callable[[], AbstractAsyncContextManager[OpenPage]]


@pytest.fixture(scope="session")
def browsing(chromium: str) -> Browsing:
    """Makes contexts in which pages can be opened; when one ends, none of them has had an error.

    What opens a page takes its `url`; `microphone`, a recording that the fake one plays once, from
    when it is opened; the rest goes to Playwright's `new_context`.
    """
    from playwright.async_api import async_playwright

    @contextlib.asynccontextmanager
    async def browse() -> AsyncIterator[OpenPage]:
        complaints: list[str] = []
        async with contextlib.AsyncExitStack() as stack:
            driver = await stack.enter_async_context(async_playwright())

            async def open_one(url: str, microphone: Path | None = None, **options: Any) -> Page:
                browser = await driver.chromium.launch(
                    executable_path=chromium, args=_browser_arguments(microphone)
                )
                stack.push_async_callback(browser.close)
                context = await browser.new_context(**{"locale": "en-GB", **options})
                page = await context.new_page()
                _note_complaints(page, url, complaints)
                await page.goto(url)
                return page

            yield open_one
        assert not complaints

    return browse


@pytest.fixture
async def open_page(browsing: Browsing) -> AsyncIterator[OpenPage]:
    """Opens pages, each in a browser of its own; see `browsing`."""
    async with browsing() as open_page:
        yield open_page


def _browser_arguments(microphone: Path | None) -> list[str]:
    arguments = ["--no-sandbox", "--disable-background-networking"]
    if microphone is not None:
        arguments += [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop",
        ]
    return arguments


def _note_complaints(page: Page, url: str, complaints: list[str]) -> None:
    own = (urljoin(url, "/"), "blob:")

    def note_message(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            complaints.append(message.text)

    def note_request(request: Request) -> None:
        if not request.url.startswith(own):
            complaints.append(f"asked for {request.url}")

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", note_message)
    page.on("request", note_request)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
