"""What a driver under examination connects to: it listens on one port of this machine, cuts, refuses, counts."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import ClassVar, Self

from resilience.network_addresses import with_port

HOST = "127.0.0.1"


class TrialTarget(ABC):
    """A listener on a free port, for as long as its context lasts; what it does for its clients says a subclass.

    ``path``: of the WebSocket URL.
    """

    advice: ClassVar[str] = ""
    """What else may be wrong with a driver whose clients connect and get no session."""

    def __init__(self, path: str = "/") -> None:
        self.accepted = 0
        """How many connections were opened so far."""
        self._path, self._port = path, 0
        self._open: set[asyncio.WriteTransport] = set()
        self._counted: set[asyncio.WriteTransport] = set()
        self._all_gone = asyncio.Event()
        self._stop_listening: Callable[[], Awaitable[None]] | None = None

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    @property
    def url(self) -> str:
        """Where clients connect, while it accepts and while it refuses."""
        return f"ws://{with_port(HOST, self._port)}{self._path}"

    @property
    def connections(self) -> int:
        """How many of clients are open."""
        return len(self._counted)

    def cut(self) -> None:
        """End every connection at once, and take new ones."""
        for transport in self._open:
            transport.abort()

    async def refuse(self) -> None:
        """End every connection, and refuse new ones until :meth:`accept`."""
        stop, self._stop_listening = self._stop_listening, None
        if stop is not None:
            self.cut()
            await stop()
            if self._open:
                await self._all_gone.wait()

    async def accept(self) -> None:
        """Take new connections, on the same port as before."""
        listener = socket.create_server((HOST, self._port))
        self._port = listener.getsockname()[1]
        self._stop_listening = await self._listen(listener)

    @abstractmethod
    async def _listen(self, listener: socket.socket) -> Callable[[], Awaitable[None]]:
        """Serve what connects to the socket; returns what closes the socket, and ends no connection."""

    def _count(self, transport: asyncio.WriteTransport) -> None:
        """A connection is a client's; one that is held already may turn out to be one."""
        self.accepted += 1
        self._counted.add(transport)

    @contextmanager
    def _connected(self, transport: asyncio.WriteTransport, *, of_client: bool = True) -> Iterator[None]:
        """Hold a connection while it is open, and count one of a client; one that comes into a refusal is cut."""
        if of_client:
            self._count(transport)
        self._open.add(transport)
        self._all_gone.clear()
        if self._stop_listening is None:
            transport.abort()
        try:
            yield
        finally:
            self._open.discard(transport)
            self._counted.discard(transport)
            if not self._open:
                self._all_gone.set()
