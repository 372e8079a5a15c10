from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hark_protocol import (
    LEAST_MAX_MESSAGE_BYTES,
    Audio,
    Capabilities,
    ClientMessage,
    Close,
    Closed,
    Config,
    Connection,
    Draining,
    Endpointing,
    Error,
    Final,
    Flush,
    Flushed,
    Interim,
    Limits,
    LocalProtocolError,
    Message,
    Preflight,
    Progress,
    ProtocolError,
    Ready,
    RemoteProtocolError,
    Role,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
    encode,
)

CAPABILITIES = Capabilities(("en",), True, True, False, False, False)
READY = Ready("s", "m", "en", CAPABILITIES, Limits(LEAST_MAX_MESSAGE_BYTES, 0, 60.0))
CONFIG = Config(version=1)
ERROR = Error.from_code("internal", "m")


def audio(samples: int) -> Audio:
    return Audio(bytes(2 * samples))


def is_from_client(message: Message) -> bool:
    return isinstance(message, (Config, Audio, Flush, Close))


@dataclass
class ConnectionPair:
    """Both ends of one session, and the messages that are on their way between them."""

    client: Connection[ClientMessage, ServerMessage] = field(
        default_factory=lambda: Connection(Role.CLIENT)
    )
    server: Connection[ServerMessage, ClientMessage] = field(
        default_factory=lambda: Connection(Role.SERVER)
    )
    to_server: deque[tuple[Message, str | bytes]] = field(default_factory=deque)
    to_client: deque[tuple[Message, str | bytes]] = field(default_factory=deque)

    def send(self, message: Message) -> None:
        """Send without delivering."""
        if is_from_client(message):
            self.to_server.append((message, self.client.send(message)))  # type: ignore[arg-type]
        else:
            self.to_client.append((message, self.server.send(message)))  # type: ignore[arg-type]

    def deliver_to_server(self) -> None:
        message, data = self.to_server.popleft()
        assert self.server.receive(data) == message

    def deliver_to_client(self) -> None:
        message, data = self.to_client.popleft()
        assert self.client.receive(data) == message

    def say(self, *messages: Message) -> ConnectionPair:
        """Send and deliver, one after the other."""
        for message in messages:
            self.send(message)
            if is_from_client(message):
                self.deliver_to_server()
            else:
                self.deliver_to_client()
        return self

    def refuse(self, message: Message, problem: str, code: str = "unexpected_message") -> None:
        """Check that neither end lets this message through, and that neither is changed by it."""
        before = self.view()
        sender, receiver = self.client, self.server
        if not is_from_client(message):
            sender, receiver = receiver, sender  # type: ignore[assignment]
        with pytest.raises(LocalProtocolError) as ours:
            sender.send(message)  # type: ignore[arg-type]
        with pytest.raises(RemoteProtocolError) as theirs:
            receiver.receive(encode(message))
        assert problem in str(ours.value)
        assert problem in str(theirs.value)
        assert theirs.value.code == code
        assert self.view() == before

    def view(self) -> tuple[tuple[object, ...], ...]:
        return tuple(
            (
                end.ready,
                end.is_open,
                end.is_closing,
                end.is_closed,
                end.is_draining,
                end.has_open_utterance,
                end.sample_rate,
                end.start_sample,
                end.audio_end,
                end.finalized,
            )
            for end in (self.client, self.server)
        )


def speaking() -> ConnectionPair:
    """Utterance 1 is open since sample 100; 1000 samples were sent."""
    return ConnectionPair().say(CONFIG, READY, audio(1000), SpeechStarted(1, 100))


# --- whole conversations

