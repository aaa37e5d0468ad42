"""One socket's life at the server: first message in time, readable messages, an end without a traceback.

Never awaits a close handshake with a peer that may be dead: an end is ordered and left to itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from resilience.config import ServerConfig
from resilience.errors import RemoteProtocolError
from resilience.policy.retry import CloseCode
from resilience.protocol import codec
from resilience.protocol.messages import ClientMessage, Error, Join, Resume
from resilience.server.hub import Hub


class Socket:
    """A :class:`~resilience.server.hub.Peer` over one ``websockets`` connection."""

    def __init__(self, connection: ServerConnection, buffer_bytes: int, closing: set[asyncio.Task[None]]) -> None:
        self._connection, self._buffer_bytes, self._closing = connection, buffer_bytes, closing

    def send(self, text: bytes) -> None:
        """Queue a text frame, UTF-8; a peer that reads too slowly is cut off and may resume."""
        broadcast((self._connection,), text, text=True)
        if self._connection.transport.get_write_buffer_size() > self._buffer_bytes:
            self._connection.transport.abort()

    def end(self, code: int, reason: str) -> None:
        """Close with this code; one that went silent is cut off at once."""
        if code == CloseCode.SILENT:
            self._connection.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._connection.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class Gateway:
    """Turns sockets into calls on the hubs, by the event that their first message names."""

    def __init__(self, hubs: Mapping[str, Hub], config: ServerConfig) -> None:
        self._hubs, self._config = hubs, config
        self._keys = itertools.count(1)
        self._closing: set[asyncio.Task[None]] = set()

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection until it ends."""
        socket = Socket(connection, self._config.write_buffer_bytes, self._closing)
        key = next(self._keys)
        hub: Hub | None = None
        cause = "closed"
        try:
            first = await self._first(connection, socket)
            hub = self._hubs.get(first.event) if first is not None else None
            if first is None or hub is None:
                await self._turn_away(connection, first)
                return
            hub.received(first, key, socket)
            await self._read(connection, socket, hub, key)
        except ConnectionClosed as closed:
            cause = f"close_{closed.rcvd.code}" if closed.rcvd else "closed"
        finally:
            if hub is not None:
                hub.lost(key, cause)

    async def _first(self, connection: ServerConnection, socket: Socket) -> Join | Resume | None:
        try:
            async with asyncio.timeout(self._config.first_message_deadline):
                for _ in range(self._config.strike_limit):
                    message = self._decode(await connection.recv(decode=False), socket)
                    if isinstance(message, Join | Resume):
                        return message
                    if message is not None:
                        _complain(socket, RemoteProtocolError("type", "the first message must be join or resume"))
        except TimeoutError:
            return None
        return None

    async def _turn_away(self, connection: ServerConnection, first: Join | Resume | None) -> None:
        if first is None:
            await connection.close(CloseCode.FIRST_MESSAGE_LATE, "say join or resume first")
        else:
            await connection.close(CloseCode.EVENT_UNKNOWN, "there is no such event here")

    async def _read(self, connection: ServerConnection, socket: Socket, hub: Hub, key: int) -> None:
        strikes = 0
        while True:
            message = self._decode(await connection.recv(decode=False), socket)
            if message is not None:
                hub.received(message, key, socket)
                continue
            strikes += 1
            if strikes >= self._config.strike_limit:
                await connection.close(CloseCode.STRIKES, "too many unreadable messages")
                return

    def _decode(self, data: bytes | str, socket: Socket) -> ClientMessage | None:
        try:
            return codec.decode_client(data)
        except RemoteProtocolError as error:
            _complain(socket, error)
            return None


def _complain(socket: Socket, error: RemoteProtocolError) -> None:
    socket.send(codec.encode(Error("protocol", error.field, error.rule)))
