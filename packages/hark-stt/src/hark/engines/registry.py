"""Load a model by its name."""

from __future__ import annotations

from pathlib import Path

from hark.engines import catalogue
from hark.engines.model_info import Engine
from hark.errors import ModelError, ModelFileError, ModelNotFoundError
from hark.recognizer import Recognizer

DEFAULT_MODEL = "moonshine-tiny-en"
"""English, runs well on any CPU, and its files come with the installation."""


def load(name: str, *, threads: int = 1, own_process: bool = False) -> Recognizer:
    """Load a model. Blocks for as long as reading its files takes.

    Args:
        name: in the catalogue, whose checksums are then verified; or the path of a folder with a
            Moonshine model, or with a Whisper model converted for CTranslate2, which is taken as it
            is.
        threads: on how many a decode can compute, if the engine leaves that to each decode.
        own_process: whether this process is there for this model alone, which may then settle how
            it takes memory.

    Raises:
        ModelNotFoundError: neither a model nor a folder has this name.
        ModelFileError: a file is missing or not the one the catalogue names.
        ModelError: the engine's libraries are not installed, and the message says how to install
            them; or it is no model to recognise with.
    """
    if name in catalogue.CATALOGUE:
        info = catalogue.find(name)
        if info.engine == "fake":
            return _load_fake()
        if info.engine == "smart-turn":
            raise ModelError(f"model {name!r} recognises no speech: it hears the end of a turn")
        folder, language = catalogue.verify(name), info.languages[0]
        return _load_folder(info.engine, folder, language, threads, own_process)
    folder = Path(name)
    if not folder.is_dir():
        raise ModelNotFoundError(name, catalogue.installed())
    return _load_folder(_engine_of(folder), folder, _language_of(folder), threads, own_process)


def _engine_of(folder: Path) -> Engine:
    if (folder / "tokenizer.bin").is_file():
        return "moonshine"
    if (folder / "model.bin").is_file() and (folder / "tokenizer.json").is_file():
        return "whisper"
    raise ModelFileError(
        f"{folder} holds no model that Hark can run: a Moonshine model has a tokenizer.bin, "
        "a Whisper model for CTranslate2 a model.bin and a tokenizer.json"
    )


def _language_of(folder: Path) -> str:
    """Guess a Moonshine model's language: its files do not say, but its folder is like base-es."""
    _, dash, language = folder.name.rpartition("-")
    return language if dash and len(language) == 2 and language.isalpha() else "en"


def _load_folder(
    engine: Engine, folder: Path, language: str, threads: int, own_process: bool
) -> Recognizer:
    # Engines are imported when one is wanted: each brings a runtime, and Whisper's is an optional
    # dependency.
    if engine == "moonshine":
        from hark import inference
        from hark.engines.moonshine import MoonshineRecognizer

        if own_process:
            inference.share_arena()
        return MoonshineRecognizer(folder, language=language, threads=threads)
    try:
        from hark.engines.whisper import WhisperRecognizer
    except ModuleNotFoundError as error:
        raise ModelError(
            f"Whisper models need {error.name}: pip install 'hark-stt[whisper]'"
        ) from error
    return WhisperRecognizer(folder)


def _load_fake() -> Recognizer:
    from hark.engines.fake import FakeRecognizer

    return FakeRecognizer()
