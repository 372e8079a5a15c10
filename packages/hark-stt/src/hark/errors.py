"""Everything that Hark's recogniser raises on purpose.

HarkError
├── SettingsError          a setting is missing or out of range; the message names it
├── AudioError             a file or buffer is not audio that Hark can read
├── ModelError             a model cannot be used
│   ├── ModelNotFoundError     unknown name; carries what there is
│   ├── LanguageNotSupportedError  the model does not know the language; carries what it knows
│   ├── OptionNotSupportedError    the model lacks what was asked of it
│   └── ModelFileError         weights missing or not those the catalogue names
├── RecognitionError       the engine failed on this utterance
├── WorkerError            the worker that was decoding died or did not answer
├── OverloadedError        no room for more; try again later
└── ClosedError            used after it was closed
"""

from __future__ import annotations

from collections.abc import Sequence


class HarkError(Exception):
    """Base of all errors below."""


class SettingsError(HarkError, ValueError):
    """A setting is missing or out of range; the message names the setting and the range."""


class AudioError(HarkError, ValueError):
    """The given bytes are not audio that Hark can read."""


class ModelError(HarkError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError, LookupError):
    """No model of this name here."""

    def __init__(self, name: str, available: Sequence[str]) -> None:
        super().__init__(f"no model {name!r} here; available: {', '.join(available) or 'none'}")
        self.name = name
        self.available = tuple(available)


class LanguageNotSupportedError(ModelError, LookupError):
    """The model does not recognise this language."""

    def __init__(self, language: str, model: str, available: Sequence[str]) -> None:
        super().__init__(
            f"model {model!r} does not recognise {language!r}; it knows: {', '.join(available)}"
        )
        self.language = language
        self.available = tuple(available)


class OptionNotSupportedError(ModelError):
    """The model cannot do what an option asks for (say, word times)."""


class ModelFileError(ModelError):
    """A model's files are missing, unreadable or not those the catalogue names."""


class RecognitionError(HarkError):
    """The engine failed on this utterance."""


class WorkerError(HarkError):
    """The worker that held a job died, or did not answer in time."""


class OverloadedError(HarkError):
    """There is no room for more work; trying again later may succeed."""


class ClosedError(HarkError):
    """The object was used after it was closed."""