CONVERSATION: Sequence[Message] = (
    Config(version=1, sample_rate=8_000, words=True),
    READY,
    audio(1_000),
    Progress(1_000, 0),
    SpeechStarted(1, 200),
    audio(1_000),
    Interim(1, 200, 2_000, "it was", stable=2),
    Config(language=None, endpointing=Endpointing(silence_ms=300)),
    Preflight(1, 200, 1_800, "It was the", words=(Word("It", 200, 300), Word("was", 300, 300))),
    Interim(1, 200, 2_000, "it was the best"),
    Flush(3),
    Draining(),
    Progress(2_000, 200),
    Final(1, 200, 1_900, "It was the best.", words=(Word("It", 200, 1_900),)),
    Progress(2_000, 1_900),
    SpeechEnded(1, 1_800),
    Flushed(3),
    SpeechStarted(4, 1_900),
    Final(4, 1_900, 1_900, ""),
    SpeechEnded(4, 1_900),
    Flush(4),
    Flush(9),
    Flushed(4),
    Flushed(9),
    Close(),
    Progress(2_000, 2_000),
    Closed(),
)


def test_a_whole_conversation_passes_through_both_ends() -> None:
    pair = ConnectionPair().say(*CONVERSATION)
    for end in (pair.client, pair.server):
        assert end.is_closed
        assert not end.is_open
        assert end.sample_rate == 8_000
        assert end.audio_end == end.finalized == 2_000


def test_the_client_need_not_wait_for_ready() -> None:
    pair = ConnectionPair()
    for message in (CONFIG, audio(10), Config(words=False), Flush(1), audio(10), Close()):
        pair.send(message)
    while pair.to_server:
        pair.deliver_to_server()
    pair.say(READY, Flushed(1), Closed())
    assert pair.client.is_closed


def test_a_resumed_stream_goes_on_counting_at_its_start_sample() -> None:
    config = Config(version=1, start_sample=5_000)
    pair = ConnectionPair().say(config, READY, audio(100))
    pair.refuse(Progress(4_999, 4_999), "progress.received went back")
    pair.refuse(Progress(5_100, 4_999), "progress.finalized went back")
    pair.refuse(SpeechStarted(1, 4_999), "in audio that was finalized")
    pair.say(Progress(5_100, 5_000))
    pair.say(SpeechStarted(1, 5_000), Final(1, 5_000, 5_100, "a"), SpeechEnded(1, 5_100))
    assert pair.client.start_sample == pair.server.start_sample == 5_000
    assert pair.client.audio_end == 5_100


def test_a_resumed_stream_may_begin_with_context() -> None:
    config = Config(version=1, start_sample=5_000, context_sample=4_000)
    pair = ConnectionPair().say(config, READY, audio(100))
    pair.refuse(Progress(3_999, 5_000), "progress.received went back")
    pair.refuse(Progress(4_100, 5_001), "progress.finalized is after received")
    pair.refuse(SpeechStarted(1, 4_050), "in audio that was finalized")
    pair.say(Progress(4_100, 5_000, 4_000), audio(1_000))
    pair.say(SpeechStarted(1, 5_000), Final(1, 5_000, 5_100, "a"), SpeechEnded(1, 5_100))
    assert pair.client.audio_end == 5_100


def test_context_is_before_the_audio_that_is_new() -> None:
    config = Config(version=1, start_sample=5_000, context_sample=5_001)
    ConnectionPair().refuse(config, "config.context_sample is after its start_sample")


def test_context_never_goes_back_and_is_never_after_what_is_finalized() -> None:
    pair = ConnectionPair().say(CONFIG, READY, audio(100), Progress(50, 40, 30))
    assert pair.client.context == pair.server.context == 30
    pair.refuse(Progress(50, 40, 29), "progress.context went back")
    pair.refuse(Progress(50, 40, 41), "progress.context is after finalized")
    pair.say(Progress(50, 40))
    pair.refuse(Progress(50, 40, 39), "progress.context went back")


def test_the_properties_follow_the_session() -> None:
    pair = ConnectionPair()
    assert pair.client.ready is None
    assert not pair.client.is_open
    pair.say(CONFIG, READY)
    assert pair.client.ready == pair.server.ready == READY
    assert pair.client.is_open
    assert not pair.client.has_open_utterance
    pair.say(audio(10), SpeechStarted(0, 0))
    assert pair.client.has_open_utterance
    pair.say(Final(0, 0, 10, ""))
    assert pair.client.has_open_utterance
    pair.say(SpeechEnded(0, 9), Progress(10, 10), Draining())
    assert not pair.client.has_open_utterance
    assert pair.client.finalized == 10
    assert pair.client.is_draining
    pair.say(Close())
    assert pair.client.is_closing
    assert pair.client.is_open
    assert not pair.client.is_closed
    assert pair.client.role is Role.CLIENT


