"""The process that plays to one contestant, started as `python -m hark.bench.player`.

Each contestant has one of its own, so that none shares threads, memory or an event loop with
another. Commands come through standard input, answers leave through standard output; when the
input ends, so does the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from hark.bench import contestants, job
from hark.bench.contestant import Contestant
from hark.bench.recordings import Piece, read_files, read_set
from hark.bench.step import Plan, run_step
from hark.errors import HarkError

Tell = Callable[[job.Answer], None]


async def serve(reader: asyncio.StreamReader, tell: Tell) -> None:
    """Do what the commands say until they end."""
    first = await job.read_frame(reader)
    if first is None:
        return
    prepare = job.commands.decode(first)
    assert isinstance(prepare, job.Prepare)
    try:
        plan = Plan(_read(prepare.recordings), prepare.seconds, prepare.chunk_ms, prepare.seed)
        contestant = await contestants.start(prepare.contestant, prepare.options)
    except HarkError as error:
        tell(job.Failed(str(error)))
        return
    try:
        tell(job.Ready(contestant.settings))
        await _run_steps(reader, tell, contestant, plan)
    finally:
        await contestant.aclose()


async def _run_steps(
    reader: asyncio.StreamReader, tell: Tell, contestant: Contestant, plan: Plan
) -> None:
    reading = asyncio.create_task(job.read_frame(reader))
    try:
        while (data := await reading) is not None:
            command = job.commands.decode(data)
            assert isinstance(command, job.Run)
            # Read on meanwhile: the end of the input ends the step, too.
            reading = asyncio.create_task(job.read_frame(reader))
            step = asyncio.create_task(_run_step(tell, contestant, plan, command.streams))
            try:
                await asyncio.wait({reading, step}, return_when=asyncio.FIRST_COMPLETED)
                if not step.done() and not reading.result():
                    return  # nobody wants it any more
                await step
            finally:
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
    finally:
        reading.cancel()


async def _run_step(tell: Tell, contestant: Contestant, plan: Plan, streams: int) -> None:
    try:
        done = await run_step(contestant, plan, streams, lambda part: tell(job.Progress(part)))
    except HarkError as error:
        tell(job.Failed(str(error)))
    else:
        tell(job.Done(done))


def _read(chosen: job.Recordings) -> list[list[Piece]]:
    if chosen.folder is not None and chosen.set_name is not None:
        return read_set(Path(chosen.folder), chosen.set_name)
    return read_files([Path(file) for file in chosen.files])


async def _main() -> None:
    # Whatever a library prints must not get between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def tell(answer: job.Answer) -> None:
            answers.write(job.frame(answer))
            answers.flush()

        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        serving = asyncio.create_task(serve(reader, tell))
        loop.add_signal_handler(signal.SIGTERM, serving.cancel)
        try:
            await serving
        except (asyncio.CancelledError, BrokenPipeError):
            pass  # told to end, or there is nobody to tell anything


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_main())
