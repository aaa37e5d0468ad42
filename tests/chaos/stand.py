"""What the tests of the laboratory stand on: a tiny HTTP server, raw connections, and a look at the process table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.links import Address
from resilience.eventlog.reader import read_events
from resilience.events import LogEvent

PATIENCE = 5.0
"""Seconds after which a condition that should come true is taken not to."""


class HttpStub:
    """Answers every request with 200 and closes, like the quiz server's /healthz; keeps what it was sent."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 0)
        self.stalled = False
        self.received = b""
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.drop_all()
        await self._server.wait_closed()

    def drop_all(self) -> None:
        """Lose patience with everybody."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while said := await reader.read(4096):
                self.received += said
                if said.startswith(b"GET") and not self.stalled:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    break
                if not said.startswith(b"GET"):
                    writer.write(said)
        except ConnectionError:
            return
        finally:
            if not self.stalled:
                writer.close()


class RawConnection:
    """A connection with nothing on top."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, address: Address) -> RawConnection:
        """Connect."""
        return cls(*await asyncio.open_connection(*address))

    async def echo(self, text: bytes, within: float = 1.0) -> bytes | None:
        """Send, and return what comes back: b"" for an end, None for silence."""
        self.writer.write(text)
        return await self.hear(within)

    async def hear(self, within: float = 1.0) -> bytes | None:
        """What comes: b"" for an end, None for silence."""
        try:
            async with asyncio.timeout(within):
                return await self.reader.read(4096)
        except TimeoutError:
            return None
        except ConnectionError:
            return b""

    def drop(self) -> None:
        """Let go."""
        self.writer.transport.abort()


async def eventually(condition: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait until it holds; the test fails when it does not in time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


def eventually_sync(condition: Callable[[], bool], within: float = PATIENCE) -> bool:
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
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


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
