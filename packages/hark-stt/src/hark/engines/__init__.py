"""Engines: how each kind of model is loaded and run. `registry.load` is the only way in."""

from __future__ import annotations
