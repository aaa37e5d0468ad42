"""A TCP listener before the server of a system, inside the checker: passes bytes on. Knows no driver."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from .trial_target import TrialTarget

_CHUNK = 65_536


class ForwarderTarget(TrialTarget):
    """What stands before the server at ``host`` and ``port``; ``path``: of its WebSocket URL.

    ``serves_pages``: the server has files too, so that only a connection that asks for that path is a client's.
    """

    def __init__(self, host: str, port: int, path: str, *, serves_pages: bool = False) -> None:
        super().__init__(path)
        self._behind = (host, port)
        self._serves_pages = serves_pages

    async def _listen(self, listener: socket.socket) -> Callable[[], Awaitable[None]]:
        server = await asyncio.start_server(self._forward, sock=listener)

        async def stop() -> None:
            server.close()

        return stop

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._connected(writer.transport, of_client=not self._serves_pages):
            try:
                begin = await self._request_line(reader, writer.transport) if self._serves_pages else b""
                behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
                behind_writer.write(begin)
                async with asyncio.TaskGroup() as directions:
                    directions.create_task(_pump(reader, behind_writer))
                    directions.create_task(_pump(behind_reader, writer))
            except* (OSError, ValueError):
                writer.transport.abort()

    async def _request_line(self, reader: asyncio.StreamReader, transport: asyncio.WriteTransport) -> bytes:
        """The first line of a connection, by which it is a client's or not. ValueError for one that has no end."""
        line = await reader.readline()
        if line.startswith((f"GET {self._path} ".encode(), f"GET {self._path}?".encode())):
            self._count(transport)
        return line


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends; then the other one ends too."""
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
