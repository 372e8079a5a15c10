from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hark_protocol import (
    DEFAULT_MAX_MESSAGE_BYTES,
    LEAST_MAX_MESSAGE_BYTES,
    MAX_KEYTERM_LENGTH,
    MAX_KEYTERMS,
    MAX_POSITION,
    Audio,
    Capabilities,
    ClientMessage,
    Close,
    Closed,
    Config,
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
    Ready,
    RemoteProtocolError,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
    decode_client,
    decode_server,
    encode,
)

READY = Ready(
    session="5f0c",
    model="moonshine-tiny-en",
    language="en",
    capabilities=Capabilities(
        languages=("en", "es-419"),
        words=True,
        confidence=True,
        keyterms=False,
        streaming=False,
        language_detection=False,
    ),
    limits=Limits(max_message_bytes=1_048_576, max_session_s=0, idle_timeout_s=60.0),
)

CLIENT_CASES: list[tuple[ClientMessage, str | bytes]] = [
    (Config(version=1), '{"type":"config","version":1}'),
    (Config(), '{"type":"config"}'),
    (Config(language=None, keyterms=()), '{"type":"config","language":null,"keyterms":[]}'),
    (
        Config(
            version=1,
            model="moonshine-tiny-en",
            language="en-GB",
            sample_rate=48_000,
            interim_results=False,
            words=True,
            keyterms=("Łódź", "Hark"),
            endpointing=Endpointing(
                silence_ms=400,
                max_silence_ms=900,
                threshold=0.5,
                min_speech_ms=96,
                max_utterance_ms=15_000,
            ),
            start_sample=9_600_000,
        ),
        '{"type":"config","version":1,"model":"moonshine-tiny-en","language":"en-GB",'
        '"sample_rate":48000,"interim_results":false,"words":true,"keyterms":["Łódź","Hark"],'
        '"endpointing":{"silence_ms":400,"max_silence_ms":900,"threshold":0.5,"min_speech_ms":96,'
        '"max_utterance_ms":15000},"start_sample":9600000}',
    ),
    (
        Config(endpointing=Endpointing(silence_ms=160)),
        '{"type":"config","endpointing":{"silence_ms":160}}',
    ),
    (Audio(b""), b""),
    (Audio(b"\x01\x00\xff\x7f\x00\x80"), b"\x01\x00\xff\x7f\x00\x80"),
    (Flush(id=0), '{"type":"flush","id":0}'),
    (Flush(id=MAX_POSITION), '{"type":"flush","id":9007199254740991}'),
    (Close(), '{"type":"close"}'),
]

SERVER_CASES: list[tuple[ServerMessage, str]] = [
    (
        READY,
        '{"type":"ready","session":"5f0c","model":"moonshine-tiny-en","language":"en",'
        '"capabilities":{"languages":["en","es-419"],"words":true,"confidence":true,'
        '"keyterms":false,"streaming":false,"language_detection":false},'
        '"limits":{"max_message_bytes":1048576,"max_session_s":0,"idle_timeout_s":60.0}}',
    ),
    (
        msgspec.structs.replace(READY, language=None),
        '{"type":"ready","session":"5f0c","model":"moonshine-tiny-en","language":null,'
        '"capabilities":{"languages":["en","es-419"],"words":true,"confidence":true,'
        '"keyterms":false,"streaming":false,"language_detection":false},'
        '"limits":{"max_message_bytes":1048576,"max_session_s":0,"idle_timeout_s":60.0}}',
    ),
    (
        SpeechStarted(utterance=1, start=8_000),
        '{"type":"speech_started","utterance":1,"start":8000}',
    ),
    (
        Interim(utterance=1, start=8_000, end=24_000, text="it was the", stable=6),
        '{"type":"interim","utterance":1,"start":8000,"end":24000,"text":"it was the","stable":6}',
    ),
    (
        Interim(utterance=1, start=0, end=1, text=""),
        '{"type":"interim","utterance":1,"start":0,"end":1,"text":""}',
    ),
    (
        Preflight(utterance=1, start=8_000, end=24_000, text="été", language="fr"),
        '{"type":"preflight","utterance":1,"start":8000,"end":24000,"text":"été","language":"fr"}',
    ),
    (
        Final(
            utterance=1,
            start=8_000,
            end=24_000,
            text="Hi.",
            confidence=0.9,
            language="en",
            words=(Word(text="Hi.", start=8_100, end=23_000, confidence=0.5),),
        ),
        '{"type":"final","utterance":1,"start":8000,"end":24000,"text":"Hi.","confidence":0.9,'
        '"language":"en","words":[{"text":"Hi.","start":8100,"end":23000,"confidence":0.5}]}',
    ),
    (
        Final(utterance=2, start=8_000, end=24_000, text="", words=()),
        '{"type":"final","utterance":2,"start":8000,"end":24000,"text":"","words":[]}',
    ),
    (
        Final(utterance=3, start=0, end=2, text="a", words=(Word(text="a", start=0, end=2),)),
        '{"type":"final","utterance":3,"start":0,"end":2,"text":"a",'
        '"words":[{"text":"a","start":0,"end":2}]}',
    ),
    (SpeechEnded(utterance=1, end=22_000), '{"type":"speech_ended","utterance":1,"end":22000}'),
    (
        Progress(received=32_000, finalized=16_000),
        '{"type":"progress","received":32000,"finalized":16000}',
    ),
    (Flushed(id=7), '{"type":"flushed","id":7}'),
    (Draining(), '{"type":"draining"}'),
    (Closed(), '{"type":"closed"}'),
    (
        Error(code="internal", message="try again", retryable=True),
        '{"type":"error","code":"internal","message":"try again","retryable":true}',
    ),
    (
        Error(code="draining", message="bye", retryable=True, retry_after_s=1.5),
        '{"type":"error","code":"draining","message":"bye","retryable":true,"retry_after_s":1.5}',
    ),
]


