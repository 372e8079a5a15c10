"""What `hark doctor` finds out: what is installed here, and whether it can recognise speech."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field

from hark import recording
from hark.cli import extras
from hark.cli.blocking import in_thread
from hark.cli.extras import Requirement
from hark.cli.models import real_models
from hark.cli.remote import HarkServer, ServerError
from hark.cli.server_address import ServerAddress
from hark.cores import usable_cores
from hark.errors import HarkError, ModelError, SettingsError
from hark.version import __version__

AUDIO_S = 9
"""Seconds of the recording that are recognised: its first few utterances."""


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """Where Hark runs. `cores` are those this process may use."""

    hark: str
    python: str
    platform: str
    machine: str
    cores: int


@dataclass(frozen=True, slots=True)
class ExtraFacts:
    """An extra of `hark-stt`, and what it lacks."""

    name: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model of the catalogue.

    Attributes:
        is_intact: whether its files have the right checksums; None if they are not here.
        problem: what is wrong with them.
    """

    name: str
    engine: str
    languages: tuple[str, ...]
    licence: str
    size_bytes: int
    is_installed: bool
    is_intact: bool | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class RecognitionFacts:
    """The default model at work on the known recording, in a worker process as always.

    Attributes:
        load_s: until the model was loaded and warm.
        audio_s: how much was recognised.
        decode_s: how long that took, all in all.
        words: how many were heard.
    """

    model: str
    load_s: float
    audio_s: float
    decode_s: float
    words: int

    @property
    def rtf(self) -> float:
        """Processing time / audio time."""
        return self.decode_s / self.audio_s


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server named by HARK_API_URL.

    Attributes:
        origin: None where the variable holds no URL.
        is_ready: whether it serves us, with the key in HARK_API_KEY.
        answer_s: how long it took to say that it is ready.
        problem: why it is of no use, and what to do.
    """

    origin: str | None
    is_ready: bool
    answer_s: float | None
    problem: str | None


@dataclass(slots=True)
class Diagnosis:
    """All that was found.

    Attributes:
        server: None if none is named.
        recognition: None if it does not work; then `problems` says why.
        problems: what keeps Hark from recognising speech, and what to do about it.
    """

    system: SystemFacts
    packages: list[Requirement]
    extras: list[ExtraFacts]
    models: list[ModelFacts]
    server: ServerFacts | None
    recognition: RecognitionFacts | None = None
    problems: list[str] = field(default_factory=list)


async def diagnose() -> Diagnosis:
    """Find out everything. Takes seconds, because it loads the default model; safe to cancel."""
    diagnosis = Diagnosis(
        system=_system(),
        packages=extras.requirements(),
        extras=_extras(),
        models=await in_thread(_models),
        server=await _server(os.environ.get("HARK_API_URL")),
    )
    try:
        diagnosis.recognition = await _recognition()
    except HarkError as error:
        diagnosis.problems.append(str(error))
    if diagnosis.recognition is not None and not diagnosis.recognition.words:
        diagnosis.problems.append(
            "the default model hears nothing in a known recording; "
            "reinstall it: pip install --force-reinstall moonshine-voice==0.1.0"
        )
    if diagnosis.server is not None and diagnosis.server.problem is not None:
        diagnosis.problems.append(diagnosis.server.problem)
    return diagnosis


def _system() -> SystemFacts:
    return SystemFacts(
        hark=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        machine=platform.machine(),
        cores=usable_cores(),
    )


def _extras() -> list[ExtraFacts]:
    names = dict.fromkeys(r.extra for r in extras.requirements() if r.extra is not None)
    return [ExtraFacts(name, tuple(extras.missing(name))) for name in names]


def _models() -> list[ModelFacts]:
    from hark.engines import catalogue

    installed = catalogue.installed()
    found = []
    for model in real_models():
        is_installed, problem = model.name in installed, None
        if is_installed:
            try:
                catalogue.verify(model.name)
            except ModelError as error:
                problem = str(error)
        found.append(
            ModelFacts(
                name=model.name,
                engine=model.engine,
                languages=model.languages,
                licence=model.licence,
                size_bytes=model.size_bytes,
                is_installed=is_installed,
                is_intact=problem is None if is_installed else None,
                problem=problem,
            )
        )
    return found


async def _recognition() -> RecognitionFacts:
    from hark.audio import SAMPLE_RATE, read_audio
    from hark.embedded import Embedded
    from hark.engines.registry import DEFAULT_MODEL
    from hark.transcription import transcribe

    samples = read_audio(recording.path())[: AUDIO_S * SAMPLE_RATE]
    embedded = Embedded.acquire()
    try:
        begun = time.perf_counter()
        pool = await embedded.pool()
        loaded = time.perf_counter()
        transcription = await transcribe(pool, samples)
        done = time.perf_counter()
    finally:
        embedded.release()
    return RecognitionFacts(
        model=DEFAULT_MODEL,
        load_s=loaded - begun,
        audio_s=AUDIO_S,
        decode_s=done - loaded,
        words=len(transcription.text.split()),
    )


async def _server(url: str | None) -> ServerFacts | None:
    if not url:
        return None
    try:
        server = HarkServer(ServerAddress.parse(url), os.environ.get("HARK_API_KEY") or None)
    except SettingsError as error:
        # Without the URL: it may hold credentials.
        return ServerFacts(None, False, None, f"HARK_API_URL: {error}")
    origin = server.address.origin
    begun = time.perf_counter()
    try:
        await in_thread(server.check_ready)
    except ServerError as error:
        problem = (
            f"HARK_API_URL: {error}. If another server is meant, correct or unset the variable; "
            "to start one: hark serve"
        )
        return ServerFacts(origin, False, None, problem)
    return ServerFacts(origin, True, time.perf_counter() - begun, None)
