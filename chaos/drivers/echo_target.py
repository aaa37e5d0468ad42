"""A small WebSocket server inside the checker, which sends back what it gets. Knows no driver."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from .trial_target import TrialTarget


class EchoTarget(TrialTarget):
    """The server that a driver is examined with unless another one is named."""

    advice = "; if they need more of a server than their own text sent back, name it: --system FILE"

    async def _listen(self, listener: socket.socket) -> Callable[[], Awaitable[None]]:
        server = await serve(self._echo, sock=listener, ping_interval=None, close_timeout=1)

        async def stop() -> None:
            server.close(close_connections=False)
            await server.wait_closed()

        return stop

    async def _echo(self, connection: ServerConnection) -> None:
        with self._connected(connection.transport), contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)
