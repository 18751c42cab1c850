"""How many CPU cores this process may use.

A container can be limited in two ways. A set of cores (``taskset``, ``docker --cpuset-cpus``) is the
affinity of its processes. A limit of CPU time (``docker --cpus``, Kubernetes' ``limits``) is not: a process
sees all cores of the machine, and is stopped for the rest of each period once its threads have used their
time. An engine with one thread for each core then waits for threads that are stopped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may use at a time, at least 1."""
    allowed, limit = allowed_cores(), cpu_limit()
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def allowed_cores() -> int:
    """Cores on which this process may run, whatever share of their time it has."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def threads_within_limit() -> int:
    """Threads for an engine: 0, its own choice, unless a limit of CPU time allows fewer cores."""
    usable = usable_cores()
    return usable if usable < allowed_cores() else 0


def cpu_limit() -> float | None:
    """CPU time that this process may use in each second, in seconds; None without a limit.

    That is the lowest limit of its control groups, of version 2 or 1 (Linux's cgroups(7)).
    """
    return min(_limits(), default=None)


def _limits() -> Iterator[float]:
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            roots = [GROUPS, GROUPS / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [GROUPS / controllers, GROUPS / "cpu"]
        else:
            continue
        # Within a container, the path may be that outside, where the container's own group is the root.
        group = Path(path.lstrip("/"))
        for root in roots:
            for folder in (group, *group.parents):
                limit = _limit(root / folder, version=1 if controllers else 2)
                if limit is not None:
                    yield limit


def _limit(group: Path, version: int) -> float | None:
    try:
        if version == 2:
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((group / name).read_text(encoding="ascii") for name in names)
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such group; or "max": no limit
        return None
    return limit if limit > 0 else None  # version 1 has -1 for no limit
