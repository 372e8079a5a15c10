"""What a worker process runs: `python -m hark.engines.worker_main MODEL`."""

from __future__ import annotations

import sys

from hark.cores import usable_cores
from hark.engines.registry import load
from hark.process_worker import serve
from hark.worker import MOST_THREADS


def main() -> None:
    """Load the model named on the command line, and decode with it until the parent goes away."""
    (model,) = sys.argv[1:]
    threads = min(MOST_THREADS, usable_cores())
    serve(lambda: load(model, threads=threads, own_process=True))


if __name__ == "__main__":
    main()