@pytest.mark.parametrize(("message", "wire"), CLIENT_CASES + SERVER_CASES)
def test_a_message_encodes_to_these_very_bytes(message: Message, wire: str | bytes) -> None:
    assert encode(message) == wire


@pytest.mark.parametrize(("message", "wire"), CLIENT_CASES)
def test_these_bytes_decode_to_a_client_message(message: ClientMessage, wire: str | bytes) -> None:
    assert decode_client(wire) == message


@pytest.mark.parametrize(("message", "wire"), SERVER_CASES)
def test_these_bytes_decode_to_a_server_message(message: ServerMessage, wire: str) -> None:
    assert decode_server(wire) == message


def test_the_table_has_every_message_of_both_roles() -> None:
    assert {type(message) for message, _ in CLIENT_CASES} == set(get_args(ClientMessage))
    assert {type(message) for message, _ in SERVER_CASES} == set(get_args(ServerMessage))


# --- refusals

REFUSED_BY_SERVERS: list[tuple[str | bytes, str, str]] = [
    # wire, code, what the error says
    ("", "invalid_message", "not JSON"),
    ("{", "invalid_message", "not JSON"),
    ('{"type":"close"} x', "invalid_message", "not JSON"),
    ('{"type":"config","endpointing":{"threshold":NaN}}', "invalid_message", "not JSON"),
    ('{"type":"config","endpointing":{"threshold":Infinity}}', "invalid_message", "not JSON"),
    ('{"type":"config","model":"\\ud800"}', "invalid_message", "not JSON"),
    ("\ud800", "invalid_message", "not Unicode"),
    ('{"type":"close\udc80"}', "invalid_message", "not Unicode"),
    ("[1]", "invalid_message", "not an object"),
    ("null", "invalid_message", "not an object"),
    ('"config"', "invalid_message", "not an object"),
    ("{}", "invalid_message", "`type`"),
    ('{"type":3}', "invalid_message", "`type`"),
    ('{"type":"final"}', "invalid_message", "must be one of: config, flush, close"),
    ('{"type":"Config"}', "invalid_message", "must be one of: config, flush, close"),
    ('{"type":"audio"}', "invalid_message", "must be one of: config, flush, close"),
    ('{"type":"config","version":"1"}', "invalid_message", "config.version: "),
    ('{"type":"config","version":2,"shiny":1}', "unsupported_version", "version must be 1"),
    ('{"type":"config","version":2,"words":"all"}', "unsupported_version", "version must be 1"),
    ('{"type":"config","silence_ms":1}', "invalid_message", "config has an unknown field; its"),
    (
        '{"type":"config","endpointing":{"silence":1}}',
        "invalid_message",
        "config.endpointing has an unknown field; its fields are: silence_ms, max_silence_ms, ",
    ),
    ('{"type":"close","id":1}', "invalid_message", "its fields are: none"),
    ('{"type":"flush","id":1,"at":2}', "invalid_message", "its fields are: id"),
    ('{"type":"config","type":"close"}', "invalid_message", "close is not valid"),
    ('{"type":"?","x":' + "[" * 100_000 + "]" * 100_000 + "}", "invalid_message", "not an object"),
    ('{"type":"config","model":""}', "invalid_message", "config.model: "),
    ('{"type":"config","model":"' + "m" * 201 + '"}', "invalid_message", "config.model: "),
    ('{"type":"config","model":null}', "invalid_message", "config.model: "),
    ('{"type":"config","language":"en_GB"}', "invalid_message", "config.language: "),
    ('{"type":"config","language":"en\\n"}', "invalid_message", "config.language: "),
    ('{"type":"config","language":"e"}', "invalid_message", "config.language: "),
    ('{"type":"config","language":"' + "en" + "-abcdefgh" * 4 + '"}', "invalid_message", "<= 35"),
    ('{"type":"config","sample_rate":7999}', "invalid_message", "config.sample_rate: "),
    ('{"type":"config","sample_rate":48001}', "invalid_message", "config.sample_rate: "),
    ('{"type":"config","sample_rate":16000.5}', "invalid_message", "config.sample_rate: "),
    ('{"type":"config","sample_rate":"16000"}', "invalid_message", "config.sample_rate: "),
    ('{"type":"config","interim_results":1}', "invalid_message", "config.interim_results: "),
    ('{"type":"config","words":null}', "invalid_message", "config.words: "),
    ('{"type":"config","keyterms":"Hark"}', "invalid_message", "config.keyterms: "),
    ('{"type":"config","keyterms":["Hark",""]}', "invalid_message", "config.keyterms[1]: "),
    (json.dumps({"type": "config", "keyterms": ["x" * 65]}), "invalid_message", "keyterms[0]: "),
    (json.dumps({"type": "config", "keyterms": ["x"] * 101}), "invalid_message", ".keyterms: "),
    ('{"type":"config","endpointing":[]}', "invalid_message", "config.endpointing: "),
    ('{"type":"config","endpointing":{"silence_ms":159}}', "invalid_message", "g.silence_ms: "),
    ('{"type":"config","endpointing":{"silence_ms":10001}}', "invalid_message", "g.silence_ms: "),
    ('{"type":"config","endpointing":{"max_silence_ms":-1}}', "invalid_message", "_silence_ms: "),
    ('{"type":"config","endpointing":{"max_silence_ms":10001}}', "invalid_message", "silence_ms: "),
    ('{"type":"config","endpointing":{"threshold":0}}', "invalid_message", "g.threshold: "),
    ('{"type":"config","endpointing":{"threshold":-0.1}}', "invalid_message", "g.threshold: "),
    ('{"type":"config","endpointing":{"threshold":1.1}}', "invalid_message", "g.threshold: "),
    ('{"type":"config","endpointing":{"min_speech_ms":-1}}', "invalid_message", ".min_speech_ms: "),
    ('{"type":"config","endpointing":{"min_speech_ms":1001}}', "invalid_message", "_speech_ms: "),
    (
        '{"type":"config","endpointing":{"max_utterance_ms":1999}}',
        "invalid_message",
        "config.endpointing.max_utterance_ms: ",
    ),
    (
        '{"type":"config","endpointing":{"max_utterance_ms":30001}}',
        "invalid_message",
        "config.endpointing.max_utterance_ms: ",
    ),
    ('{"type":"config","start_sample":-1}', "invalid_message", "config.start_sample: "),
    (
        '{"type":"config","start_sample":9007199254740992}',
        "invalid_message",
        "config.start_sample: ",
    ),
    ('{"type":"config","start_sample":' + "9" * 5_000 + "}", "invalid_message", ".start_sample: "),
    ('{"type":"flush"}', "invalid_message", "flush: Object missing required field `id`"),
    ('{"type":"flush","id":-1}', "invalid_message", "flush.id: "),
    ('{"type":"flush","id":true}', "invalid_message", "flush.id: "),
    ('{"type":"flush","id":null}', "invalid_message", "flush.id: "),
    (b"\x00", "invalid_audio", "even number of bytes"),
    (b"\x00" * 3, "invalid_audio", "even number of bytes"),
]


