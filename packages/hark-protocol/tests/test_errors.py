from __future__ import annotations

from typing import get_args

import pytest

from hark_protocol import (
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL,
    CLOSE_TRY_AGAIN_LATER,
    ERROR_KINDS,
    Error,
    ErrorCode,
    RemoteProtocolError,
)


def test_every_error_code_has_its_kind() -> None:
    assert set(ERROR_KINDS) == set(get_args(ErrorCode))


@pytest.mark.parametrize("code", get_args(ErrorCode))
def test_the_close_code_alone_tells_whether_an_error_is_retryable(code: ErrorCode) -> None:
    kind = ERROR_KINDS[code]
    retryable_codes = (CLOSE_GOING_AWAY, CLOSE_INTERNAL, CLOSE_TRY_AGAIN_LATER)
    assert kind.retryable == (kind.close_code in retryable_codes)


def test_an_error_made_from_its_code_is_as_retryable_as_the_code() -> None:
    assert Error.from_code("internal", "m", retry_after_s=2) == Error("internal", "m", True, 2)
    assert Error.from_code("unauthorized", "m") == Error("unauthorized", "m", False)


def test_a_remote_error_knows_its_close_code() -> None:
    assert RemoteProtocolError("m", code="message_too_large").close_code == 1009
