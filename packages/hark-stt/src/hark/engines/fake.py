"""A recogniser without a model: for tests, and for trying a server out.

It counts: an utterance gets one number word for each 0.3 s of its audio, whatever was said. So its
text depends on the audio's length alone, grows as audio comes, and shows lost, repeated or
reordered audio at a glance.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from hark.audio import PcmArray
from hark.errors import ClosedError
from hark.recognizer import (
    Capabilities,
    Context,
    Hypothesis,
    RecognitionOptions,
    RecognitionStream,
    Word,
)

WORD_SAMPLES = 4_800
"""0.3 s of audio make a word: about the pace of speech."""

_ONE_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
"""
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ONES = _ONE_WORDS.split()
_TENS = _TEN_WORDS.split()

_CONFIDENCE = 0.5


class FakeStream:
    """Counts the samples of one utterance."""

    def __init__(self, options: RecognitionOptions) -> None:
        self.options = options
        self.length = 0

    def push(self, samples: PcmArray) -> None:
        """Append audio, shape (n,)."""
        self.length += len(samples)


class FakeRecognizer:
    """Says "one two three ..." for any audio, one word for each 0.3 s.

    With keyterms, the first of them is said instead of "one", so that their way to the engine can
    be tested.
    """

    def __init__(self, *, decode_delay_s: float = 0.0, max_batch: int = 1) -> None:
        """Make one.

        Args:
            decode_delay_s: how long each `decode` call blocks.
            max_batch: how many streams one call may carry.
        """
        self._delay_s = decode_delay_s
        self._max_batch = max_batch
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Everything but streaming and language detection."""
        return Capabilities(
            languages=("en",),
            words=True,
            confidence=True,
            keyterms=True,
            max_batch=self._max_batch,
        )

    def warm_up(self) -> None:
        """Do nothing: there is nothing to warm."""

    def open_stream(
        self,
        options: RecognitionOptions,
        *,
        previous: Hypothesis | None = None,
        context: Context | None = None,
    ) -> FakeStream:
        """Open an utterance; the previous hypothesis makes no difference."""
        return FakeStream(options)

    def decode(
        self, streams: Sequence[RecognitionStream], *, final: Sequence[bool], threads: int = 1
    ) -> list[Hypothesis]:
        """Count the words of each stream; interim or final makes no difference.

        Raises:
            ClosedError: the recogniser is closed.
        """
        if self._closed:
            raise ClosedError("this recogniser is closed")
        if self._delay_s:
            time.sleep(self._delay_s)
        return [_hypothesis(stream) for stream, _ in zip(streams, final, strict=True)]

    def close(self) -> None:
        """Refuse further decodes. Idempotent."""
        self._closed = True


def _hypothesis(stream: RecognitionStream) -> Hypothesis:
    if not isinstance(stream, FakeStream):
        raise TypeError("the stream was opened by another recogniser")
    numbers = range(1, stream.length // WORD_SAMPLES + 1)
    texts = [_number_word(number) for number in numbers]
    if texts and stream.options.keyterms:
        texts[0] = stream.options.keyterms[0]
    words = tuple(
        Word(text, start=i * WORD_SAMPLES, end=(i + 1) * WORD_SAMPLES, confidence=_CONFIDENCE)
        for i, text in enumerate(texts)
    )
    return Hypothesis(
        text=" ".join(texts),
        confidence=_CONFIDENCE if texts else None,
        language="en",
        words=words if stream.options.words else None,
    )


def _number_word(number: int) -> str:
    """Name a number from 0 on in one word: 21 is "twentyone", 100 starts again at "zero"."""
    number %= 100
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (_ONES[ones] if ones else "")
