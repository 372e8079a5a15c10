"""A sound card made of software: PulseAudio with a microphone and a loudspeaker."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from .loudspeaker import AUDIBLE
from .processes import Program
from .recordings import Recording

RATE = 16_000

QUIET_S = 1.0
"""After so much silence, whoever spoke has finished."""

_PROGRAMS = ("pulseaudio", "paplay", "parec")
_ALSA_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
_HOW_TO_GET_IT = "apt install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"


class SoundCard:
    """What is said into its microphone, and what its loudspeaker plays.

    Attributes:
        env: what a program needs to know to use it.
    """

    def __init__(self, logs: Path) -> None:
        """Switch it on. Without what it needs, the test is skipped, or fails where it must run."""
        if missing := _missing():
            reason = f"no {', no '.join(missing)}: {_HOW_TO_GET_IT}"
            if os.environ.get("HARK_REQUIRE_SOUND_CARD") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        self._folder = Path(tempfile.mkdtemp(prefix="hark-"))  # short, for the socket
        self._logs = logs
        home = {"HOME": str(self._folder), "XDG_RUNTIME_DIR": str(self._folder)}
        socket = self._folder / "socket"
        self._server = Program(
            [
                *("pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "-n"),
                f"--load=module-native-protocol-unix socket={socket} auth-anonymous=1",
                "--load=module-null-sink sink_name=mouth",
                "--load=module-null-sink sink_name=loudspeaker",
            ],
            logs / "pulseaudio.log",
            env=home,
        )
        # PortAudio knows ALSA alone.
        (self._folder / ".asoundrc").write_text("pcm.!default pulse\nctl.!default pulse\n")
        self.env = {
            **home,
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_SOURCE": "mouth.monitor",
            "PULSE_SINK": "loudspeaker",
        }
        deadline = time.monotonic() + 20
        while not socket.exists():
            assert time.monotonic() < deadline, self._server.output
            time.sleep(0.05)
        sound = ("--format=s16le", f"--rate={RATE}", "--channels=1")
        self._recorder = Program(
            ["parec", "--device=loudspeaker.monitor", *sound], logs / "played.pcm", env=self.env
        )

    @property
    def played(self) -> npt.NDArray[np.int16]:
        """All that its loudspeaker has played, at `RATE`, of shape (samples,)."""
        played = self._recorder.log.read_bytes()
        return np.frombuffer(played[: len(played) // 2 * 2], np.int16)

    async def say(self, recording: Recording) -> None:
        """Say something into its microphone, to its end."""
        file = self._logs / "said.wav"
        soundfile.write(file, recording.samples, recording.rate)
        program = await asyncio.create_subprocess_exec(
            "paplay", "--device=mouth", str(file), env={**os.environ, **self.env}
        )
        assert await asyncio.wait_for(program.wait(), recording.duration_s + 20) == 0

    async def until_played(self, *, after: int = 0, timeout_s: float = 30.0) -> int:
        """Wait until something was played to its end.

        Args:
            after: what was played before so many samples does not count.
            timeout_s: the test fails after so long.

        Returns:
            How many samples were played until then.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            played = self.played
            audible = np.flatnonzero(np.abs(played[after:]) > AUDIBLE)
            if audible.size and len(played) - after - audible[-1] > QUIET_S * RATE:
                return len(played)
            await asyncio.sleep(0.1)
        raise AssertionError(f"nothing played to its end within {timeout_s:g} s")

    def stop(self) -> None:
        """Switch it off."""
        self._recorder.stop()
        self._server.stop()
        shutil.rmtree(self._folder)


def _missing() -> list[str]:
    """What this machine lacks of it."""
    missing = [program for program in _PROGRAMS if not shutil.which(program)]
    if not any(any(Path("/usr").glob(f"lib*/{way}{_ALSA_PLUGIN}")) for way in ("", "*/")):
        missing.append("way from ALSA to PulseAudio")
    if not find_library("portaudio"):  # where the console looks for it, too
        missing.append("PortAudio")
    return missing
