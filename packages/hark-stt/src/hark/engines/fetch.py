"""Download a model: resume after a broken connection, keep only files with the right checksum."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO

from hark.engines import weights
from hark.engines.model_info import HubSource, ModelInfo, UrlSource
from hark.errors import ModelFileError

Progress = Callable[[int, int], None]
"""Called with the bytes so far and the bytes in all."""

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_PAUSE_S = 0.5

_DEFAULT_ENDPOINT = "https://huggingface.co"


def fetch(source: HubSource | UrlSource, info: ModelInfo, folder: Path, progress: Progress) -> None:
    """Download all files of a model, so that the folder appears whole or not at all.

    Two processes may do so at once: the later one replaces what the earlier one made.

    Raises:
        ModelFileError: the network failed, the disk is full, or a file is not the one the catalogue
        names.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staging:
            _fetch_files(source, info, Path(staging) / folder.name, progress)
            _put_in_place(Path(staging) / folder.name, folder)
    except OSError as error:
        raise ModelFileError(f"cannot write to {folder.parent}: {error.strerror}") from error


def _fetch_files(
    source: HubSource | UrlSource, info: ModelInfo, folder: Path, progress: Progress
) -> None:
    folder.mkdir()
    before = 0
    for name in info.files:
        size = 0
        for size in _download(f"{_base_url(source)}/{urllib.parse.quote(name)}", folder / name):
            progress(before + size, info.size_bytes)
        before += size
    weights.verify(folder, info.files)


def _base_url(source: HubSource | UrlSource) -> str:
    if isinstance(source, UrlSource):
        return source.base_url
    endpoint = os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT
    return f"{endpoint.rstrip('/')}/{source.repository}/resolve/{source.revision}"


def _download(url: str, path: Path) -> Iterator[int]:
    """Write what is at the address to a file; after each block, give the file's size so far."""
    with path.open("wb") as file:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                yield from _append_rest(url, file)
                return
            except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if refused or attempt == _ATTEMPTS:
                    raise ModelFileError(f"cannot download {url}: {error}") from error
            time.sleep(_PAUSE_S * attempt)


def _append_rest(url: str, file: IO[bytes]) -> Iterator[int]:
    request = urllib.request.Request(url)
    if file.tell():
        request.add_header("Range", f"bytes={file.tell()}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        if response.status != 206:  # the whole file, whether a part was asked for or not
            file.seek(0)
            file.truncate()
        length = response.headers.get("Content-Length")
        expected = file.tell() + int(length) if length else None
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            yield file.tell()
    # A connection that breaks off looks like the end of the file to read().
    if expected is not None and file.tell() < expected:
        raise ConnectionError("the connection broke off")


def _put_in_place(staging: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    staging.rename(folder)
