"""Where the Whisper weights of the peers are: those that Hark takes, too, for CTranslate2."""

from __future__ import annotations

from pathlib import Path

from hark.engines import catalogue

MODEL = "whisper-tiny.en"


def folder() -> Path:
    """Find them.

    Raises:
        ModelFileError: they are not here; says how to get them.
    """
    return catalogue.locate(MODEL)