# --- the order of messages

EVERY_SERVER_MESSAGE: Sequence[ServerMessage] = (
    READY,
    SpeechStarted(5, 1_000),
    Interim(1, 100, 1_000, "a"),
    Preflight(1, 100, 1_000, "a"),
    Final(1, 100, 1_000, "a"),
    SpeechEnded(1, 100),
    Progress(1_000, 100),
    Flushed(1),
    Draining(),
    Closed(),
    ERROR,
)
ANY_TIME = (Progress, Draining, Error)

LEGAL_IN = {
    "before config": ([], (Error,)),
    "before ready": ([CONFIG], (Ready, Error)),
    "while idle": ([CONFIG, READY, audio(1_000)], (SpeechStarted, *ANY_TIME)),
    "with a flush open": (
        [CONFIG, READY, audio(1_000), Flush(1)],
        (SpeechStarted, Flushed, *ANY_TIME),
    ),
    "while speaking": (
        [CONFIG, READY, audio(1_000), SpeechStarted(1, 100), Flush(1)],
        (Interim, Preflight, Final, *ANY_TIME),
    ),
    "after a final": (
        [CONFIG, READY, audio(1_000), SpeechStarted(1, 50), Final(1, 50, 100, "a"), Flush(1)],
        (SpeechEnded, *ANY_TIME),
    ),
    "after close": ([CONFIG, READY, audio(1_000), Close()], (SpeechStarted, Closed, *ANY_TIME)),
    "after close and flush": (
        [CONFIG, READY, audio(1_000), Flush(1), Close()],
        (SpeechStarted, Flushed, *ANY_TIME),
    ),
    "after closed": ([CONFIG, READY, audio(1_000), Close(), Closed()], ()),
    "after error": ([CONFIG, READY, ERROR], ()),
}


