"""Hark speech-to-text for LiveKit Agents: recognition that you run yourself.

```python
from livekit.plugins import hark

session = AgentSession(stt=hark.STT(), ...)
```
"""

from __future__ import annotations

from livekit.agents import Plugin

from .errors import RefusedError
from .link import local
from .log import logger
from .stream import SpeechStream
from .stt import STT
from .version import __version__

__all__ = ["STT", "RefusedError", "SpeechStream", "__version__"]


class HarkPlugin(Plugin):
    """Tells LiveKit's command line about Hark."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """Fetch and check the default model's files, where it can run on this machine."""
        if local.is_installed():
            local.download_files()
        else:
            logger.info("nothing to download: without the extra [local], Hark runs on servers only")


Plugin.register_plugin(HarkPlugin())

# Keeps internals out of generated documentation, as LiveKit's own plugins do.
__pdoc__ = {name: False for name in dir() if name not in __all__}
