"""Compares the system's limits with the settings before the server listens."""

from __future__ import annotations

from pathlib import Path

from resilience.config import ServerConfig
from resilience.open_files import open_files_limit

SPARE_FILES = 128
"""Descriptors reserved for the database, logs and connections that are being rejected."""

MIN_CONNECTIONS = 1000
"""Room for fewer connections than this causes a warning."""

_BACKLOG_LIMIT = Path("/proc/sys/net/core/somaxconn")


def max_connections_by_open_files() -> int:
    """The number of sockets for which the limit on open files leaves room."""
    limit = open_files_limit()
    return max(limit - SPARE_FILES, limit // 2)


def max_transports_by_open_files() -> int:
    """The number of sockets above which unfinished handshakes give way; half of the spare files serve rejections."""
    limit = open_files_limit()
    return limit - (limit - max_connections_by_open_files()) // 2


def limit_warnings(config: ServerConfig, backlog_limit: int | None) -> list[str]:
    """The limits that are too low for a herd, one sentence each with the remedy.

    ``backlog_limit`` is the kernel's limit on a listener's queue, if known.
    """
    found, room = [], max_connections_by_open_files()
    wanted = config.max_connections or MIN_CONNECTIONS
    if room < wanted:
        found.append(
            f"the limit on open files leaves room for {room} connections, wanted {wanted}: raise it (ulimit -n), "
            "connections beyond it are rejected with a retry time"
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
