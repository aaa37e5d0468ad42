"""A small WebSocket server inside the checker: sends back what it gets, and can cut and refuse. Knows no driver."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from resilience.network_addresses import with_port

_HOST = "127.0.0.1"


class EchoTarget:
    """A server on a free port of this machine, for as long as its context lasts."""

    def __init__(self) -> None:
        self.accepted = 0
        """How many connections were opened so far."""
        self._open: set[ServerConnection] = set()
        self._server: Server | None = None
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
        return f"ws://{with_port(_HOST, self._port)}/"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def cut(self) -> None:
        """End every connection at once, and take new ones."""
        for connection in self._open:
            connection.transport.abort()

    async def refuse(self) -> None:
        """End every connection, and refuse new ones until :meth:`accept`."""
        server, self._server = self._server, None
        if server is not None:
            server.close(close_connections=False)
            self.cut()
            await server.wait_closed()

    async def accept(self) -> None:
        """Take new connections, on the same port as before."""
        listener = socket.create_server((_HOST, self._port))
        self._port = listener.getsockname()[1]
        self._server = await serve(self._echo, sock=listener, ping_interval=None, close_timeout=1)

    async def _echo(self, connection: ServerConnection) -> None:
        self.accepted += 1
        self._open.add(connection)
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            return
        finally:
            self._open.discard(connection)
