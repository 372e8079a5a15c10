"""Takes pictures of the captions page: a real server, a real browser, a recording as microphone.

Usage: page.py [FOLDER]. Needs Chromium, on the path or named by HARK_CHROMIUM.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from PIL import Image
from playwright.async_api import async_playwright

from hark import recording

Scheme = Literal["light", "dark"]

SIZE = (960, 660)
SCALE = 2
"""Pixels of the picture to one of the page: for sharp letters on sharp screens."""

COLORS = 128
"""Enough for a page that has a dozen, and the edges of its letters."""

LAST_WORDS = "nothing before us"
"""Seen while they are said; two utterances are final by then."""

SERVER_TIMEOUT_S = 60
WORDS_TIMEOUT_MS = 90_000

# The name of a fake microphone would look strange.
WITHOUT_DEVICE_NAMES = "navigator.mediaDevices.enumerateDevices = async () => [];"


async def take_pictures(url: str, folder: Path) -> None:
    """Caption the shipped recording, and take the page in every scheme while words come."""
    chromium = os.environ.get("HARK_CHROMIUM") or shutil.which("chromium") or "google-chrome"
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording.path()}%noloop",
    ]
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=arguments)
        width, height = SIZE
        page = await browser.new_page(
            viewport={"width": width, "height": height}, device_scale_factor=SCALE, locale="en-GB"
        )
        await page.add_init_script(WITHOUT_DEVICE_NAMES)
        await page.goto(url)
        await page.locator("#start[aria-disabled=false]").click()
        words = page.locator("#open").filter(has_text=LAST_WORDS)
        await words.wait_for(timeout=WORDS_TIMEOUT_MS)
        for scheme in get_args(Scheme):
            await page.emulate_media(color_scheme=scheme)
            _write(await page.screenshot(), folder / f"page-{scheme}.png")
        await browser.close()


def _write(screenshot: bytes, path: Path) -> None:
    with Image.open(io.BytesIO(screenshot)) as image:
        small = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server, for as long as the context lasts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "hark", "serve", "--port", str(port), "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_until_ready(url, server)
            yield url
        finally:
            server.terminate()


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not become ready")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with serving() as url:
        asyncio.run(take_pictures(url, target))
