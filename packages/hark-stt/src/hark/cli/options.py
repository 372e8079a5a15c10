"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hark.cli.remote import HarkServer

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="HARK_API_URL",
        help="Use this server (http or ws URL) instead of recognising in this process; an empty "
        "one overrides the variable.",
    ),
]

ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        envvar="HARK_API_KEY",
        help="Key to the server. Prefer the variable: others can see a command line.",
        show_default=False,
    ),
]

Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A model of `hark models`, or a folder with one."),
]


def server(url: str | None, api_key: str | None) -> HarkServer | None:
    """The server that the options name; None for none."""
    if not url:
        return None
    from hark.cli.remote import HarkServer
    from hark.cli.server_address import ServerAddress
    from hark.errors import SettingsError

    try:
        return HarkServer(ServerAddress.parse(url), api_key or None)
    except SettingsError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from None
