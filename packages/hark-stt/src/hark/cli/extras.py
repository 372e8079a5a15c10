"""Which of Hark's optional parts are installed, and what to type for the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from hark.cli.console import fail

DISTRIBUTION = "hark-stt"

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*["']([A-Za-z0-9._-]+)["']""")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A distribution that Hark depends on.

    Attributes:
        name: of the distribution.
        extra: the extra that brings it; None if it always comes.
        version: the installed one; None if it is not installed.
    """

    name: str
    extra: str | None
    version: str | None


def requirements() -> list[Requirement]:
    """Everything the installed `hark-stt` declares, in its order."""
    found = []
    for line in metadata.requires(DISTRIBUTION) or ():
        name, extra = _NAME.match(line), _EXTRA.search(line)
        if name is None:  # pragma: no cover - PEP 508 starts a requirement with its name
            continue
        found.append(Requirement(name[0], extra[1] if extra else None, installed_version(name[0])))
    return found


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def missing(extra: str) -> list[str]:
    """The distributions of an extra that are not installed."""
    return [
        requirement.name
        for requirement in requirements()
        if requirement.extra == extra and requirement.version is None
    ]


def install_command(extra: str) -> str:
    """What to type to get an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def require(extra: str, purpose: str) -> None:
    """End the command with a message if an extra is not installed.

    Args:
        extra: as declared by `hark-stt`.
        purpose: what needs it, to start the message with.
    """
    absent = missing(extra)
    if absent:
        fail(f"{purpose} needs {', '.join(absent)}: {install_command(extra)}")
