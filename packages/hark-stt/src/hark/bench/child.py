"""Child processes: how they are started, listened to and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator

LINE_LIMIT_BYTES = 1 << 20

_KEPT_LINES = 3


class Child:
    """A Python module that runs as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, *, leads_session: bool) -> None:
        """Args: process: with all three standard streams piped."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid
        self.stdin = process.stdin
        self.stdout = process.stdout
        self._stderr = process.stderr
        self._process = process
        self._leads_session = leads_session
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, module: str, *arguments: str, leads_session: bool = False) -> Child:
        """Run `python -m module`.

        Args:
            module: to run.
            arguments: of the module.
            leads_session: whether it gets a session of its own. Then Ctrl-C reaches it through us
                only, and when it has to be killed, so are the children that it could not end.
        """
        # What is set for another server must not steer this one.
        own = {name: value for name, value in os.environ.items() if not name.startswith("HARK_")}
        kept = {name: os.environ[name] for name in ("HARK_MODELS_DIR",) if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            env={**own, **kept},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
            start_new_session=leads_session,
        )
        return cls(process, leads_session=leads_session)

    @property
    def last_words(self) -> str:
        """The end of what it has written to standard error."""
        return " / ".join(self._last)

    async def errors(self) -> AsyncIterator[str]:
        """Lines of standard error, until it is closed."""
        async for line in self._stderr:
            text = line.decode(errors="replace").rstrip()
            if text:
                self._last.append(text)
            yield text

    def keep_reading_errors(self) -> None:
        """Read standard error from now on, for nobody: a full pipe would stop the child."""
        self._reading = asyncio.create_task(self._read_errors())

    async def aclose(self, timeout_s: float) -> None:
        """Tell it to end, and kill it if it has not done so in time. Idempotent."""
        if self._process.returncode is None:
            self.stdin.close()
            try:
                self._process.terminate()
            except ProcessLookupError:
                pass  # it has just ended
            try:
                await asyncio.wait_for(self._process.wait(), timeout_s)
            except asyncio.TimeoutError:
                self._kill()
                await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _kill(self) -> None:
        try:
            if self._leads_session:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self._process.kill()
        except ProcessLookupError:
            pass  # it has just ended

    async def _read_errors(self) -> None:
        async for _ in self.errors():
            pass
