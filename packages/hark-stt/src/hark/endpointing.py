"""Endpointing: speech probabilities in, utterances out. A pure state machine on sample positions.

    IDLE ──speech──> ONSET ──enough speech──> SPEECH <──speech── PAUSE
      ^                │                        │                  ^ │
      └────silence─────┘                        └────silence───────┘ │
      └──────────────────────enough silence──────────────────────────┘

How much silence is enough may depend on what an end-of-turn model says of the pause (`judge`).

All positions are samples at 16 kHz from the start of the stream. Every decision falls on the
border of a window, so it cannot depend on how the audio was cut into chunks.

At the end of each utterance, and now and then in silence, `Endpointer.position` goes back: the
stream is to be heard afresh from there. What is decided then depends on nothing before that place,
so a stream that is resumed there decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from hark.audio import SAMPLE_RATE
from hark.errors import SettingsError

HYSTERESIS = 0.15
"""Speech goes on until the probability falls this far below the threshold: Silero's own rule
(utils_vad.py)."""

LEAST_SPEECH = 0.01
"""Probability below which a window is silence whatever the threshold: Silero's own rule too."""

LEAD = 6_400
"""Samples (400 ms) before the first speech that belong to the utterance: soft onsets score below
the threshold, and the default model reads cleaner with some silence around the words."""

TAIL = 4_800
"""Samples (300 ms) after the last speech that belong to the utterance, or half of the endpointing
silence, up to the end of the window in which that falls, where this is less: a pause is announced
at the end of a window only, and what has been heard by then costs no time. It is also how long a
pause must be before it is worth decoding, so that the text of the pause is the text of the final if
no more speech comes.

Lead, tail and endpointing silence were chosen together, by the WER of LibriSpeech test-clean and
test-other streamed through the default model, against utterances decoded whole."""

LONG_SILENCE = 240_000
"""Samples (15 s) without an utterance after which the stream is heard afresh, so that a client that
may have to resume it need not keep more."""

WARM_UP = 16_000
"""Samples (1 s) of that silence which the VAD then hears again, before an utterance's padding."""

GRID = 320
"""Samples (20 ms). Utterances end on multiples of it, which are whole samples at all common rates
(8, 22.05, 44.1, 48 kHz, ...): so a client whose audio is resampled can resume exactly there."""


@dataclass(frozen=True, slots=True)
class EndpointingOptions:
    """How utterances are told apart.

    Attributes:
        silence_ms: silence that ends an utterance. Shorter pauses are bridged.
        max_silence_ms: silence that ends an utterance whose speaker will certainly go on, as the
            end-of-turn model thinks; `silence_ms` is then for one who has certainly finished, and
            in between it is in between. Asks no model where it is not above `silence_ms`.
        threshold: speech probability from which a window counts as speech. 0.5 is Silero's default.
        min_speech_ms: speech needed to open an utterance: clicks and coughs are shorter.
        max_utterance_ms: longer utterances are cut, at a pause where there is one.
    """

    silence_ms: int = 600
    max_silence_ms: int = 0
    threshold: float = 0.5
    min_speech_ms: int = 160
    max_utterance_ms: int = 20_000

    def __post_init__(self) -> None:
        """Raises: SettingsError: an option is out of range."""
        _check("silence_ms", self.silence_ms, 160, 10_000)
        _check("max_silence_ms", self.max_silence_ms, 0, 10_000)
        _check("threshold", self.threshold, 0.05, 0.95)
        _check("min_speech_ms", self.min_speech_ms, 0, 1_000)
        _check("max_utterance_ms", self.max_utterance_ms, 2_000, 30_000)

    @property
    def asks_model(self) -> bool:
        """Whether an end-of-turn model has a say."""
        return self.max_silence_ms > self.silence_ms


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"endpointing {name} must be from {low} to {high}, not {value}")


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """An utterance is open, from `start` on. A stream resumed at `resume_from` finds it again."""

    start: int
    resume_from: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The speaker has been silent for a while: without more speech the utterance ends at `end`."""

    end: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The pause was only a pause."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The utterance is closed: its audio ends at `end`, its last speech at `speech_end`."""

    end: int
    speech_end: int


EndpointEvent = SpeechStarted | SpeechPaused | SpeechResumed | SpeechEnded


class _State(Enum):
    IDLE = auto()
    ONSET = auto()
    SPEECH = auto()
    PAUSE = auto()


