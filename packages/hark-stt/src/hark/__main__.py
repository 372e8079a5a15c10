"""`python -m hark` is the `hark` command."""

from __future__ import annotations

from hark.cli import app

if (
    __name__ == "__main__"
):  # worker processes import this module again, and must not start the command again
    app(prog_name="hark")
