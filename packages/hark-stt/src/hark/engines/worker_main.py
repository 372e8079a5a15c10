"""What a worker process runs: `python -m hark.engines.worker_main MODEL`."""

from __future__ import annotations

import sys

from hark.cores import usable_cores
from hark.engines.registry import load
from hark.process_worker import serve

THREADS = 2
"""On how many a decode can compute. On two Moonshine reads audio in 0.55 to 0.75 of the time while
the other worker is idle, but in 1.1 to 1.2 times as much while that decodes, too: the scheduler
chooses. More were not measured."""


def main() -> None:
    """Load the model named on the command line, and decode with it until the parent goes away."""
    (model,) = sys.argv[1:]
    threads = min(THREADS, usable_cores())
    serve(lambda: load(model, threads=threads, own_process=True))


if __name__ == "__main__":
    main()
