"""Refusals on ASGI servers that know less than ours."""

from __future__ import annotations

import json

import pytest

from hark.errors import OverloadedError, RecognitionError
from hark.server import refusal


@pytest.mark.parametrize(
    ("refused", "code", "close_code"),
    [(refusal.unauthorized(), "unauthorized", 1008), (refusal.draining(), "draining", 1013)],
)
async def test_where_a_websocket_cannot_be_denied_it_is_accepted_told_and_closed(
    refused, code, close_code
):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await refused.answer({"type": "websocket", "headers": []}, receive, send)
    accept, told, closed = sent
    assert accept["type"] == "websocket.accept"
    assert json.loads(told["text"])["code"] == code
    assert (closed["type"], closed["code"]) == ("websocket.close", close_code)


def test_what_may_work_later_gets_503_and_what_broke_500():
    busy = refusal.from_error(OverloadedError("the models are closed")).response()
    assert busy.status_code == 503
    assert int(busy.headers["Retry-After"]) > 0
    assert json.loads(busy.body)["retryable"] is True
    assert refusal.from_error(RecognitionError("the engine failed")).status == 500