class Endpointer:
    """Decides where the utterances of one stream start and end."""

    def __init__(self, window: int, options: EndpointingOptions, *, start: int = 0) -> None:
        """Begin in silence.

        Args:
            window: samples each probability stands for.
            options: may be replaced at any time through `options`.
            start: position of the first sample of the first window.
        """
        self.options = options
        self._window = window
        self._start_afresh(start)

    def _start_afresh(self, position: int) -> None:
        self._state = _State.IDLE
        self._position = self._floor = position
        self._start = position  # of the utterance
        self._speech = 0  # samples of speech in ONSET
        self._pause_start = position
        self._pause_end: int | None = None  # once it was announced
        self._finished = 1.0  # how likely the speaker has finished with this pause
        self._history: list[float] = []  # probabilities since `_history_start`, while open
        self._history_start = position

    @property
    def position(self) -> int:
        """Where the next window starts.

        When a push has taken it back, the stream is to be heard afresh from there, by a detector
        that has forgotten all audio.
        """
        return self._position

    @property
    def start(self) -> int:
        """Where the open utterance starts."""
        return self._start

    @property
    def speech_until(self) -> int:
        """Up to where the speaker of the open utterance has spoken: to here, or to the pause."""
        return self._pause_start if self._state is _State.PAUSE else self._position

    @property
    def awaits_pause(self) -> bool:
        """Whether the silence lasts, and a pause is about to be announced if it goes on."""
        if self._state is not _State.PAUSE or self._pause_end is not None:
            return False
        return self._position - self._pause_start >= self._tail // 2

    @property
    def settled(self) -> int:
        """All audio before this position belongs to closed utterances or to none.

        A stream that is resumed here finds the utterances that are not closed yet, and no other.
        """
        return self._floor

    @property
    def next_start(self) -> int:
        """No utterance that is not open yet will start before this position."""
        if self._state is _State.IDLE:
            return max(self._floor, self._position - LEAD)
        return self._start if self._state is _State.ONSET else self._position

    def push(self, probability: float) -> Sequence[EndpointEvent]:
        """Take the next window's speech probability; give what it decides, in order."""
        at = self._position
        self._position += self._window
        is_speech = probability >= self.options.threshold
        is_silence = probability < max(self.options.threshold - HYSTERESIS, LEAST_SPEECH)
        match self._state:
            case _State.IDLE:
                return self._begin(at) if is_speech else self._stay_idle()
            case _State.ONSET:
                if is_silence:
                    self._state = _State.IDLE
                    return ()
                return self._count_speech()
            case _State.SPEECH:
                self._history.append(probability)
                if is_silence:
                    self._state = _State.PAUSE
                    self._pause_start = at
                    self._pause_end = None
                    self._finished = 1.0
                    return ()
                return self._cut_if_long()
            case _State.PAUSE:
                self._history.append(probability)
                return self._resume() if is_speech else self._wait()

    def judge(self, finished: float) -> None:
        """Take how likely it is, 0 to 1, that the speaker has finished with the announced pause.

        To depend on nothing but the audio it is told right after `SpeechPaused`, before the next
        window. A pause that is not judged is taken for the end.
        """
        self._finished = finished

    def flush(self, position: int) -> Sequence[EndpointEvent]:
        """Close whatever is open at `position`, the end of all audio so far.

        The next window starts there, heard afresh.
        """
        events: list[EndpointEvent] = []
        if self._state is _State.ONSET:
            # A word may be this short when the client says that it is over.
            events.append(SpeechStarted(self._start, self._floor))
            self._state = _State.SPEECH
        if self._state is _State.PAUSE:
            end = self._pause_end or min(position, self._tail_end)
            events.append(SpeechEnded(end, self._pause_start))
        elif self._state is _State.SPEECH:
            events.append(SpeechEnded(position, position))
        self._start_afresh(position)
        return events

    def _stay_idle(self) -> Sequence[EndpointEvent]:
        if self._position - self._floor >= LONG_SILENCE:
            self._start_afresh(_on_grid(self._position - LEAD - WARM_UP))
        return ()

    def _begin(self, at: int) -> Sequence[EndpointEvent]:
        self._state = _State.ONSET
        self._start = max(self._floor, at - LEAD)
        self._speech = 0
        return self._count_speech()

    def _count_speech(self) -> Sequence[EndpointEvent]:
        self._speech += self._window
        if self._speech < self._min_speech:
            return ()
        self._state = _State.SPEECH
        self._history = []
        self._history_start = self._position
        return (SpeechStarted(self._start, self._floor),)

    @property
    def _min_speech(self) -> int:
        return self.options.min_speech_ms * SAMPLE_RATE // 1000

    def _resume(self) -> Sequence[EndpointEvent]:
        self._state = _State.SPEECH
        events: tuple[EndpointEvent, ...] = (SpeechResumed(),) if self._pause_end else ()
        return (*events, *self._cut_if_long())

    def _wait(self) -> Sequence[EndpointEvent]:
        silence_ms = (self._position - self._pause_start) * 1000 / SAMPLE_RATE
        if self._pause_end is None:
            if self._pause_start + self._tail > self._position:
                return ()
            self._pause_end = self._tail_end
            return (SpeechPaused(self._pause_end),)  # to be judged before it can end
        if silence_ms >= self._needed_silence_ms:
            return (self._close(self._pause_end, self._pause_start),)
        return ()

    @property
    def _needed_silence_ms(self) -> float:
        options = self.options
        more_ms = max(0, options.max_silence_ms - options.silence_ms)
        return options.silence_ms + (1 - self._finished) * more_ms

    @property
    def _tail(self) -> int:
        half = self.options.silence_ms * SAMPLE_RATE // 2000
        return min(TAIL, -(-half // self._window) * self._window)

    @property
    def _tail_end(self) -> int:
        return _on_grid(self._pause_start + self._tail)

    def _close(self, end: int, speech_end: int) -> SpeechEnded:
        self._start_afresh(end)
        return SpeechEnded(end, speech_end)

    def _cut_if_long(self) -> Sequence[EndpointEvent]:
        limit = self.options.max_utterance_ms * SAMPLE_RATE // 1000
        if self._position - self._start < limit:
            return ()
        # Whoever is in a pause is about to be done anyway; whoever speaks is cut where the voice
        # was weakest, so that enough is left to open the next utterance.
        first = max(0, (self._start + limit // 2 - self._history_start) // self._window)
        rest = max(1, -(-self._min_speech // self._window))
        cut = _weakest(self._history, first, max(first, len(self._history) - rest))
        position = _on_grid(self._history_start + cut * self._window)
        return (self._close(position, position),)


def _on_grid(position: int) -> int:
    return position - position % GRID


def _weakest(probabilities: Sequence[float], first: int, last: int) -> int:
    """Index of the middle of the three windows with the least speech, from `first` to `last`."""

    def mean(i: int) -> float:
        around = probabilities[max(0, i - 1) : i + 2]
        return sum(around) / len(around)

    return min(range(first, last + 1), key=lambda i: (mean(i), -i))
