"""One recogniser for all processes of a user on this machine.

It comes with the first of them, and goes after the last.

    lease          what a process holds that wants to recognise
      starting     makes a server, unless there is one
        server     the process with the models; ends when nobody holds a lease any more
    rendezvous     where all of them meet

A lease is an open connection, so it ends with its process, however that ends. Whoever finds no
server makes its sockets, under a lock, and hands sockets and lock to a new process: so there is one
at most, others can connect before it has started, and nothing that a dead one leaves behind is in
the way.
"""

from __future__ import annotations

import importlib.util

_NEEDED = (
    "fcntl",  # not on Windows
    "anyio",
    "python_multipart",
    "starlette",
    "uvicorn",
    "websockets",
)


def obstacle() -> str | None:
    """Why processes cannot share a recogniser here; None where they can."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if "fcntl" in missing:
        return "this system has no Unix domain sockets"
    if missing:
        return f"{', '.join(missing)} missing: pip install 'hark-stt[server]'"

    from hark.errors import SettingsError
    from hark.shared.rendezvous import users_folder

    try:
        users_folder()
    except SettingsError as error:
        return str(error)
    return None
