"""How many live sessions this machine carries, by measurement.

All workers decode real speech at once, as sessions under load ask for it: an interim at each anchor
and a final. What a second of that costs, and what voice activity detection adds, gives the number
of sessions that take a given share of the machine. It takes seconds, so the result is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import msgspec
import onnxruntime
import platformdirs

from hark import recording
from hark.audio import SAMPLE_RATE, PcmArray, read_audio
from hark.cores import usable_cores
from hark.ear import Ear
from hark.engines.pool import ModelPool
from hark.errors import AudioError
from hark.recognizer import RecognitionOptions
from hark.scheduler import Decoded, Priority, Scheduler
from hark.vad import silero_model
from hark.version import __version__

logger = logging.getLogger("hark.server")

UTTERANCE_S = 5
"""Seconds of speech in one measured utterance: about what the utterances of a reader last."""

INTERIM_S = 2
"""Seconds of speech between interims of a session under load, where the model has no anchors."""

ROUNDS = 4
"""The quickest counts: whatever else runs on the machine only ever makes a round slower."""

SPEECH_SHARE = 0.8
"""Share of a session's audio that is speech, at most: somebody reads. In a conversation it is half
of it, and the rest of the machine is there for bursts."""

VAD_MULTIPLE = 3
"""A session's cost outside of the workers, in terms of its voice activity detection: its messages,
sockets and resampling take about twice as much again. Many are heard side by side, for a third
of what one costs that is measured alone; what that saves is left for bursts."""

MOST_BUSY = 0.6
"""Share of the machine's time to plan with. The rest is for pauses that were none, for context, and
for bursts. With this, two cores that kept their promise to 48 readers and broke it to 50
(docs/benchmarks.md) admit 41."""


@dataclass(frozen=True)
class Cost:
    """Processing time for a second of audio, in seconds.

    Attributes:
        speech_s: of one worker, while all are at work.
        vad_s: of voice activity detection, for a session that is alone.
    """

    speech_s: float
    vad_s: float


def capacity(cost: Cost, *, workers: int, cores: int) -> int:
    """Sessions that a machine carries: the workers' time and that of the cores allow.

    Args:
        cost: as measured.
        workers: of the model.
        cores: of the machine.
    """
    decoding = SPEECH_SHARE * cost.speech_s
    by_workers = MOST_BUSY * workers / decoding
    by_cores = MOST_BUSY * cores / (decoding + VAD_MULTIPLE * cost.vad_s)
    return max(1, int(min(by_workers, by_cores)))


def measured_capacity(models: ModelPool) -> int | None:
    """Sessions for these models, whichever of them is asked for. Blocks, for seconds at first.

    Returns:
        None if there is no speech to measure with.

    Raises:
        HarkError: the workers do not decode.
    """
    try:
        samples = read_audio(recording.path())[: UTTERANCE_S * SAMPLE_RATE]
    except AudioError:
        return None
    found = [
        capacity(
            _kept(scheduler, partial(measure, scheduler, samples)),
            workers=scheduler.worker_count,
            cores=usable_cores(),
        )
        for scheduler in models.schedulers
    ]
    return min(found)


def measure(scheduler: Scheduler, samples: PcmArray) -> Cost:
    """Measure on this machine, now.

    Args:
        scheduler: started; nobody else uses it.
        samples: speech, shape (n,).

    Raises:
        HarkError: the workers do not decode.
    """
    duration_s = len(samples) / SAMPLE_RATE
    rounds = [_timed(lambda: _decode_everywhere(scheduler, samples)) for _ in range(ROUNDS)]
    vad = [_timed(lambda: Ear(SAMPLE_RATE, silero_model()).push(samples)) for _ in range(ROUNDS)]
    return Cost(min(rounds) / duration_s, min(vad) / duration_s)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _decode_everywhere(scheduler: Scheduler, samples: PcmArray) -> None:
    """One utterance on each worker, all at once."""
    language = scheduler.capabilities.languages[0]
    interval = scheduler.capabilities.anchor or INTERIM_S * SAMPLE_RATE
    streams = [
        scheduler.open_stream(RecognitionOptions(language=language), caller=str(i))
        for i in range(scheduler.worker_count)
    ]
    try:
        for stream in streams:
            stream.push(samples)
        for end in range(interval, len(samples), interval):
            _wait([stream.decode(Priority.INTERIM, final=False, length=end) for stream in streams])
        _wait([stream.decode(Priority.FINAL, final=True) for stream in streams])
    finally:
        for stream in streams:
            stream.close()


def _wait(futures: Sequence[Future[Decoded]]) -> None:
    for future in futures:
        future.result()


def _kept(scheduler: Scheduler, measure_now: Callable[[], Cost]) -> Cost:
    """What was measured before in the same circumstances, or is measured now."""
    path = _folder() / f"{_circumstances(scheduler)}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cost)
    except (OSError, msgspec.DecodeError):
        pass
    cost = measure_now()
    logger.info(
        "measured what sessions cost on this machine",
        extra={"model": scheduler.model, **asdict(cost), "kept_in": str(path)},
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(cost)))
    except OSError as error:  # it only has to be measured again next time
        logger.debug("the measurement is not kept", extra={"error": type(error).__name__})
    return cost


def _folder() -> Path:
    return platformdirs.user_cache_path("hark") / "capacity"


def _circumstances(scheduler: Scheduler) -> str:
    """A name for all that the cost depends on."""
    parts = (
        scheduler.model,
        scheduler.capabilities.anchor,
        scheduler.worker_count,
        usable_cores(),
        os.cpu_count(),
        _processor(),
        __version__,
        onnxruntime.__version__,
        platform.python_version(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), "")
