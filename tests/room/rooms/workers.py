"""Agents, the examples above all, started as their users start them."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .livekit_server import LiveKitServer
from .processes import Program
from .recogniser import SharedRecogniser

EXAMPLES = Path(__file__).parents[3] / "examples"
_FOLDERS = (EXAMPLES, Path(__file__).parents[1] / "agents")

START_TIMEOUT_S = 60.0

# In production, LiveKit's workers refuse calls while the machine is busy, and listen on port 8081.
# Neither is of any use here, and this option of LiveKit's own tests turns both off.
_ARGUMENTS = {"dev": ["dev"], "start": ["start", "--simulation"]}

_ERROR = re.compile(r'"level": "(ERROR|CRITICAL)"|- \S*(ERROR|CRITICAL)')

# LiveKit's SDK says so now and then when a room is deleted while an agent is in it.
_KNOWN_ERROR = "publisher data channel"

# After a call LiveKit makes a process ready for the next one. When it ends one that is not ready
# yet, with SIGUSR1, it says so as if that had failed. Of one that has a call, it names the job.
_ENDED_BEFORE_IT_WAS_READY = "process exited with non-zero exit code -10"

_numbers = itertools.count(1)


class Worker:
    """An agent that waits for calls: an example, or one of `tests/room/agents`.

    Attributes:
        name: what to dispatch.
        known_errors: parts of messages that may be logged as errors.
        recogniser: what its jobs share where they name no server.
    """

    def __init__(
        self, agent: str, mode: str, livekit: LiveKitServer, logs: Path, **env: str
    ) -> None:
        self.name = f"{agent}-{next(_numbers)}"
        self.known_errors = [_KNOWN_ERROR]
        self.recogniser = SharedRecogniser()
        # Empty, so that an address of the tests' own environment does not get there.
        nowhere = {"HARK_API_URL": "", "HARK_API_KEY": ""}
        (file,) = (path for folder in _FOLDERS if (path := folder / f"{agent}.py").exists())
        self.program = Program(
            [sys.executable, file, *_ARGUMENTS[mode]],
            logs / f"{self.name}.log",
            env={
                **livekit.env,
                "LIVEKIT_AGENT_NAME": self.name,
                "XDG_RUNTIME_DIR": str(self.recogniser.folder),
                **nowhere,
                **env,
            },
        )

    def wait_until_ready(self) -> None:
        """Wait until calls can come."""
        self.program.wait_for("registered worker", timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop it; it must end well, and must not have logged an error that was not expected."""
        code = self.program.stop()
        self.recogniser.end()
        output = self.program.output
        assert code == 0, output
        errors = [line for line in output.splitlines() if _ERROR.search(line)]
        assert not [error for error in errors if not self._is_known(error)], output

    def _is_known(self, error: str) -> bool:
        if _ENDED_BEFORE_IT_WAS_READY in error and '"job_id"' not in error:
            return True
        return any(known in error for known in self.known_errors)


@contextmanager
def running(worker: Worker) -> Iterator[Worker]:
    """A worker that is ready; at the end it is stopped, and must have had no trouble."""
    try:
        worker.wait_until_ready()
        yield worker
    finally:
        worker.stop()