@pytest.mark.parametrize("message", EVERY_SERVER_MESSAGE, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("state", LEGAL_IN)
def test_a_server_may_send_this_message_in_these_states_only(
    state: str, message: ServerMessage
) -> None:
    so_far, legal = LEGAL_IN[state]
    pair = ConnectionPair().say(*so_far)
    if isinstance(message, legal):
        pair.say(message)
    else:
        pair.refuse(message, "")


EVERY_CLIENT_MESSAGE: Sequence[ClientMessage] = (Config(words=True), audio(1), Flush(9), Close())


@pytest.mark.parametrize("message", EVERY_CLIENT_MESSAGE, ids=lambda m: type(m).__name__)
def test_a_client_begins_with_config(message: ClientMessage) -> None:
    pair = ConnectionPair()
    if isinstance(message, Config):
        pair.refuse(message, "config.version must be 1", "unsupported_version")
    else:
        pair.refuse(message, "is not legal before the first config")


@pytest.mark.parametrize("message", EVERY_CLIENT_MESSAGE, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("after", [Close(), Closed()], ids=lambda m: type(m).__name__)
def test_a_client_sends_nothing_after_close(message: ClientMessage, after: Message) -> None:
    pair = ConnectionPair().say(CONFIG, READY, Close())
    if isinstance(after, Closed):
        pair.say(after)
    pair.refuse(message, "is not legal after close")


@pytest.mark.parametrize("message", EVERY_CLIENT_MESSAGE, ids=lambda m: type(m).__name__)
def test_a_client_may_send_anything_while_the_server_speaks(message: ClientMessage) -> None:
    speaking().say(message)


# --- config


@pytest.mark.parametrize("config", [Config(), Config(version=0), Config(version=2)])
def test_the_first_config_names_our_version(config: Config) -> None:
    ConnectionPair().refuse(config, "config.version must be 1", "unsupported_version")


def test_another_version_is_answered_with_its_own_close_code() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Connection(Role.SERVER).receive('{"type":"config","version":2,"from_the_future":true}')
    assert caught.value.close_code == 1003


@pytest.mark.parametrize(
    "config",
    [
        Config(version=1),
        Config(model="m"),
        Config(sample_rate=16_000),
        Config(start_sample=0),
        Config(context_sample=0),
        Config(words=True, sample_rate=8_000),
    ],
)
def test_a_later_config_leaves_alone_what_is_fixed(config: Config) -> None:
    pair = ConnectionPair().say(CONFIG)
    pair.refuse(config, "may stand in the first config only")
    pair.say(READY).refuse(config, "may stand in the first config only")


# --- positions


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Interim(2, 100, 200, "a"), "interim.utterance is not the open one"),
        (Interim(1, 101, 200, "a"), "interim.start differs"),
        (Interim(1, 100, 99, "a"), "interim.end is before its start"),
        (Interim(1, 100, 1_001, "a"), "interim.end is after the audio"),
        (Interim(1, 100, 200, "été", stable=4), "interim.stable is more than its text"),
        (Preflight(0, 100, 200, "a"), "preflight.utterance is not the open one"),
        (Preflight(1, 99, 200, "a"), "preflight.start differs"),
        (Final(2, 100, 200, "a"), "final.utterance is not the open one"),
        (Final(1, 100, 1_001, "a"), "final.end is after the audio"),
        (Final(1, 100, 200, "a", words=(Word("a", 99, 150),)), "final.words are not in order"),
        (Final(1, 100, 200, "a", words=(Word("a", 150, 149),)), "final.words are not in order"),
        (Final(1, 100, 200, "a", words=(Word("a", 150, 201),)), "final.words are not in order"),
        (
            Final(1, 100, 200, "a b", words=(Word("a", 150, 160), Word("b", 149, 160))),
            "final.words are not in order",
        ),
        (Progress(1_001, 0), "progress.received is after the audio"),
        (Progress(99, 100), "progress.finalized is after received"),
        (Progress(1_000, 101), "inside an utterance that has no final yet"),
    ],
)
def test_while_an_utterance_is_open(message: Message, problem: str) -> None:
    pair = speaking()
    pair.refuse(message, problem)
    pair.say(Interim(1, 100, 1_000, "été", stable=3), Final(1, 100, 200, "a"))


def test_speech_ends_inside_its_utterance() -> None:
    pair = speaking().say(Final(1, 100, 200, "a"))
    pair.refuse(SpeechEnded(2, 150), "speech_ended.utterance is not the open one")
    pair.refuse(SpeechEnded(1, 99), "speech_ended.end is outside its utterance")
    pair.refuse(SpeechEnded(1, 201), "speech_ended.end is outside its utterance")
    pair.say(SpeechEnded(1, 200))


def test_the_next_utterance_has_a_new_id_and_new_audio() -> None:
    pair = speaking().say(Final(1, 100, 200, "a"), SpeechEnded(1, 150))
    pair.refuse(SpeechStarted(1, 300), "speech_started.utterance must rise")
    pair.refuse(SpeechStarted(2, 199), "speech_started.start is in audio that was finalized")
    pair.say(Progress(1_000, 250))
    pair.refuse(SpeechStarted(2, 249), "speech_started.start is in audio that was finalized")
    pair.refuse(SpeechStarted(2, 1_001), "speech_started.start is after the audio")
    pair.say(SpeechStarted(2, 250))


def test_progress_never_goes_back() -> None:
    pair = ConnectionPair().say(CONFIG, READY, audio(100), Progress(50, 40))
    pair.refuse(Progress(49, 40), "progress.received went back")
    pair.refuse(Progress(50, 39), "progress.finalized went back")
    pair.say(Progress(50, 40))


def test_a_final_finalizes_its_audio_even_if_no_progress_comes() -> None:
    pair = speaking().say(Progress(1_000, 50), Final(1, 100, 200, "a"))
    assert pair.client.finalized == pair.server.finalized == 200
    pair.refuse(Progress(1_000, 199), "progress.finalized went back")
    pair.say(Progress(1_000, 200))


