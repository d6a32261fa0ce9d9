"""What this machine has: cores and memory."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup")  # where a container's limits stand
PROCESSORS, SIBLINGS = Path("/sys/devices/system/cpu"), "topology/thread_siblings_list"


def usable_cores() -> int:
    """Cores that this process may use, or the share of them that a container gives it."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # ValueError: "max", without a limit
        quota, period = (int(part) for part in (CONTAINER / "cpu.max").read_text().split())
        cores = min(cores, math.ceil(quota / period))
    return cores


def default_threads() -> int:
    """How many threads to compute with: one a core, whose threads would share its multipliers.

    OMP_NUM_THREADS may say fewer.
    """
    threads = min(usable_cores(), _whole_cores())
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(threads, int(told)) if told.isdecimal() and int(told) else threads


def _whole_cores() -> int:
    """Cores of which this process may use a thread, where Linux tells which threads are of one core."""
    try:
        threads = os.sched_getaffinity(0)
        return len({(PROCESSORS / f"cpu{thread}" / SIBLINGS).read_text() for thread in threads})
    except (AttributeError, OSError):
        return usable_cores()


def available_memory() -> float | None:
    """Bytes that are free or can be freed, within the limit of a container; None where nothing tells."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError, KeyError):  # ValueError: "max", without a limit
        limit, used = (int((CONTAINER / name).read_text()) for name in ("memory.max", "memory.current"))
        parts = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        files = sum(int(parts[f"{kind}_file"]) for kind in ("active", "inactive"))  # read before, and kept
        found.append(float(limit - used + files))
    return min(found, default=None)
