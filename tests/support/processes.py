"""What the tests of the laboratory use: a tiny HTTP server, raw connections, and the process table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from resilience.eventlog.vocabulary import LogEvent
from tests.support.stored_lines import read_events

from .deadlines import HANG_S


async def eventually(condition: Callable[[], bool], within: float = HANG_S) -> None:
    """Wait until it holds; the test fails when it does not in time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


def eventually_sync(condition: Callable[[], bool], within: float = HANG_S) -> bool:
    """Whether it comes to hold in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def logged(run_dir: Path) -> list[LogEvent]:
    """The events written so far."""
    return read_events(run_dir) if any((run_dir / "events").glob("*.jsonl")) else []


def kinds(run_dir: Path) -> list[str]:
    """Their kinds."""
    return [event.kind.value for event in logged(run_dir)]


def descendants(pid: int) -> set[int]:
    """Process ids of everything that ``pid`` started, directly or not, and that lives."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (state := _state(int(entry.name))) is not None and state[0] != "Z":
            parents[int(entry.name)] = int(state[1])
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def lives(pid: int) -> bool:
    """Whether the process is there and not only waiting to be buried."""
    state = _state(pid)
    return state is not None and state[0] != "Z"


def listening(pids: set[int]) -> set[int]:
    """TCP ports on which these processes listen."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    return {_port(row[1]) for row in _tcp_rows() if row[3] == "0A" and row[9] in inodes}


def unread_by_peer(writer: asyncio.StreamWriter) -> int:
    """Bytes sent over this connection on this machine that the peer's process has not read; none of a closed one."""
    mine, peer = (writer.get_extra_info(name)[1] for name in ("sockname", "peername"))
    unread = writer.transport.get_write_buffer_size()
    for row in _tcp_rows():
        sent, received = (int(queue, 16) for queue in row[4].split(":"))
        if (_port(row[1]), _port(row[2])) == (mine, peer):
            unread += sent
        elif (_port(row[1]), _port(row[2])) == (peer, mine):
            unread += received
    return unread


def _tcp_rows() -> Iterator[list[str]]:
    return (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _state(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return found
    return found
