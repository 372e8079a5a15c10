from __future__ import annotations

import platform
import subprocess
import sys

import pytest

AUDIO_COMES_AND_GOES = """
import sys, numpy, psutil
from hark.server.memory import return_large_blocks

if sys.argv[1] == "returning":
    return_large_blocks()
first = numpy.ones(2_000_000, numpy.int16)
del first  # from this, glibc would learn
before = psutil.Process().memory_info().rss
audio, text = [], []
for _ in range(500):
    audio.append(numpy.ones(100_000, numpy.int16))
    text.append(bytearray(1_000))
del audio
print(psutil.Process().memory_info().rss - before)
"""

A_SERVER_STARTS = """
import gc
from hark.server import serve
from hark.server.settings import ServerSettings

serve.DrainingServer.run = lambda *_, **__: print(gc.get_freeze_count(), len(gc.get_objects()))
serve.run(ServerSettings(port=0))
"""


def grown_bytes(how: str) -> int:
    child = subprocess.run(
        [sys.executable, "-c", AUDIO_COMES_AND_GOES, how],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return int(child.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps such blocks")
def test_audio_that_is_let_go_goes_back_to_the_system() -> None:
    assert grown_bytes("as it is") > 50_000_000
    assert grown_bytes("returning") < 20_000_000


def test_garbage_collections_of_a_server_pass_over_what_it_has_loaded() -> None:
    child = subprocess.run(
        [sys.executable, "-c", A_SERVER_STARTS], check=True, capture_output=True, timeout=60
    )
    passed_over, looked_at = map(int, child.stdout.split())
    assert passed_over > 10_000 > 10 * looked_at
