"""What faults do to Hark's plugin and to those of four providers, as a Markdown table.

    make bench-faults

Each plugin talks to a small server on this machine (`fakes/`) that speaks its protocol and
recognises a made-up speech without mistakes, through a TCP proxy that breaks connections. So what
is lost is lost by the plugin. All have their default options; the streams stand alone, without an
agent session around them. Takes some 80 seconds.

Needs the four plugins, which `make venv` installs.
"""

from __future__ import annotations

import asyncio
import difflib
import importlib.metadata
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
from fakes.assemblyai import AssemblyAI
from fakes.deepgram import Deepgram
from fakes.ear import RATE, Pcm, silence, speech
from fakes.gladia import Gladia
from fakes.hark import Hark
from fakes.provider import Behaviour, Provider
from fakes.soniox import Soniox
from livekit.agents import stt

from livekit import rtc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from breaking.proxy import FaultProxy, Passage

PROVIDERS: Sequence[type[Provider]] = (Hark, Deepgram, AssemblyAI, Soniox, Gladia)

KEY = "sesame-in-secret"
FRAME = RATE // 50
PATIENCE_S = 10.0
HALF_OPEN_PATIENCE_S = 70.0
HANDSHAKE_PATIENCE_S = 20.0
STORM_S = 5.0

WORD_S = 0.25
UTTERANCE_S = 0.4 + 3 * WORD_S + 0.5
MID_UTTERANCE_S = UTTERANCE_S + 0.4 + 1.6 * WORD_S
"""Within the second word of the second utterance."""


@dataclass(frozen=True)
class Script:
    """What is said: words and where each starts."""

    samples: Pcm
    words: list[str]
    starts_s: list[float]


def script(utterances: int) -> Script:
    """Utterances of three words each; there are thirty words, after which they repeat."""
    parts, words, starts = [], [], []
    for number in range(utterances):
        numbers = [(3 * number + i) % 30 + 1 for i in range(3)]
        parts += [silence(400), speech(*numbers, ms=round(WORD_S * 1000)), silence(500)]
        words += [f"w{n}" for n in numbers]
        starts += [number * UTTERANCE_S + 0.4 + i * WORD_S for i in range(3)]
    return Script(np.concatenate(parts), words, starts)


@dataclass
class Setup:
    """A plugin, its server, and the proxy in between."""

    provider: Provider
    proxy: FaultProxy
    stt: stt.STT
    failed_at: list[float] = field(default_factory=list)


@asynccontextmanager
async def setup(kind: type[Provider], behaviour: Behaviour | None = None) -> AsyncIterator[Setup]:
    async with (
        kind(behaviour or Behaviour()) as provider,
        FaultProxy(provider.port) as proxy,
        aiohttp.ClientSession() as session,
    ):
        plugin = provider.make_stt(f"127.0.0.1:{proxy.port}", KEY, session)
        made = Setup(provider, proxy, plugin)
        plugin.on("error", lambda _: made.failed_at.append(_now()))
        yield made
        await plugin.aclose()


@dataclass
class Outcome:
    """How a stream went.

    Attributes:
        finals: what it told.
        error: what it ended with; None if it ended well or not at all.
        took_s: from the end of the input to its own end; None if it did not end.
        is_cut_short: whether it ended before its input did.
        began_at, ended_at: on the event loop's clock.
    """

    finals: list[stt.SpeechData] = field(default_factory=list)
    error: BaseException | None = None
    took_s: float | None = None
    is_cut_short: bool = False
    began_at: float = 0.0
    ended_at: float = 0.0


