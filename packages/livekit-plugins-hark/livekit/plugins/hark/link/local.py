"""What both ways to a recogniser on this machine share. Imports `hark` when it is first needed."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

from livekit.agents import APIConnectionError, APIError, APITimeoutError

from hark_protocol import Error, ErrorCode

from .. import errors
from ..log import logger
from .deadline import within

T = TypeVar("T")

LOAD_TIMEOUT_S = 120.0
"""Longest wait for the models: a large one from a cold disk. Only the first stream of a process
waits at all."""


def is_installed() -> bool:
    """Whether the recogniser is there (the extra `local`)."""
    return importlib.util.find_spec("hark") is not None


def download_files() -> None:
    """Fetch and check the files of the default model, and say so.

    Raises:
        HarkError: they cannot be had, or are not those that the catalogue names.
    """
    from hark.engines import catalogue
    from hark.engines.registry import DEFAULT_MODEL
    from hark.vad import silero_model

    was_here = DEFAULT_MODEL in catalogue.installed()
    folder = catalogue.download(DEFAULT_MODEL)
    silero_model()  # comes with the installation
    # LiveKit's command shows the message alone.
    logger.info(
        "model %s %s, checked: %s",
        DEFAULT_MODEL,
        "was here" if was_here else "downloaded",
        folder,
        extra={"model": DEFAULT_MODEL, "downloaded": not was_here},
    )
    logger.info("for other models: hark models download NAME")


async def loaded(loading: Coroutine[Any, Any, T]) -> T:
    """Await what loads models, with a deadline.

    Raises:
        APIError: they do not load, or not in time.
    """
    try:
        return await within(LOAD_TIMEOUT_S, loading)
    except asyncio.TimeoutError:
        raise APITimeoutError(f"the recogniser did not load within {LOAD_TIMEOUT_S:g} s") from None
    except Exception as error:  # loading runs engines, which raise what they like
        raise to_api_error(error) from error


def to_api_error(error: Exception) -> APIError:
    """What a server would have answered."""
    from hark.errors import (
        HarkError,
        LanguageNotSupportedError,
        ModelError,
        OptionNotSupportedError,
        SettingsError,
    )

    codes: dict[type[HarkError], ErrorCode] = {
        LanguageNotSupportedError: "language_not_supported",
        OptionNotSupportedError: "option_not_supported",
        ModelError: "model_not_found",
        SettingsError: "invalid_message",
    }
    for kind, code in codes.items():
        if isinstance(error, kind):
            return errors.from_message(Error.from_code(code, str(error)))
    reason = str(error) if isinstance(error, HarkError) else type(error).__name__
    return APIConnectionError(f"the recogniser failed: {reason}")
