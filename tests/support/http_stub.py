"""A tiny HTTP server and a raw TCP connection, for tests of proxies and canaries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from chaos.proxied_link import Address

from .deadlines import HANG_S
from .processes import eventually, unread_by_peer

_READ_AT_ONCE = 2


async def push(writers: Sequence[asyncio.StreamWriter], pieces: int) -> None:
    """Send so many pieces to each connection, one after the other.

    The peers have read the first two before the next is sent. A proxy has taken the one and waits with the other then,
    however slow it is: it has both when its client leaves.
    """
    for number in range(pieces):
        for writer in writers:
            writer.write(bytes(5000))
        if number < _READ_AT_ONCE:
            await eventually(lambda: not any(map(unread_by_peer, writers)))
        else:
            await asyncio.sleep(0.02)


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
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    async def push(self, pieces: int) -> None:
        """Send so many pieces to every connection, one after the other."""
        await push(self._writers, pieces)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while said := await reader.read(4096):
                if said.startswith(b"GET") and not said.endswith(b"\r\n\r\n"):
                    said += await reader.readuntil(b"\r\n\r\n")
                self.received += said
                if said.startswith(b"GET") and not self.stalled:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    break
                if not said.startswith(b"GET"):
                    writer.write(said)
        except (ConnectionError, asyncio.IncompleteReadError):
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

    async def echo(self, text: bytes, within: float = HANG_S) -> bytes | None:
        """Send, and return what comes back: b"" for an end, None for silence."""
        self.writer.write(text)
        return await self.hear(within)

    async def hear(self, within: float = HANG_S) -> bytes | None:
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
