"""Memory of a process that is all ours: what goes back to the system, and what stays."""

from __future__ import annotations

import ctypes
import gc
import platform

LARGE_BLOCK_BYTES = 65_536
"""Two seconds of audio. What is smaller is used again soon enough."""

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def return_large_blocks() -> None:
    """Have the C library keep large blocks apart, each to be given back when it is freed.

    glibc does so at first, but each one that is freed teaches it to take blocks of that size from
    its heap instead, up to 32 MB. There the audio of utterances, which come and go at different
    times, leaves holes: a server grew by 230 MB in an hour of 8 streams, and not at all with this.

    It concerns the whole process, so it is for processes of ours. Other C libraries than glibc are
    left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def keep_what_is_loaded() -> None:
    """Have garbage collections pass over all objects there are: code, which stays to the end.

    A full collection looked at 50,000 of them, and for those 50 ms the event loop and the ears
    stood still.
    """
    gc.collect()
    gc.freeze()
