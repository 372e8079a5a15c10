"""What the examples do on the command line besides taking calls."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rooms.workers import EXAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("example", ["voice_agent", "captions_agent", "fallback_agent"])
def test_an_example_downloads_its_files(example: str) -> None:
    command = [sys.executable, EXAMPLES / f"{example}.py", "download-files"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "Finished downloading files for livekit.plugins.hark" in said