async def listen(
    plugin: stt.STT,
    samples: Pcm,
    *,
    at: Sequence[tuple[float, Callable[[], None]]] = (),
    patience_s: float = PATIENCE_S,
    until: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Tell a stream something in real time, and wait for its end, but not for ever."""
    outcome = Outcome(began_at=_now())
    stream = plugin.stream()

    async def collect() -> None:
        async for event in stream:
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT and event.alternatives[0].text:
                outcome.finals.append(event.alternatives[0])

    collecting = asyncio.create_task(collect())
    due = list(at)
    for number in range(0, len(samples), FRAME):
        second = number / RATE
        await asyncio.sleep(outcome.began_at + second - _now())
        while due and due[0][0] <= second:
            due.pop(0)[1]()
        if collecting.done() or until():
            outcome.is_cut_short = collecting.done()
            break
        piece = samples[number : number + FRAME]
        try:
            stream.push_frame(rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)))
        except RuntimeError:  # the stream has just failed; `collecting` will say how
            break
    else:
        stream.end_input()
    input_ended = _now()
    await asyncio.wait({collecting}, timeout=0 if until() else patience_s)
    outcome.ended_at = _now()
    if collecting.done():
        outcome.took_s = outcome.ended_at - input_ended
        outcome.error = collecting.exception()
    await stream.aclose()
    if not collecting.done():
        collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    return outcome


def judge(outcome: Outcome, said: Script) -> str:
    """What of what was said was told."""
    got = [word for final in outcome.finals for word in final.text.split()]
    matcher = difflib.SequenceMatcher(a=said.words, b=got, autojunk=False)
    place = {b + i: a + i for a, b, size in matcher.get_matching_blocks() for i in range(size)}
    lost, added = len(said.words) - len(place), len(got) - len(place)
    shift_s, position = 0.0, 0
    for final in outcome.finals:
        if position in place:
            shift_s = max(shift_s, abs(final.start_time - said.starts_s[place[position]]))
        position += len(final.text.split())
    parts = [f"**{lost} of {len(said.words)} words lost**" if lost else "nothing lost"]
    parts += [f"{added} told twice"] * bool(added)
    parts += [f"times off by {shift_s:.1f} s"] * (shift_s > 0.05)
    return ", ".join([*parts, *_ending(outcome)])


def _ending(outcome: Outcome) -> list[str]:
    if outcome.took_s is None:
        return ["**never ends**"]
    if outcome.error is not None:
        return [f"then {type(outcome.error).__name__}"]
    return ["**ends without an error**"] * outcome.is_cut_short


# --- the faults, each with what it did to one plugin


async def no_fault(kind: type[Provider]) -> str:
    said = script(4)
    async with setup(kind) as made:
        outcome = await listen(made.stt, said.samples)
    took = "" if outcome.took_s is None else f", ends after {outcome.took_s:.1f} s"
    return judge(outcome, said) + took


async def reset(kind: type[Provider]) -> str:
    return await _broken(kind, Passage.reset)


async def truncate(kind: type[Provider]) -> str:
    return await _broken(kind, Passage.truncate)


async def stall(kind: type[Provider]) -> str:
    return await _broken(kind, lambda passage: passage.stall(2.0))


async def _broken(kind: type[Provider], breakage: Callable[[Passage], None]) -> str:
    said = script(5)
    async with setup(kind) as made:
        cut = (MID_UTTERANCE_S, lambda: made.proxy.each(breakage))
        return judge(await listen(made.stt, said.samples, at=[cut]), said)


async def outage(kind: type[Provider]) -> str:
    said = script(6)
    async with setup(kind) as made:

        def leave() -> None:
            made.proxy.refuses = True
            made.proxy.each(Passage.reset)

        def come_back() -> None:
            made.proxy.refuses = False

        at = [(MID_UTTERANCE_S, leave), (MID_UTTERANCE_S + 3.0, come_back)]
        return judge(await listen(made.stt, said.samples, at=at), said)


async def half_open(kind: type[Provider]) -> str:
    said = script(int((HALF_OPEN_PATIENCE_S + 8) / UTTERANCE_S))
    cut_at: list[float] = []
    async with setup(kind) as made:

        def cut() -> None:
            cut_at.append(_now())
            made.proxy.each(Passage.half_open)

        def is_over() -> bool:
            """Some seconds after the next connection, or when patience ends."""
            later = [t for t in made.proxy.connected_at if cut_at and t > cut_at[0]]
            return bool(later) and _now() > later[0] + 4 * UTTERANCE_S

        outcome = await listen(made.stt, said.samples, at=[(MID_UTTERANCE_S, cut)], until=is_over)
        later = [t for t in made.proxy.connected_at if t > cut_at[0]]
    if not later:
        return f"**not noticed in {HALF_OPEN_PATIENCE_S:g} s**"
    # What was said by then and a while before the end: the last utterances may be under way.
    before = outcome.ended_at - outcome.began_at - 2 * UTTERANCE_S
    count = 3 * int(before / UTTERANCE_S)
    heard = [word for final in outcome.finals for word in final.text.split()]
    matcher = difflib.SequenceMatcher(a=said.words[:count], b=heard, autojunk=False)
    lost = count - sum(block.size for block in matcher.get_matching_blocks())
    return f"noticed after {later[0] - cut_at[0]:.1f} s, " + (
        f"**{lost} words lost**" if lost else "nothing lost"
    )


async def lost_before_last_final(kind: type[Provider]) -> str:
    said = Script(
        np.concatenate((silence(), speech(1, 2, 3))), ["w1", "w2", "w3"], [0.4, 0.65, 0.9]
    )
    async with setup(kind, Behaviour(dies_at_first_final=True)) as made:
        return judge(await listen(made.stt, said.samples), said)


async def storm(kind: type[Provider]) -> str:
    async with setup(kind, Behaviour(closes_at_once=True)) as made:
        began = _now()
        outcome = await listen(
            made.stt,
            silence(round(STORM_S * 1000) + 1000),
            until=lambda: _now() >= began + STORM_S,
            patience_s=0,
        )
        count = len(made.proxy.connected_at)
    ending = [] if outcome.took_s is None else _ending(outcome)
    return ", ".join([f"{count:,} connects" if count > 1 else "1 connect", *ending])


async def wrong_key(kind: type[Provider]) -> str:
    async with setup(kind, Behaviour(refuse_with=401)) as made:
        outcome = await listen(made.stt, silence(15_000))
        count = len(made.provider.attempts)
    if outcome.error is None:
        return f"no error in 15 s, {count} attempts"
    times = "1 attempt" if count == 1 else f"{count} attempts"
    took_s = outcome.ended_at - outcome.began_at
    leak = ", **key in the error**" if _shows_key(outcome.error) else ""
    return f"{type(outcome.error).__name__} after {took_s:.1f} s, {times}{leak}"


def _shows_key(error: BaseException | None) -> bool:
    """Whether `repr` of the error, or of what it says that caused it, has the key in it."""
    while error is not None:
        if KEY in repr(error):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


async def no_answer(kind: type[Provider]) -> str:
    async with setup(kind, Behaviour(never_answers=True)) as made:
        outcome = await listen(
            made.stt,
            silence(int(HANDSHAKE_PATIENCE_S * 1000)),
            until=lambda: bool(made.failed_at),
            patience_s=0,
        )
    if not made.failed_at:
        return f"**waits for more than {HANDSHAKE_PATIENCE_S:g} s**"
    return f"gives up after {made.failed_at[0] - outcome.began_at:.0f} s"


FAULTS: Sequence[tuple[str, Callable[[type[Provider]], Awaitable[str]]]] = (
    ("none", no_fault),
    ("connection reset in mid-utterance", reset),
    ("connection closed inside a frame", truncate),
    ("nothing passes for 2 s", stall),
    ("server away for 3 s", outage),
    ("connection half-open", half_open),
    ("connection lost before the last final", lost_before_last_final),
    (f"every connection closed at once, for {STORM_S:g} s", storm),
    ("wrong key (401)", wrong_key),
    ("handshake never answered", no_answer),
)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def measure() -> list[list[str]]:
    """One row for each fault, one cell for each provider."""

    async def row(fault: Callable[[type[Provider]], Awaitable[str]]) -> list[str]:
        return list(await asyncio.gather(*map(fault, PROVIDERS)))

    return list(await asyncio.gather(*(row(fault) for _, fault in FAULTS)))


def _version(name: str) -> str:
    return importlib.metadata.version(f"livekit-plugins-{name.lower()}")


def main() -> None:
    logging.disable()
    rows = asyncio.run(measure())
    print("| fault | " + " | ".join(f"{p.name} {_version(p.name)}" for p in PROVIDERS) + " |")
    print("|---" * (len(PROVIDERS) + 1) + "|")
    for (name, _), cells in zip(FAULTS, rows, strict=True):
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
