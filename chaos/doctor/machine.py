"""Reads the limits of this machine that a fleet may meet. Changes nothing, judges nothing.

What cannot be read is ``None``; a strange machine is never an error.
"""

from __future__ import annotations

import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")

_NO_LIMIT = 1 << 60
"""What a control group of the first version says when it has no limit is greater."""

SYSCTLS = {
    "fs.file-max": "sys/fs/file-max",
    "net.ipv4.ip_local_port_range": "sys/net/ipv4/ip_local_port_range",
    "net.ipv4.tcp_tw_reuse": "sys/net/ipv4/tcp_tw_reuse",
    "net.core.somaxconn": "sys/net/core/somaxconn",
    "net.ipv4.tcp_max_syn_backlog": "sys/net/ipv4/tcp_max_syn_backlog",
}
"""The kernel's settings that are read, by name, and their files below ``/proc``."""


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """What one machine has.

    ``open_files`` and ``open_files_hard``: of a process; infinity where there is no limit. ``sysctls``: the kernel's
    settings by name, each a list of numbers; empty where it cannot be read. ``memory_free``: bytes, the least of what
    the machine and the control group have left. ``disk_free``: bytes in the folder ``disk``.
    """

    open_files: float
    open_files_hard: float
    sysctls: dict[str, list[int]]
    memory_free: int | None
    disk: Path
    disk_free: int | None
    processors: int


def read_limits(runs: Path, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> MachineLimits:
    """The limits of this machine; ``runs`` is where run directories are to be made, and need not exist yet."""
    soft, hard = (_limit(value) for value in resource.getrlimit(resource.RLIMIT_NOFILE))
    free = [found for found in (_free_of_machine(proc), _free_of_group(cgroups)) if found is not None]
    folder = runs.absolute()
    at = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    return MachineLimits(
        soft,
        hard,
        {name: _numbers(proc / path) for name, path in SYSCTLS.items()},
        min(free, default=None),
        at,
        _disk_free(at),
        usable_processors(),
    )


def usable_processors() -> int:
    """The processors on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _disk_free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _free_of_machine(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        words = next(line.split() for line in lines if line.startswith("MemAvailable:"))
        return int(words[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _free_of_group(cgroups: Path) -> int | None:
    """What the limit of the control group leaves, in either version of cgroups; ``None`` where there is none."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (int((cgroups / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        if most < _NO_LIMIT:
            return max(most - now, 0)
    return None


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a file; none if it cannot be read or holds other text."""
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _limit(value: int) -> float:
    return float("inf") if value == resource.RLIM_INFINITY else value
