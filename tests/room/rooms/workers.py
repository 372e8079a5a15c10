"""The example agents, started as their users start them."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

from .livekit_server import LiveKitServer
from .processes import Program

EXAMPLES = Path(__file__).parents[3] / "examples"

START_TIMEOUT_S = 60.0

# In production, LiveKit's workers refuse calls while the machine is busy, and listen on port 8081.
# Neither is of any use here, and this option of LiveKit's own tests turns both off.
_ARGUMENTS = {"dev": ["dev"], "start": ["start", "--simulation"]}

_ERROR = re.compile(r'"level": "(ERROR|CRITICAL)"|- \S*(ERROR|CRITICAL)')

_numbers = itertools.count(1)


class Worker:
    """An example agent that waits for calls.

    Attributes:
        name: what to dispatch.
        known_errors: parts of messages that may be logged as errors.
    """

    def __init__(
        self, example: str, mode: str, livekit: LiveKitServer, logs: Path, **env: str
    ) -> None:
        self.name = f"{example}-{next(_numbers)}"
        self.known_errors: list[str] = []
        # Empty, so that an address of the tests' own environment does not get there.
        nowhere = {"HARK_API_URL": "", "HARK_API_KEY": ""}
        self.program = Program(
            [sys.executable, EXAMPLES / f"{example}.py", *_ARGUMENTS[mode]],
            logs / f"{self.name}.log",
            env={**livekit.env, "LIVEKIT_AGENT_NAME": self.name, **nowhere, **env},
        )

    def wait_until_ready(self) -> None:
        """Wait until calls can come."""
        self.program.wait_for("registered worker", timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop it; it must end well, and must not have logged an error that was not expected."""
        code = self.program.stop()
        output = self.program.output
        assert code == 0, output
        errors = [line for line in output.splitlines() if _ERROR.search(line)]
        assert not [e for e in errors if not any(known in e for known in self.known_errors)], output
