"""The live captions page as HTTP sees it; what it does is tested in tests/browser."""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from hark.server.page import page_routes


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=page_routes()))


def linked(client: TestClient) -> list[str]:
    """What the page and its modules refer to, as paths."""
    found = re.findall(r'(?:href|src)="(static/[^"]+)"', client.get("/").text)
    pending = [f"/{path}" for path in found]
    paths: list[str] = []
    while pending:
        path = pending.pop()
        if path in paths:
            continue
        paths.append(path)
        if path.endswith(".js"):
            imports = re.findall(r'^import .*?from "(\.[^"]+)";$', client.get(path).text, re.M)
            pending += [str(client.base_url.join(path).join(name).path) for name in imports]
    return paths


def test_the_page_and_all_that_it_needs_is_there(client: TestClient) -> None:
    paths = linked(client)
    assert len(paths) > 20
    assert [path for path in paths if client.get(path).status_code != 200] == []


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/main.js", "text/javascript; charset=utf-8"),
        ("/static/captions.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
    ],
)
def test_every_file_has_its_type_and_forbids_guessing_another(
    path: str, media_type: str, client: TestClient
) -> None:
    response = client.get(path)
    assert response.headers["content-type"] == media_type
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_page_can_load_nothing_from_elsewhere_and_run_no_inline_script(
    client: TestClient,
) -> None:
    policy = dict(
        directive.split(" ", 1)
        for directive in client.get("/").headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert policy["frame-ancestors"] == "'none'"


def test_no_file_names_another_host(client: TestClient) -> None:
    for path in ["/", *linked(client)]:
        hosts = re.findall(r"""["'(]((?:https?:)?//[\w.-]+)""", client.get(path).text)
        assert [host for host in hosts if "www.w3.org" not in host] == [], path  # SVG's namespace


def test_a_browser_asks_each_time_and_gets_nothing_new_while_nothing_has_changed(
    client: TestClient,
) -> None:
    first = client.get("/static/main.js")
    assert first.headers["cache-control"] == "no-cache"
    for tag in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        again = client.get("/static/main.js", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get("/static/main.js", headers={"If-None-Match": '"old"'}).status_code == 200


def test_files_are_told_apart_by_their_content(client: TestClient) -> None:
    tags = [client.get(path).headers["etag"] for path in linked(client)]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize(
    "path", ["/static/", "/static/missing.js", "/static/../page.py", "/static/%2e%2e/page.py"]
)
def test_what_is_no_file_of_the_page_is_not_found(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404
