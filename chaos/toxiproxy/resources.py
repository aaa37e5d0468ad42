"""What a planned fleet takes of this machine besides its limits: memory, disk space, free ports. Changes nothing.

The figures per client are measured (100 and 1,500 clients of one link, two processors): the proxy holds 52 kB for each,
its worker 25 kB, the server 13 kB, and the kernel has buffers of four sockets; a run writes 40 kB for each in a minute.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from resilience.errors import HarnessError

from ..ports import HIGH, LOW, free_ports
from .finding import Finding

MEMORY_OF_A_CLIENT = 150_000
MEMORY_OF_THE_REST = 250_000_000
"""Bytes: server, runner, a few workers and proxies without any client."""

DISK_OF_A_CLIENT = 200_000
"""Bytes: a run of five minutes."""

DISK_OF_THE_REST = 200_000_000
"""Bytes: database, reports, logs."""

PORTS = 64
"""So many listeners a run may have: a proxy and its control API for each link, and the server."""

_MB = 1_000_000
_NO_LIMIT = 1 << 60
"""What a control group of the first version says when it has no limit is greater."""


def memory(clients: int | None, proc: Path, cgroups: Path) -> Finding:
    """The memory that is free for the fleet, on the machine and in this process's control group."""
    name, need = "memory", MEMORY_OF_THE_REST + (clients or 0) * MEMORY_OF_A_CLIENT
    free = [found for found in (_free_of_machine(proc), _free_of_group(cgroups)) if found is not None]
    if not free:
        return Finding(
            name, "unknown", "warn", f"{proc / 'meminfo'} cannot be read here: how much is free is not known"
        )
    value = f"{_megabytes(min(free))} free"
    if min(free) < need:
        what = f"{clients} clients and what serves them take" if clients else "a run takes at least"
        advice = f"{what} about {_megabytes(need)}: end other programs, plan fewer clients, or use a larger machine"
        return Finding(name, value, "bad", advice)
    return Finding(name, value, "ok")


def disk(clients: int | None, folder: Path) -> Finding:
    """The space where run directories are made."""
    name, need = "disk space for runs", DISK_OF_THE_REST + (clients or 0) * DISK_OF_A_CLIENT
    at = next((each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir()), Path("/"))
    try:
        free = shutil.disk_usage(at).free
    except OSError as error:
        return Finding(name, "unknown", "warn", f"the space in {at} cannot be read: {error.strerror}")
    value = f"{_megabytes(free)} free in {at}"
    if free < need:
        what = f"five minutes of {clients} clients" if clients else "a run"
        advice = f"{what} may write {_megabytes(need)}: make room, or name another place with --out"
        return Finding(name, value, "bad", advice)
    return Finding(name, value, "ok")


def listening_ports() -> Finding:
    """Whether a run finds ports for its listeners."""
    name = "free ports for listeners"
    try:
        free_ports(PORTS)
    except HarnessError as error:
        return Finding(name, f"fewer than {PORTS}", "bad", str(error))
    return Finding(name, f"{PORTS} or more from {LOW} to {HIGH - 1}", "ok")


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


def _megabytes(amount: int) -> str:
    return f"{amount / _MB:,.0f} MB"
