"""Model files on this machine: whether they are there, and whether they are the right ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from hark.errors import ModelFileError

_BLOCK_BYTES = 1 << 20


def are_present(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether the folder has all files. Cheap: says nothing of what is in them."""
    return all((folder / name).is_file() for name in files)


def verify(folder: Path, files: Mapping[str, str]) -> None:
    """Read all files and compare their SHA-256.

    Raises:
        ModelFileError: a file is missing, unreadable or another one.
    """
    for name, expected in files.items():
        path = folder / name
        try:
            actual = sha256(path)
        except OSError as error:
            raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
        if actual != expected:
            raise ModelFileError(
                f"{path} is damaged or another version: its SHA-256 is {actual}, not {expected}. "
                "Delete it and install or download the model again"
            )


def sha256(path: Path) -> str:
    """Hash a file, in blocks: models are larger than memory should be."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
