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
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urljoin

import numpy as np
import pytest
import pytest_asyncio
import soundfile

from hark import recording as shipped

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Playwright, Request

PARTS_S = {
    "times": [(0.8, 4.6)],
    "times and ages": [(0.8, 4.6), (4.6, 8.5)],
    "seasons": [(13.16, 20.9)],
    "long": [(0.0, 28.7)],
}
"""What recordings consist of: parts of the shipped one, cut where its speaker draws breath."""

SILENCE_S = 1.2
"""Follows each part: twice what ends an utterance."""

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

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=30)

    def close(self) -> None:
        if self._process is not None and self.is_running:
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
    chosen = os.environ.get("HARK_CHROMIUM")
    for name in [chosen] if chosen else ["chromium", "google-chrome"]:
        path = shutil.which(name)
        if path is not None:
            return path
    return _cannot_run(
        f"no browser at HARK_CHROMIUM={chosen}"
        if chosen
        else "no browser: apt install chromium, or set HARK_CHROMIUM to the path of one"
    )


def _cannot_run(reason: str) -> NoReturn:
    if os.environ.get("HARK_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that anyone may use."""
    yield from _serve(tmp_path_factory, "--workers", "1")


@pytest.fixture(scope="module")
def spare_server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(tmp_path_factory, "--workers", "1", "--grace-period-s", "20")


@pytest.fixture
def mortal_server(spare_server: Server) -> Server:
    """A server to be killed; it lives again when the next test needs it."""
    if not spare_server.is_running:
        spare_server.start()
    return spare_server


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
    """Gives the recordings that `PARTS_S` names."""
    folder = tmp_path_factory.mktemp("recordings")

    def make(name: str) -> Path:
        path = folder / f"{name}.wav"
        if not path.exists():
            samples, sample_rate = soundfile.read(shipped.path(), dtype="int16")
            silence = np.zeros(int(SILENCE_S * sample_rate), dtype=np.int16)
            parts = [
                samples[int(start * sample_rate) : int(end * sample_rate)]
                for start, end in PARTS_S[name]
            ]
            pieces = [piece for part in parts for piece in (part, silence)]
            soundfile.write(path, np.concatenate(pieces), sample_rate)
        return path

    return make


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for pictures of the page, for people to look at; HARK_SCREENSHOTS names another."""
    folder = Path(os.environ.get("HARK_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Browsers:
    """Browsers that are running, each with a microphone of its own; started when first needed."""

    def __init__(self, driver: Playwright, chromium: str) -> None:
        self._driver = driver
        self._chromium = chromium
        self._running: dict[Path | None, Browser] = {}

    async def get(self, microphone: Path | None) -> Browser:
        """The one whose microphone plays this recording, anew each time it is opened."""
        if microphone not in self._running:
            self._running[microphone] = await self._driver.chromium.launch(
                executable_path=self._chromium, args=_browser_arguments(microphone)
            )
        return self._running[microphone]

    async def aclose(self) -> None:
        for browser in self._running.values():
            await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browsers(chromium: str) -> AsyncIterator[Browsers]:
    """Shared by the tests of a module, which therefore share an event loop."""
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        browsers = Browsers(driver, chromium)
        yield browsers
        await browsers.aclose()


OpenPage = Callable[..., Coroutine[Any, Any, "Page"]]


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browsers: Browsers) -> AsyncIterator[OpenPage]:
    """Opens pages, each for a user of its own; in the end none of them has had an error.

    It takes the `url`; `microphone`, a recording that the fake one plays once, from when it is
    opened; `routes`, what answers instead of the server, by the pattern of the URL; `script`, what
    runs before those of the page; the rest goes to Playwright's `new_context`.
    """
    complaints: list[str] = []
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(
            url: str,
            microphone: Path | None = None,
            routes: dict[str, Any] | None = None,
            script: str = "",
            **options: Any,
        ) -> Page:
            browser = await browsers.get(microphone)
            context = await browser.new_context(**{"locale": "en-GB", **options})
            stack.push_async_callback(context.close)
            page = await context.new_page()
            _note_complaints(page, url, complaints)
            for pattern, handler in (routes or {}).items():
                await page.route(pattern, handler)
            await page.add_init_script(script)
            await page.goto(url)
            return page

        yield open_one
    assert not complaints


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
