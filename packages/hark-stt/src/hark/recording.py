"""The recording to try Hark on: it comes with the default model, and its text is known."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hark.errors import AudioError

TITLE = "A Tale of Two Cities, Charles Dickens, 1859: the opening, read aloud"

# The public-domain text, word for word as it is spoken: Whisper tiny.en (beam 5) hears exactly
# these 119 words in the file, Moonshine tiny-en hears 113 of them and no passage besides.
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was "
    "the age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it "
    "was the season of Light, it was the season of Darkness, it was the spring of hope, it "
    "was the winter of despair, we had everything before us, we had nothing before us, we "
    "were all going direct to Heaven, we were all going direct the other way. In short, the "
    "period was so far like the present period, that some of its noisiest authorities "
    "insisted on its being received, for good or for evil, in the superlative degree of "
    "comparison only."
)


def path() -> Path:
    """Where the recording is: 44 s, mono, 48 kHz.

    Raises:
        AudioError: the wheel that brings it is not installed whole.
    """
    # The wheel is looked up and never imported: Hark uses its files, not its code.
    package = find_spec("moonshine_voice")
    if package is not None and package.origin is not None:
        recording = Path(package.origin).parent / "assets" / "two_cities.wav"
        if recording.is_file():
            return recording
    raise AudioError(
        "the recording to try Hark on is missing; reinstall it: "
        "pip install --force-reinstall moonshine-voice==0.1.0"
    )
