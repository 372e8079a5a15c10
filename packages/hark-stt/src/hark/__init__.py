"""Hark: self-hosted streaming speech-to-text."""

from __future__ import annotations

from .version import __version__

__all__ = ["__version__"]
