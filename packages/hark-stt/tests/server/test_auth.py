"""API keys: as such, and over the network."""

from __future__ import annotations

import base64
import io
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import InvalidStatus

from hark.server.auth import ApiKeys, Authentication, presented_key
from hark_protocol import Ready

KEYS = ("first-key-of-two", "second-key-of-two")


def as_subprotocols(key):
    encoded = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    return ["hark.v1", f"hark.key.{encoded}"]


def test_each_key_is_accepted_and_nothing_else():
    keys = ApiKeys(KEYS)
    assert [keys.accept(key) for key in KEYS] == [True, True]
    for wrong in (None, "", "first-key-of-tw", "first-key-of-two ", "FIRST-KEY-OF-TWO", "ü"):
        assert not keys.accept(wrong)


def test_without_keys_everyone_is_accepted():
    assert ApiKeys(()).accept(None)


def test_keys_are_not_kept_in_plain_text():
    assert b"first-key-of-two" not in repr(vars(ApiKeys(KEYS))).encode()


@pytest.mark.parametrize(
    ("headers", "subprotocols", "key"),
    [
        ([(b"authorization", b"Bearer abc")], [], "abc"),
        ([(b"authorization", b"token abc")], [], "abc"),
        ([(b"authorization", b"Basic abc")], [], None),
        ([(b"authorization", b"abc")], [], None),
        ([], ["hark.v1", "hark.key.YWJj"], "abc"),
        ([], ["hark.key.YWJjZA"], "abcd"),
        ([], ["hark.key.*"], None),
        ([], ["hark.key.////"], None),
        ([], ["hark.v1"], None),
        ([(b"authorization", b"Bearer abc")], ["hark.key.eHl6"], "abc"),
    ],
)
def test_the_key_is_found_where_clients_put_it(headers, subprotocols, key):
    scope = {"type": "websocket", "headers": headers, "subprotocols": subprotocols}
    assert presented_key(scope) == key


@pytest.fixture(scope="module")
def guarded(start_module_server):
    return start_module_server(api_keys=KEYS)


@pytest.mark.parametrize("scheme", ["Bearer", "Token", "bearer"])
@pytest.mark.parametrize("key", KEYS)
async def test_a_websocket_with_a_key_is_served(guarded, open_client, scheme, key):
    headers = {"Authorization": f"{scheme} {key}"}
    async with open_client(guarded, additional_headers=headers) as client:
        assert isinstance(await client.begin(), Ready)


async def test_a_browser_sends_the_key_as_a_subprotocol(guarded, open_client):
    async with open_client(guarded, subprotocols=as_subprotocols(KEYS[1])) as client:
        # The key is not sent back.
        assert client.websocket.subprotocol == "hark.v1"
        assert isinstance(await client.begin(), Ready)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"additional_headers": {"Authorization": "Bearer "}},
        {"subprotocols": ["hark.v1"]},
        {"subprotocols": as_subprotocols("wrong")},
    ],
)
async def test_a_websocket_without_a_valid_key_gets_401(guarded, open_client, options):
    with pytest.raises(InvalidStatus) as refusal:
        async with open_client(guarded, **options):
            pass
    assert refusal.value.response.status_code == 401
    assert b'"unauthorized"' in refusal.value.response.body


async def test_a_key_in_the_query_does_not_count(guarded, http):
    response = await http.get(guarded, f"/v1/models?api_key={KEYS[0]}")
    assert response.status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("POST", "/v1/transcribe"), ("GET", "/no-such-page")],
)
async def test_http_without_a_key_gets_401_before_anything_else(guarded, http, method, path):
    response = await http.request(guarded, method, path)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthorized"
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    assert (await http.request(guarded, method, path, headers=headers)).status != 401


async def test_health_needs_no_key(guarded, http):
    for path in ("/healthz", "/readyz"):
        assert (await http.get(guarded, path)).status == 200


async def test_a_full_server_still_answers_401_first(run_server, open_client):
    server = run_server(api_keys=KEYS, max_sessions=1)
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    async with open_client(server, additional_headers=headers):
        with pytest.raises(InvalidStatus) as refusal:
            async with open_client(server):
                pass
    assert refusal.value.response.status_code == 401


def test_a_large_upload_without_a_key_hears_401_and_no_broken_pipe(guarded):
    # A client that sends everything before it listens, as most do.
    for _ in range(3):
        size = 8 * 1024 * 1024
        request = urllib.request.Request(
            f"{guarded.http}/v1/transcribe",
            data=io.BytesIO(bytes(size)),
            headers={"Content-Length": str(size)},
            method="POST",
        )
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=20)
        with refusal.value as response:
            assert response.code == 401


@pytest.mark.parametrize(
    ("root_path", "path", "is_open"),
    [
        ("", "/healthz", True),
        ("/stt", "/stt/healthz", True),
        ("/stt", "/stt/static/page.js", True),
        ("/stt", "/stt/v1/models", False),
        ("", "/stt/healthz", False),
    ],
)
async def test_what_is_open_stays_so_under_a_prefix(root_path, path, is_open):
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["path"])

    async def send(message):
        pass

    scope = {"type": "http", "path": path, "root_path": root_path, "headers": []}
    await Authentication(app, ApiKeys(KEYS))(scope, None, send)
    assert reached == ([path] if is_open else [])
