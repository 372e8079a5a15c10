from __future__ import annotations

import pytest
import typer

from hark.cli.lifecycle import exit_codes, run
from hark.errors import AudioError


def test_the_result_of_a_command_is_returned() -> None:
    async def command() -> int:
        return 3

    assert run(command()) == 3


def test_an_error_of_hark_becomes_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def command() -> None:
        raise AudioError("no [audio] here")

    with pytest.raises(typer.Exit) as caught:
        run(command())
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "hark: no [audio] here\n"


def test_a_mistake_in_the_code_is_not_hidden() -> None:
    async def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(command())


def test_a_keyboard_interrupt_becomes_exit_code_130() -> None:
    with pytest.raises(typer.Exit) as caught, exit_codes():
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
