"""What the catalogue says of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Engine = Literal["moonshine", "whisper", "smart-turn", "fake"]


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Files inside an installed Python package, which is never imported.

    Attributes:
        requirement: what to give to pip.
        module: the package's import name.
        folder: where its files are, inside it.
    """

    requirement: str
    module: str
    folder: str

    def __str__(self) -> str:
        return f"Python package {self.requirement}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """Files in a repository on the Hugging Face hub, or on a mirror named by HF_ENDPOINT.

    Attributes:
        repository: "owner/name".
        revision: commit; a branch would let the files change.
    """

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"Hugging Face {self.repository}"


@dataclass(frozen=True, slots=True)
class UrlSource:
    """Files at a web address, each at `base_url`/name."""

    base_url: str

    def __str__(self) -> str:
        return self.base_url


Source = PackageSource | HubSource | UrlSource


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be asked for by name.

    Attributes:
        name: what users write.
        engine: what runs it.
        languages: BCP 47 codes it recognises, or hears the end of a turn in.
        licence: of the weights; an SPDX identifier.
        size_bytes: of all files together.
        files: SHA-256 of each file, in hex, by name.
        sources: where the files can come from, the preferred one first; none for a model without
            files.
    """

    name: str
    engine: Engine
    languages: tuple[str, ...]
    licence: str
    size_bytes: int
    files: Mapping[str, str]
    sources: tuple[Source, ...]

    @property
    def source(self) -> str:
        """Where the files come from, in words; several places are joined by "or"."""
        return " or ".join(map(str, self.sources)) or "built in"
