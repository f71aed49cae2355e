"""What this process may use of the machine: in a container, less than there is."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows a container its own limits: of version 2 right here, of version 1 in a directory each."""


def cores() -> int:
    """Cores of the processor that this process may compute on, at least 1."""
    return core_quota() or _shown()


def core_quota() -> int | None:
    """The cores that a container's quota of time amounts to, rounded up; None where that is no limit.

    A container with a quota (`docker run --cpus 2`) still shows all cores of its host. A thread for each of them would
    spend the quota on waiting for threads whose turn comes later.
    """
    limits = (_read("cpu.max") or f"{_read('cpu/cpu.cfs_quota_us')} {_read('cpu/cpu.cfs_period_us')}").split()
    if len(limits) < 2 or not all(limit.isdecimal() for limit in limits):  # "max" and "-1" say that there is none
        return None
    quota, period = map(int, limits)
    amount = max(1, math.ceil(quota / period))
    return amount if amount < _shown() else None


def memory() -> int:
    """Bytes of memory of this machine, or of the container around this process."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_read("memory.max"), _read("memory/memory.limit_in_bytes"))
    return min([total, *(int(limit) for limit in limits if limit.isdecimal())])


def load() -> float:
    """The programs that computed or waited for a core in the last minute, on average; 0 where the system has no count.

    In a container, those of its host.
    """
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def busy() -> str | None:
    """How much others compute here, to be asked before this machine is timed; None where half of it or more is free."""
    return f"load {load():.1f}, {cores()} cores" if load() > cores() / 2 else None


def processor() -> str:
    """What the processor is called."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _shown() -> int:
    """The cores that the system shows to this process; macOS knows no affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(name: str) -> str:
    path = _CGROUPS / name
    return path.read_text().strip() if path.is_file() else ""