@pytest.mark.parametrize(("wire", "code", "what"), REFUSED_BY_SERVERS)
def test_a_server_refuses(wire: str | bytes, code: str, what: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_client(wire)
    assert caught.value.code == code
    assert what in str(caught.value)


SPEECH = '"utterance":1,"start":0,"end":9,"text":"a"'

REFUSED_BY_CLIENTS: list[tuple[str | bytes, str]] = [
    (b"", "no binary messages"),
    (b"\x00\x00", "no binary messages"),
    ('{"type":"config","version":1}', "must be one of: ready, speech_started, "),
    ('{"type":"speech_started","utterance":1,"start":-1}', "speech_started.start: "),
    ('{"type":"speech_started","utterance":1.0,"start":1}', "speech_started.utterance: "),
    ('{"type":"speech_started","utterance":1}', "missing required field `start`"),
    ('{"type":"interim",' + SPEECH + ',"stable":-1}', "interim.stable: "),
    ('{"type":"interim",' + SPEECH + ',"confidence":1.01}', "interim.confidence: "),
    ('{"type":"final",' + SPEECH + ',"confidence":-0.01}', "final.confidence: "),
    ('{"type":"final",' + SPEECH + ',"language":""}', "final.language: "),
    ('{"type":"final",' + SPEECH + ',"words":[{"text":"a","start":0}]}', "final.words[0]: "),
    (
        '{"type":"preflight",' + SPEECH + ',"words":[{"text":"a","start":-1,"end":0}]}',
        "preflight.words[0].start: ",
    ),
    ('{"type":"final","utterance":1,"start":0,"end":9,"text":null}', "final.text: "),
    ('{"type":"progress","received":1}', "missing required field `finalized`"),
    ('{"type":"progress","received":1,"finalized":9007199254740992}', "progress.finalized: "),
    ('{"type":"error","code":"internal","message":"m"}', "missing required field `retryable`"),
    ('{"type":"error","code":"","message":"m","retryable":true}', "error.code: "),
    (
        '{"type":"error","code":"x","message":"m","retryable":true,"retry_after_s":-1}',
        "error.retry_after_s: ",
    ),
    (encode(READY).replace("1048576", "65535"), "ready.limits.max_message_bytes: "),  # type: ignore[arg-type]
    (encode(READY).replace('session_s":0', 'session_s":-1'), "ready.limits.max_session_s: "),  # type: ignore[arg-type]
    (encode(READY).replace("60.0", "0"), "ready.limits.idle_timeout_s: "),  # type: ignore[arg-type]
    (encode(READY).replace('"words":true', '"words":"yes"'), "ready.capabilities.words: "),  # type: ignore[arg-type]
    ('{"type":"closed","new":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
]


@pytest.mark.parametrize(("wire", "what"), REFUSED_BY_CLIENTS)
def test_a_client_refuses(wire: str | bytes, what: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server(wire)
    assert caught.value.code == "invalid_message"
    assert what in str(caught.value)


@pytest.mark.parametrize(("message", "wire"), SERVER_CASES)
def test_a_client_passes_over_fields_that_it_does_not_know(
    message: ServerMessage, wire: str
) -> None:
    newer = json.loads(wire) | {"x_new": {"a": [1, None]}}
    assert decode_server(json.dumps(newer)) == message


def test_a_client_takes_error_codes_that_it_does_not_know() -> None:
    wire = '{"type":"error","code":"too_hot","message":"m","retryable":true}'
    assert decode_server(wire) == Error("too_hot", "m", True)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (Audio(b"\x00"), "even number of bytes"),
        (Config(sample_rate=1), "config.sample_rate: "),
        (Config(sample_rate="16000"), "config.sample_rate: "),  # type: ignore[arg-type]
        (Config(endpointing=Endpointing(threshold=math.nan)), "config.endpointing.threshold: "),
        (Config(endpointing=Endpointing(threshold=math.inf)), "config.endpointing.threshold: "),
        (Config(keyterms=["Hark"]), "config has a field of the wrong type"),  # type: ignore[arg-type]
        (Config(model="\ud800"), "config has a field that JSON cannot hold"),
        (Config(model=object()), "config has a field that JSON cannot hold"),  # type: ignore[arg-type]
        (Flush(id=-1), "flush.id: "),
        (Flush(id=2**70), "flush.id: "),
        (Final(1, 0, 9, "a", confidence=math.nan), "final has a field of the wrong type or a num"),
        (Final(1, 0, 9, "a", confidence=2.0), "final.confidence: "),
        (Final(1, -1, 9, "a"), "final.start: "),
    ],
)
def test_what_no_peer_would_take_is_not_encoded(message: Message, what: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode(message)
    assert what in str(caught.value)


def test_the_longest_config_fits_into_what_every_server_takes() -> None:
    longest = Config(
        version=1,
        model="\x01" * 200,
        language="en" + "-abcdefgh" * 3,
        sample_rate=48_000,
        interim_results=False,
        words=False,
        keyterms=("\x01" * MAX_KEYTERM_LENGTH,) * MAX_KEYTERMS,
        endpointing=Endpointing(10_000, 10_000, 0.1234567890123456, 1_000, 30_000),
        start_sample=MAX_POSITION,
    )
    assert len(encode(longest)) < LEAST_MAX_MESSAGE_BYTES < DEFAULT_MAX_MESSAGE_BYTES


# --- properties

# How fast examples are drawn says more about the machine than about the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

positions = st.integers(0, MAX_POSITION)
names = st.text(min_size=1, max_size=200)
languages = st.from_regex(r"\A[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,2}\Z")
fractions = st.floats(0, 1)
words = st.builds(Word, st.text(), positions, positions, st.none() | fractions)
speech = (positions, positions, positions, st.text())
details = {
    "confidence": st.none() | fractions,
    "language": st.none() | languages,
    "words": st.none() | st.lists(words, max_size=4).map(tuple),
}
unset = st.just(msgspec.UNSET)

client_messages: st.SearchStrategy[ClientMessage] = st.one_of(
    st.builds(
        Config,
        version=unset | st.integers(),
        model=unset | names,
        language=unset | st.none() | languages,
        sample_rate=unset | st.integers(8_000, 48_000),
        interim_results=unset | st.booleans(),
        words=unset | st.booleans(),
        keyterms=unset | st.lists(st.text(min_size=1, max_size=64), max_size=5).map(tuple),
        endpointing=unset
        | st.builds(
            Endpointing,
            unset | st.integers(160, 10_000),
            unset | st.integers(0, 10_000),
            unset | st.floats(0.05, 0.95),
            unset | st.integers(0, 1_000),
            unset | st.integers(2_000, 30_000),
        ),
        start_sample=unset | positions,
    ),
    st.builds(Audio, st.binary().map(lambda pcm: pcm[: len(pcm) // 2 * 2])),
    st.builds(Flush, positions),
    st.just(Close()),
)

server_messages: st.SearchStrategy[ServerMessage] = st.one_of(
    st.builds(
        Ready,
        names,
        names,
        st.none() | languages,
        st.builds(
            Capabilities,
            st.lists(languages, max_size=3).map(tuple),
            *(st.booleans() for _ in range(5)),
        ),
        st.builds(
            Limits,
            st.integers(LEAST_MAX_MESSAGE_BYTES, 2**40),
            st.integers(0, 2**40),
            st.floats(0, 1e9, exclude_min=True),
        ),
    ),
    st.builds(SpeechStarted, positions, positions),
    st.builds(Interim, *speech, stable=st.integers(0, 99), **details),
    st.builds(Preflight, *speech, **details),
    st.builds(Final, *speech, **details),
    st.builds(SpeechEnded, positions, positions),
    st.builds(Progress, positions, positions),
    st.builds(Flushed, positions),
    st.just(Draining()),
    st.just(Closed()),
    st.builds(Error, names, st.text(), st.booleans(), st.none() | st.floats(0, 1e9)),
)


@unhurried
@given(client_messages)
def test_every_client_message_survives_the_wire(message: ClientMessage) -> None:
    assert decode_client(encode(message)) == message


@unhurried
@given(server_messages)
def test_every_server_message_survives_the_wire(message: ServerMessage) -> None:
    assert decode_server(encode(message)) == message


SECRET = "correct horse"
"""Stands for speech: spaces tell it from anything that this package writes itself."""

secrets = st.sampled_from([SECRET, SECRET + "` - at `$.text", "\ud800" + SECRET])
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | secrets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(secrets, inner, max_size=2),
    max_leaves=4,
)
known_keys = st.sampled_from(
    sorted(
        {name for message, _ in CLIENT_CASES + SERVER_CASES for name in message.__struct_fields__}
    )
)
broken_objects = st.builds(
    lambda wire, changes: json.dumps(json.loads(wire) | changes),
    st.sampled_from([wire for _, wire in CLIENT_CASES + SERVER_CASES if isinstance(wire, str)]),
    st.dictionaries(known_keys | secrets | st.just("type"), json_values, min_size=1, max_size=3),
)
texts = st.text(st.characters()) | broken_objects | broken_objects.map(lambda text: text[:-2])


def outcome(decode: Callable[[str | bytes], Message], data: str | bytes) -> Message | Exception:
    try:
        return decode(data)
    except RemoteProtocolError as error:
        return error


@settings(unhurried, max_examples=400)
@given(st.binary() | texts)
def test_whatever_comes_is_a_message_or_a_protocol_error_that_repeats_none_of_it(
    data: str | bytes,
) -> None:
    for decode in (decode_client, decode_server):
        result = outcome(decode, data)
        if isinstance(result, Exception):
            assert SECRET not in str(result)
            assert result.__cause__ is None
            assert result.__context__ is None
        else:
            assert decode(encode(result)) == result


@pytest.mark.parametrize("message", [Config(model=SECRET + "\ud800"), Config(sample_rate=SECRET)])  # type: ignore[arg-type]
def test_nor_does_a_message_of_our_own_that_is_wrong(message: Message) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        encode(message)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
