"""A server made of bytes, for what no library would send a client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable

from resilience.protocol import codec
from tests.hostile.wire import frame
from tests.support.machines import joined

from .exchange import read_message

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(request: bytes, *extra: bytes) -> bytes:
    """The response that completes this handshake (RFC 6455 section 4.2.2), with these header lines in addition."""
    headers = dict(line.split(b": ", 1) for line in request.strip().split(b"\r\n")[1:])
    assert headers[b"Sec-WebSocket-Version"] == b"13"
    assert b"Sec-WebSocket-Extensions" not in headers, "the client offers no extension"
    accept = base64.b64encode(hashlib.sha1(headers[b"Sec-WebSocket-Key"] + GUID).digest())  # noqa: S324 - as it asks
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
        *extra,
    ]
    return b"\r\n".join([*lines, b"", b""])


class RawServer:
    """Lets the first client join and gives it to ``handler``; later connections get no answer.

    ``dials`` counts the connections; ``error`` is what the handler raised.
    """

    def __init__(self, handler: Handler) -> None:
        self.dials = 0
        self.error: Exception | None = None
        self._handler = handler

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Start to listen."""
        return await asyncio.start_server(self._accept, host, port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dials += 1
        try:
            if self.dials == 1:
                await admit(reader, writer)
                await self._handler(reader, writer)
            else:
                await reader.read()
        except Exception as error:  # noqa: BLE001 - the test that asks for it raises it
            self.error = error
        finally:
            writer.transport.abort()


async def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Complete a handshake and a join."""
    writer.write(accepted(await reader.readuntil(b"\r\n\r\n")))
    await read_message(reader, b'"join"', masked=True)
    writer.write(frame(codec.encode(joined()), masked=False))
    await read_message(reader, b'"token_stored"', masked=True)
