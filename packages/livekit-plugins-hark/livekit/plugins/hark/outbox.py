"""What a stream has to say, in order, on whatever connection it has."""

from __future__ import annotations

from collections import deque

from hark_protocol import PCM16_BYTES_PER_SAMPLE, Audio, Close, Flush

from .replay import ReplayBuffer


class Outbox:
    """Audio, flushes and the end of a stream; said again on a new connection until done with.

    A flush stands at a position of the audio: it goes out after the audio before it and ahead of
    what follows.
    """

    def __init__(self, *, capacity: int, headroom: int) -> None:
        """Start empty and not connected.

        Args:
            capacity: samples kept at most until they are finalised, or as context.
            headroom: samples kept beyond that while a new connection is opened and catches up: it
                was told where its audio starts, so nothing after that may go.
        """
        self._capacity = capacity
        self._headroom = headroom
        self._replay = ReplayBuffer()
        self._finalized = 0
        self._context = 0  # where the audio begins that helps to recognise what is not finalised
        self._least_context = 0  # what is before it was heard with other options
        self._flushes: deque[tuple[int, int]] = deque()  # (id, position), both rising
        self._last_flush = 0
        self._sent_flush = 0
        self._sent = 0
        self._start = 0  # from where on this connection's audio is new
        self._ended = False
        self._close_sent = False
        self._is_catching_up = False

    @property
    def sent(self) -> int:
        """Position up to which audio went out on this connection."""
        return self._sent

    @property
    def is_cut_off(self) -> bool:
        """Whether audio was given up before it was sent.

        This connection can then no longer count samples as the stream does.
        """
        return self._sent < self._replay.start

    @property
    def is_saying_context(self) -> bool:
        """Whether what goes out next was done with on an earlier connection."""
        return self._sent < self._start

    @property
    def is_done(self) -> bool:
        """Whether the stream has ended and nothing of it needs an answer."""
        return self._ended and not self._flushes and self._finalized == self._replay.end

    @property
    def is_closing(self) -> bool:
        """Whether `close` went out on this connection: nothing may follow it."""
        return self._close_sent

    @property
    def has_more(self) -> bool:
        """Whether something may be left to say; False if there is nothing.

        While a connection catches up it is for the next look to find that it has.
        """
        has_audio = self._sent < self._replay.end
        return has_audio or self._is_catching_up or bool(self._flushes) or self._ended

    def push_audio(self, pcm: bytes) -> int:
        """Add audio; gives how many samples had to go that are not finalised."""
        self._replay.append(pcm)
        excess = self._replay.shrink(self._capacity + self._headroom * self._is_catching_up)
        return min(excess, max(0, self._replay.start - self._finalized)) if excess else 0

    def push_flush(self) -> int:
        """Add a flush; gives its id.

        One that follows another without audio in between is the same one.
        """
        if not self._flushes or self._flushes[-1][1] != self._replay.end:
            self._last_flush += 1
            self._flushes.append((self._last_flush, self._replay.end))
        return self._last_flush

    @property
    def end_position(self) -> int:
        """Position after the newest audio."""
        return self._replay.end

    def end(self) -> None:
        """Nothing will follow."""
        self._ended = True

    def connect(self) -> tuple[int, int]:
        """Begin anew, for a new connection.

        Returns:
            The position from which its audio goes on, and that of the first audio that will be
            sent: before it, if there is context.
        """
        self._replay.shrink(self._capacity)
        self._start = start = max(self._finalized, self._replay.start)
        self._sent = self._context if self._replay.start <= self._context <= start else start
        self._sent_flush = 0
        self._close_sent = False
        self._is_catching_up = True
        return start, self._sent

    def disconnect(self) -> None:
        """The connection is over, or did not come about."""
        self._is_catching_up = False

    def next_message(self, most: int) -> Audio | Flush | Close | None:
        """The next message for this connection; None while there is nothing to say.

        Not to be called while `is_cut_off`.

        Args:
            most: samples in an audio message at most.
        """
        flush = self._next_flush() if self._flushes else None
        end = self._replay.end
        limit = end if flush is None else max(flush[1], self._sent)
        if self.is_saying_context:
            limit = self._start  # what other options are for begins with a message of its own
        if self._sent < limit:
            pcm = self._replay.read(self._sent, min(limit - self._sent, most))
            self._sent += len(pcm) // PCM16_BYTES_PER_SAMPLE
            return Audio(pcm)
        if self._sent == end:
            self._is_catching_up = False
        if flush is not None:
            self._sent_flush = flush[0]
            return Flush(flush[0])
        if self._ended and not self._close_sent:
            self._close_sent = True
            return Close()
        return None

    def _next_flush(self) -> tuple[int, int] | None:
        return next((flush for flush in self._flushes if flush[0] > self._sent_flush), None)

    def forget(self, finalized: int, context: int | None = None) -> None:
        """All audio before `finalized` is done with, but from `context` on it may help again."""
        self._finalized = max(self._finalized, min(finalized, self._sent))
        self._context = self._finalized
        if context is not None and self._least_context <= context <= self._finalized:
            self._context = context
        self._let_go()

    def forget_context(self) -> None:
        """The audio so far is no help any more: what follows is heard with other options."""
        self._least_context = self._replay.end
        self._context = self._finalized
        self._let_go()

    def _let_go(self) -> None:
        # What this connection was told to expect, context too, it still has to get.
        self._replay.forget(min(self._context, self._sent))

    def flushed(self, flush_id: int) -> None:
        """This flush, and any before it, has its answer."""
        while self._flushes and self._flushes[0][0] <= flush_id:
            self._flushes.popleft()
