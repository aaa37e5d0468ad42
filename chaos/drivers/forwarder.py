"""A TCP listener before the server of a system, inside the checker: passes bytes on, and can cut and refuse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Self

from resilience.network_addresses import with_port

_HOST = "127.0.0.1"
_CHUNK = 65_536


class ForwarderTarget:
    """What stands before the server at ``host`` and ``port``, on a free port of this machine, while its context lasts.

    ``path``: of the WebSocket URL.
    """

    def __init__(self, host: str, port: int, path: str) -> None:
        self.accepted = 0
        """How many connections were opened so far."""
        self._behind, self._path = (host, port), path
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

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
        return f"ws://{with_port(_HOST, self._port)}{self._path}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def cut(self) -> None:
        """End every connection at once, and take new ones."""
        for writer in self._open:
            writer.transport.abort()

    async def refuse(self) -> None:
        """End every connection, and refuse new ones until :meth:`accept`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self.cut()
            while self._open:  # noqa: ASYNC110 - a few turns of the loop, until both directions have seen the end
                await asyncio.sleep(0.01)

    async def accept(self) -> None:
        """Take new connections, on the same port as before."""
        listener = socket.create_server((_HOST, self._port))
        self._port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._forward, sock=listener)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._open.add(writer)
        try:
            behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pump(reader, behind_writer))
                directions.create_task(_pump(behind_reader, writer))
        except* OSError:
            writer.transport.abort()
        finally:
            self._open.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends; then the other one ends too."""
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
