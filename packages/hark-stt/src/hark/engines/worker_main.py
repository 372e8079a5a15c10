"""What a worker process runs: `python -m hark.engines.worker_main MODEL`."""

from __future__ import annotations

import sys

from hark.engines.registry import load
from hark.process_worker import serve


def main() -> None:
    """Load the model named on the command line, and decode with it until the parent goes away."""
    (model,) = sys.argv[1:]
    serve(lambda: load(model, own_process=True))


if __name__ == "__main__":
    main()
