"""The plugin's logger. No line holds speech text or a credential."""

from __future__ import annotations

import logging

logger = logging.getLogger("livekit.plugins.hark")
