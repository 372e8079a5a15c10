from __future__ import annotations

import sys

import pytest

from hark.bench import contestants
from hark.bench.contestant import ContestantError
from hark.bench.job import Options


async def test_a_peer_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sherpa_onnx", None)
    for module in ("sherpa", "sherpa_moonshine"):
        monkeypatch.delitem(sys.modules, f"hark.bench.peers.{module}", raising=False)
    with pytest.raises(ContestantError, match=r"pip install sherpa-onnx==2\.0\.1"):
        await contestants.start("sherpa-onnx", Options(silence_ms=400))