# --- flush, draining


def test_the_ids_of_flushes_rise() -> None:
    pair = ConnectionPair().say(CONFIG, READY, Flush(2))
    pair.refuse(Flush(2), "flush.id must rise")
    pair.refuse(Flush(1), "flush.id must rise")
    pair.say(Flushed(2))
    pair.refuse(Flush(2), "flush.id must rise")


def test_flushes_are_answered_in_their_order() -> None:
    pair = ConnectionPair().say(CONFIG, READY)
    pair.refuse(Flushed(1), "oldest unanswered flush")
    pair.say(Flush(1), Flush(5))
    pair.refuse(Flushed(5), "oldest unanswered flush")
    pair.say(Flushed(1), Flushed(5))
    pair.refuse(Flushed(5), "oldest unanswered flush")


def test_draining_comes_once() -> None:
    pair = speaking().say(Draining())
    pair.refuse(Draining(), "draining comes once")
    pair.say(Final(1, 100, 100, ""))
    pair.refuse(Draining(), "draining comes once")


# --- size


def test_a_message_larger_than_the_limit_is_refused_whole() -> None:
    server = Connection(Role.SERVER, max_message_bytes=100)
    server.receive(encode(CONFIG))
    server.receive(bytes(100))
    for data in (bytes(102), " " * 101, "é" * 51):
        with pytest.raises(RemoteProtocolError) as caught:
            server.receive(data)
        assert caught.value.code == "message_too_large"
        assert caught.value.close_code == 1009
    assert server.audio_end == 50


