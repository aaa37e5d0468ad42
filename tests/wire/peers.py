"""Connections of other libraries behind one interface, so that one scenario serves them all."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress
from typing import Protocol, TypeVar

from websockets.sync.client import ClientConnection as SyncConnection
from websockets.sync.client import connect
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError

E = TypeVar("E", bound=Event)
BUFFER = 65_536
NORMAL = 1000


class Peer(Protocol):
    """One open connection, client or server."""

    async def send(self, text: str) -> None:
        """Send a text message."""

    async def receive(self) -> str:
        """The next text message."""

    async def ping(self, payload: bytes) -> None:
        """Send a ping; returns when its pong has come."""

    async def close(self, code: int = NORMAL, reason: str = "") -> int:
        """Close the connection; returns the code of the other end's close frame."""

    async def end(self) -> None:
        """End the connection, whatever its state."""

    @property
    def extensions(self) -> list[str]:
        """The names of the extensions that the handshake has agreed on."""


class WsprotoPeer:
    """A connection of ``wsproto``, an implementation that shares no code with ``websockets``."""

    def __init__(self, kind: ConnectionType, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._protocol = reader, writer, WSConnection(kind)
        self._unread: list[Event] = []
        self.extensions: list[str] = []

    @classmethod
    async def dial(cls, host: str, port: int) -> WsprotoPeer:
        """Connect and complete a handshake that offers compression."""
        peer = cls(ConnectionType.CLIENT, *await asyncio.open_connection(host, port))
        peer._write(Request(host=host, target="/ws", extensions=[PerMessageDeflate()]))
        accepted = await peer._next(AcceptConnection)
        peer.extensions = [extension.name for extension in accepted.extensions]
        return peer

    @classmethod
    async def accept(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> WsprotoPeer:
        """Complete a client's handshake, and use compression if the client offers it."""
        peer = cls(ConnectionType.SERVER, reader, writer)
        request = await peer._next(Request)
        peer._write(AcceptConnection(extensions=[PerMessageDeflate()]))
        peer.extensions = [str(extension) for extension in request.extensions]
        return peer

    async def send(self, text: str) -> None:
        """Send a text message in two fragments."""
        half = len(text) // 2
        self._write(TextMessage(text[:half], message_finished=False))
        self._write(TextMessage(text[half:]))
        await self._writer.drain()

    async def receive(self) -> str:
        """The next text message."""
        text = ""
        while True:
            part = await self._next(TextMessage)
            text += part.data
            if part.message_finished:
                return text

    async def ping(self, payload: bytes) -> None:
        """Send a ping; messages that come before its pong stay unread."""
        self._write(Ping(payload))
        kept: list[Event] = []
        while True:
            event = await self._event()
            if isinstance(event, Pong):
                assert bytes(event.payload) == payload
                self._unread[:0] = kept
                return
            kept.append(event)

    async def close(self, code: int = NORMAL, reason: str = "") -> int:
        """Send a close frame and read until the other end's."""
        self._write(CloseConnection(code, reason))
        closed = await self._next(CloseConnection)
        await self.end()
        return int(closed.code)

    async def end(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    def _write(self, event: Event) -> None:
        self._writer.write(self._protocol.send(event))

    async def _next(self, kind: type[E]) -> E:
        """The next event of this kind; others are passed over."""
        while True:
            event = await self._event()
            if isinstance(event, kind):
                return event
            if isinstance(event, CloseConnection):
                raise ConnectionError(f"closed with {event.code} {event.reason}")

    async def _event(self) -> Event:
        while not self._unread:
            data = await self._reader.read(BUFFER)
            self._protocol.receive_data(data or None)
            for event in self._protocol.events():
                self._answer(event)
                self._unread.append(event)
        return self._unread.pop(0)

    def _answer(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._write(event.response())
        elif isinstance(event, CloseConnection):
            with suppress(LocalProtocolError):  # where it is the answer to our own close frame
                self._write(event.response())


class SyncPeer:
    """A connection of the synchronous client of ``websockets``, each call in a thread. It offers compression."""

    def __init__(self, dial: AbstractContextManager[SyncConnection], connection: SyncConnection) -> None:
        self._dial, self._connection = dial, connection

    @classmethod
    async def dial(cls, host: str, port: int) -> SyncPeer:
        """Connect."""
        dial: AbstractContextManager[SyncConnection] = connect(f"ws://{host}:{port}/ws", proxy=None)
        return cls(dial, await asyncio.to_thread(dial.__enter__))

    async def send(self, text: str) -> None:
        """Send a text message in two fragments."""
        half = len(text) // 2
        await asyncio.to_thread(self._connection.send, [text[:half], text[half:]])

    async def receive(self) -> str:
        """The next text message."""
        return str(await asyncio.to_thread(self._connection.recv))

    async def ping(self, payload: bytes) -> None:
        """Send a ping and wait for its pong."""
        ponged = await asyncio.to_thread(self._connection.ping, payload)
        await asyncio.to_thread(ponged.wait)

    async def close(self, code: int = NORMAL, reason: str = "") -> int:
        """Close and wait for the other end's close frame."""
        await asyncio.to_thread(self._connection.close, code, reason)
        closed = self._connection.protocol.close_rcvd
        return closed.code if closed else 1006

    async def end(self) -> None:
        """Close, if that has not happened yet."""
        await asyncio.to_thread(self._dial.__exit__, None, None, None)

    @property
    def extensions(self) -> list[str]:
        """The names of the extensions that the handshake has agreed on."""
        return [extension.name for extension in self._connection.protocol.extensions]
