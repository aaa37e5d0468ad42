"""What the system allows a server, held against its settings before the first guest arrives. Raises one limit."""

from __future__ import annotations

import resource
from pathlib import Path

from resilience.config import ServerConfig

SPARE_FILES = 128
"""Descriptors kept for the database, logs and those who are being told to come back later."""

MIN_CONNECTIONS = 1000
"""Room for fewer guests than this is worth a warning."""

_BACKLOG_LIMIT = Path("/proc/sys/net/core/somaxconn")


def raise_open_files() -> None:
    """Raise this process's limit on open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {soft, resource.RLIM_INFINITY}:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections_by_open_files() -> int:
    """How many sockets the limit on open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - SPARE_FILES, soft // 2)


def limit_warnings(config: ServerConfig, backlog_limit: int | None) -> list[str]:
    """What will hurt when a crowd comes, one sentence each with what would be right.

    ``backlog_limit`` is what the kernel allows a listener, if that is known.
    """
    found, room = [], max_connections_by_open_files()
    wanted = config.max_connections or MIN_CONNECTIONS
    if room < wanted:
        found.append(
            f"the limit on open files leaves room for {room} connections, wanted {wanted}: raise it (ulimit -n), "
            "guests beyond it are told to come back later"
        )
    if backlog_limit is not None and backlog_limit < config.backlog:
        found.append(
            f"the kernel queues {backlog_limit} connections at most, backlog is {config.backlog}: raise "
            "net.core.somaxconn, or a herd waits for seconds on lost connection requests"
        )
    return found


def backlog_limit() -> int | None:
    """The kernel's limit on a listener's queue; ``None`` where it cannot be read."""
    try:
        return int(_BACKLOG_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