def test_a_client_keeps_to_what_the_server_announced() -> None:
    pair = ConnectionPair()
    pair.say(CONFIG)
    largest = audio(LEAST_MAX_MESSAGE_BYTES // 2)
    pair.say(largest)
    with pytest.raises(LocalProtocolError, match="audio is larger than 65536 bytes"):
        pair.send(audio(LEAST_MAX_MESSAGE_BYTES // 2 + 1))
    pair.say(Ready("s", "m", None, CAPABILITIES, Limits(100_000, 0, 1.0)), audio(50_000))
    with pytest.raises(LocalProtocolError, match="audio is larger than 100000 bytes"):
        pair.send(audio(50_001))
    assert pair.client.audio_end == LEAST_MAX_MESSAGE_BYTES // 2 + 50_000


def test_a_server_sends_nothing_larger_than_every_client_takes() -> None:
    pair = speaking()
    with pytest.raises(LocalProtocolError, match="final is larger than 1048576 bytes"):
        pair.send(Final(1, 100, 200, "é" * 600_000))
    pair.say(Final(1, 100, 200, "é" * 500_000))


# --- crossing messages


def test_a_client_that_has_not_seen_the_error_yet_may_go_on() -> None:
    pair = speaking()
    pair.send(ERROR)
    for message in (audio(10), Flush(1), Config(words=True), Close()):
        pair.send(message)
    while pair.to_server:
        pair.deliver_to_server()
    pair.deliver_to_client()
    assert pair.client.is_closed
    assert pair.server.is_closed


def test_what_follows_a_refused_config_is_no_second_mistake() -> None:
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    with pytest.raises(RemoteProtocolError):
        server.receive('{"type":"config","version":1,"no_such_option":true}')
    error = server.send(Error.from_code("invalid_message", "m"))
    assert server.receive(bytes(20)) == audio(10)
    assert server.receive(encode(Flush(1))) == Flush(1)
    client.send(CONFIG)
    client.receive(error)
    assert client.is_closed


def test_a_client_whose_sender_learns_late_of_the_error_may_go_on_sending() -> None:
    pair = speaking().say(ERROR)
    pair.say(audio(10), Close())
    pair.say(audio(10))


def test_malformed_data_is_refused_even_after_an_error() -> None:
    pair = speaking().say(ERROR)
    with pytest.raises(RemoteProtocolError):
        pair.server.receive(b"\x00")


def test_a_server_can_still_finish_after_a_mistake_of_the_client() -> None:
    pair = speaking()
    with pytest.raises(RemoteProtocolError):
        pair.server.receive("nonsense")
    pair.say(Final(1, 100, 200, "a"), SpeechEnded(1, 200), Error.from_code("invalid_message", "m"))


# --- properties

# How fast examples are drawn says more about the machine than about the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

small = st.integers(0, 5)
texts = st.sampled_from(["", "a", "ab"])
word_lists = st.none() | st.lists(st.builds(Word, texts, small, small), max_size=2).map(tuple)
unset_or_one = st.builds(Config).map(lambda c: c.version) | st.just(1)
any_message: st.SearchStrategy[Message] = st.one_of(
    st.just(CONFIG),
    st.just(READY),
    st.builds(Config, version=unset_or_one, words=st.just(True)),
    small.map(audio),
    st.builds(Flush, small),
    st.just(Close()),
    st.builds(SpeechStarted, small, small),
    st.builds(Interim, small, small, small, texts, small, words=word_lists),
    st.builds(Preflight, small, small, small, texts, words=word_lists),
    st.builds(Final, small, small, small, texts, words=word_lists),
    st.builds(SpeechEnded, small, small),
    st.builds(Progress, small, small),
    st.builds(Flushed, small),
    st.just(Draining()),
    st.just(Closed()),
    st.just(ERROR),
)


def attempt(action: Callable[[], object]) -> ProtocolError | None:
    try:
        action()
    except ProtocolError as error:
        return error
    return None


@settings(unhurried, max_examples=200)
@given(st.lists(any_message, max_size=30), st.booleans())
def test_both_ends_agree_on_what_is_legal(messages: list[Message], begins_well: bool) -> None:
    pair = ConnectionPair()
    if begins_well:
        pair.say(CONFIG, READY, audio(5))
    for message in messages:
        sender, receiver = pair.client, pair.server
        if not is_from_client(message):
            sender, receiver = receiver, sender  # type: ignore[assignment]
        ours = attempt(partial(sender.send, message))  # type: ignore[arg-type]
        theirs = attempt(partial(receiver.receive, encode(message)))
        if ours is None:
            assert theirs is None
        else:
            assert isinstance(ours, LocalProtocolError)
            assert isinstance(theirs, RemoteProtocolError)
            assert str(ours) == str(theirs)
    client_view, server_view = pair.view()
    assert client_view == server_view


wire_data = st.text(max_size=20) | st.binary(max_size=20) | any_message.map(encode)


@settings(unhurried, max_examples=200)
@given(st.lists(wire_data, max_size=20))
def test_random_data_raises_nothing_but_remote_protocol_errors(stream: list[str | bytes]) -> None:
    for end in (Connection(Role.CLIENT), Connection(Role.SERVER)):
        for data in stream:
            error = attempt(partial(end.receive, data))
            assert error is None or isinstance(error, RemoteProtocolError)


class CrossingMessages(RuleBasedStateMachine):
    """A legal client and a legal server, with any delay on either way: nobody is ever refused."""

    def __init__(self) -> None:
        super().__init__()
        self.connect()

    def connect(self) -> None:
        self.pair = ConnectionPair()
        self.next_flush = 0
        self.next_utterance = 0
        self.start = 0  # of the open utterance
        self.floor = 0  # no utterance may start before
        self.has_final = False
        self.unanswered: deque[int] = deque()  # flushes, as the server knows them

    # What each end may do depends on what it has itself seen, and on nothing else.

    def client_may_send(self) -> bool:
        client = self.pair.client
        return self.next_flush > 0 and not client.is_closing and not client.is_closed

    def server_may_send(self) -> bool:
        return self.pair.server.is_open

    @precondition(lambda self: self.pair.client.is_closed and not self.pair.to_server)
    @rule()
    def reconnect(self) -> None:
        assert self.pair.server.is_closed
        assert not self.pair.to_client, "nothing follows closed or error"
        self.connect()

    @precondition(lambda self: self.next_flush == 0 and not self.pair.client.is_closed)
    @rule(start_sample=st.integers(0, 9))
    def begin(self, start_sample: int) -> None:
        self.pair.send(Config(version=1, start_sample=start_sample))
        self.next_flush = 1
        self.floor = start_sample

    @precondition(client_may_send)
    @rule(samples=st.integers(0, 9))
    def speak(self, samples: int) -> None:
        self.pair.send(audio(samples))

    @precondition(client_may_send)
    @rule()
    def reconfigure(self) -> None:
        self.pair.send(Config(language=None))

    @precondition(client_may_send)
    @rule(step=st.integers(1, 3))
    def flush(self, step: int) -> None:
        self.next_flush += step
        self.pair.send(Flush(self.next_flush))

    @precondition(client_may_send)
    @rule(really=st.integers(0, 3))
    def close(self, really: int) -> None:
        if really == 0:  # seldom: not much can happen afterwards
            self.pair.send(Close())

    @precondition(lambda self: self.pair.to_server)
    @rule()
    def deliver_to_server(self) -> None:
        message = self.pair.to_server[0][0]
        self.pair.deliver_to_server()
        if isinstance(message, Flush):
            self.unanswered.append(message.id)
        server = self.pair.server
        if isinstance(message, Config) and server.ready is None and not server.is_closed:
            self.pair.send(READY)

    @precondition(lambda self: self.pair.to_client)
    @rule()
    def deliver_to_client(self) -> None:
        self.pair.deliver_to_client()

    @precondition(lambda self: self.server_may_send() and not self.pair.server.has_open_utterance)
    @rule(data=st.data())
    def start_utterance(self, data: st.DataObject) -> None:
        end = self.pair.server.audio_end
        self.start = data.draw(st.integers(self.floor, end))
        self.pair.send(SpeechStarted(self.next_utterance, self.start))
        self.next_utterance += 1
        self.has_final = False

    @precondition(lambda self: self.server_may_send() and self.pair.server.has_open_utterance)
    @rule(data=st.data(), kind=st.sampled_from([Interim, Preflight, Final]))
    def recognise(
        self, data: st.DataObject, kind: type[Interim] | type[Preflight] | type[Final]
    ) -> None:
        utterance = self.next_utterance - 1
        end = data.draw(st.integers(self.start, self.pair.server.audio_end))
        if self.has_final:
            self.pair.send(SpeechEnded(utterance, self.start))
            return
        self.pair.send(kind(utterance, self.start, end, "a", words=(Word("a", self.start, end),)))
        if kind is Final:
            self.has_final = True
            self.floor = end

    @precondition(lambda self: self.server_may_send())
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        is_open = self.pair.server.has_open_utterance and not self.has_final
        end = self.pair.server.audio_end
        self.floor = data.draw(st.integers(self.floor, self.start if is_open else end))
        self.pair.send(Progress(end, self.floor))

    @precondition(lambda self: self.server_may_send() and not self.pair.server.has_open_utterance)
    @rule()
    def answer(self) -> None:
        if self.unanswered:
            self.pair.send(Flushed(self.unanswered.popleft()))
        elif self.pair.server.is_closing:
            self.pair.send(Closed())

    @precondition(lambda self: not self.pair.server.is_closed)
    @rule(really=st.integers(0, 9))
    def fail(self, really: int) -> None:
        if really == 0:
            self.pair.send(ERROR)

    @precondition(lambda self: self.server_may_send() and not self.pair.server.is_draining)
    @rule()
    def drain(self) -> None:
        self.pair.send(Draining())

    @invariant()
    def the_server_knows_of_no_more_audio_than_was_sent(self) -> None:
        if self.pair.server.ready is not None and not self.pair.server.is_closed:
            assert self.pair.server.audio_end <= self.pair.client.audio_end


CrossingMessages.TestCase.settings = settings(unhurried, max_examples=100, stateful_step_count=40)
TestCrossingMessages = CrossingMessages.TestCase
