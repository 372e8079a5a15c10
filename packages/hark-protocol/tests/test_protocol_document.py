"""docs/protocol.md is normative: whatever in it can be checked against the code is."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec.inspect import FloatType, IntType, Metadata, type_info

from hark_protocol import (
    DEFAULT_MAX_MESSAGE_BYTES,
    ERROR_KINDS,
    LEAST_MAX_MESSAGE_BYTES,
    MAX_KEYTERM_LENGTH,
    MAX_KEYTERMS,
    Audio,
    Capabilities,
    ClientMessage,
    Config,
    Connection,
    Endpointing,
    Error,
    Final,
    Flush,
    Flushed,
    Interim,
    Limits,
    Message,
    Preflight,
    Progress,
    Ready,
    Role,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
    decode_client,
    decode_server,
    encode,
)
from hark_protocol import connection as connection_module

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, str]] = re.findall(
    r"^```json (client|server)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL
)
HEADINGS = re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)


def section(heading: str) -> str:
    """The text below a heading, up to the next one of the same level or above."""
    level = heading.index(" ")
    _, _, rest = DOCUMENT.partition(f"\n{heading}\n")
    assert rest, f"no section {heading}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each Markdown table, without its two lines of heading."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]
        for block in blocks
    ]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- examples


@pytest.mark.parametrize(("sender", "text"), EXAMPLES)
def test_an_example_is_a_message_and_all_of_it(sender: str, text: str) -> None:
    message = decode_client(text) if sender == "client" else decode_server(text)
    assert json.loads(encode(message)) == json.loads(text)


def test_every_text_message_has_an_example() -> None:
    shown = {
        (sender, type(decode_client(text) if sender == "client" else decode_server(text)))
        for sender, text in EXAMPLES
    }
    assert shown == {
        *(("client", message) for message in get_args(ClientMessage) if message is not Audio),
        *(("server", message) for message in get_args(ServerMessage)),
    }


def test_the_example_conversation_is_legal_at_both_ends() -> None:
    (block,) = re.findall(r"^```conversation\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    for line in block.splitlines():
        speaker, _, text = line.partition(" ")
        if speaker == "S":
            assert client.receive(server.send(decode_server(text)))
        else:
            samples = re.fullmatch(r"audio (\d+)", text)
            message = Audio(bytes(2 * int(samples[1]))) if samples else decode_client(text)
            assert server.receive(client.send(message)) == message
    assert client.is_closed
    assert client.finalized == client.audio_end == 24_000


def test_the_example_key_is_encoded_as_the_text_says() -> None:
    found = re.search(r"For the key `(.+?)`, which is sent as `(.+?)`", DOCUMENT)
    assert found is not None
    assert base64.urlsafe_b64encode(found[1].encode()).decode().rstrip("=") == found[2]
    assert f'const key = "{found[1]}"' in DOCUMENT


# --- tables

FIELD_TABLES: list[tuple[str, list[type[msgspec.Struct]]]] = [
    ("### config", [Config, Endpointing]),
    ("### flush", [Flush]),
    ("### ready", [Ready, Capabilities]),
    ("### speech_started", [SpeechStarted]),
    ("### interim", [Interim, Word]),
    ("### preflight", [Preflight]),
    ("### final", [Final]),
    ("### speech_ended", [SpeechEnded]),
    ("### progress", [Progress]),
    ("### flushed", [Flushed]),
    ("### error", [Error]),
    ("## Limits", [Limits]),
]
TYPED_TABLES = [
    (struct, rows)
    for heading, structs in FIELD_TABLES
    for struct, rows in zip(structs, tables(section(heading)), strict=True)
]


@pytest.mark.parametrize(("struct", "rows"), TYPED_TABLES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_table_has_the_fields_of_its_message(
    struct: type[msgspec.Struct], rows: list[list[str]]
) -> None:
    fields = msgspec.structs.fields(struct)
    assert [quoted(row[0]) for row in rows] == [[field.encode_name] for field in fields]
    has_default = [row[2] != "" for row in rows]
    assert has_default == [not field.required for field in fields]


def test_every_message_with_fields_has_a_table() -> None:
    with_fields = {
        message
        for message in get_args(ClientMessage | ServerMessage)
        if message.__struct_fields__ and message is not Audio
    }
    assert with_fields <= {struct for struct, _ in TYPED_TABLES}


def numbers(field_type: object) -> list[IntType | FloatType]:
    """The numeric types that a field may have."""
    inner = field_type.type if isinstance(field_type, Metadata) else field_type
    return [
        member
        for member in getattr(inner, "types", (inner,))
        if isinstance(member, (IntType, FloatType))
    ]


@pytest.mark.parametrize(("struct", "rows"), TYPED_TABLES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_table_has_the_ranges_of_its_message(
    struct: type[msgspec.Struct], rows: list[list[str]]
) -> None:
    words = {"position": (0, 2**53 - 1), "id": (0, 2**53 - 1), "fraction": (0, 1)}
    for field, row in zip(msgspec.structs.fields(struct), rows, strict=True):
        for number in numbers(type_info(field.type)):
            written = row[1]
            if written in words:
                assert (number.ge, number.le) == words[written]
            elif number.le is not None:
                assert f"{number.ge:g}..{number.le:g}" in written
            elif number.ge is not None and row[0] != "`stable`":
                assert f"{number.ge} or more" in written
            elif number.gt is not None:
                assert f"above {number.gt:g}" in written


def test_the_table_of_errors_is_that_of_the_code() -> None:
    (rows,) = tables(section("## Errors"))
    written = {quoted(row[0])[0]: (row[2], row[3]) for row in rows}
    assert written == {
        code: ("yes" if kind.retryable else "no", str(kind.close_code))
        for code, kind in ERROR_KINDS.items()
    }


def test_the_table_of_close_codes_agrees_with_that_of_errors() -> None:
    (rows,) = tables(section("## Close codes"))
    written = {row[0]: row[2] for row in rows}
    for kind in ERROR_KINDS.values():
        assert written[str(kind.close_code)] == ("yes" if kind.retryable else "no")


def test_the_tables_of_states_are_those_of_the_code() -> None:
    written = {row[0]: set(quoted(row[1])) for rows in tables(section("## Order")) for row in rows}
    names: dict[type[Message], str] = {
        message: str(message.__struct_config__.tag or "audio")
        for message in get_args(ClientMessage | ServerMessage)
    }
    assert written == {
        state.value: {names[message] for message in legal}
        for state, legal in connection_module._LEGAL.items()
    }


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"within {LEAST_MAX_MESSAGE_BYTES} bytes" in DOCUMENT
    assert f"larger than {DEFAULT_MAX_MESSAGE_BYTES} bytes" in DOCUMENT
    assert f"at most {MAX_KEYTERMS} strings of 1 to {MAX_KEYTERM_LENGTH} characters" in DOCUMENT


# --- links


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_link_inside_the_page_leads_somewhere() -> None:
    targets = set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT))
    assert targets <= {anchor(heading) for heading in HEADINGS}


def test_every_section_that_the_code_cites_is_there() -> None:
    sources = Path(connection_module.__file__).parent.glob("*.py")
    cited = {
        target
        for source in sources
        for target in re.findall(r"docs/protocol\.md#([\w-]+)", source.read_text(encoding="utf-8"))
    }
    assert cited
    assert cited <= {anchor(heading) for heading in HEADINGS}
