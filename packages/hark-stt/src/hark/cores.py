"""How many cores there are to work with."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # control groups, version 2


def usable_cores() -> int:
    """Cores that this process may use: a container may have fewer than its machine."""
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    quota = _container_quota()
    return allowed if quota == math.inf else max(1, min(allowed, math.ceil(quota)))


def _container_quota() -> float:
    """Cores' worth of time that the container's control group grants; infinite without a limit."""
    try:
        quota, period = _CPU_MAX.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # not Linux, an older kernel, or "max"
        return math.inf
