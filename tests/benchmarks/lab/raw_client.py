"""One client of a crowd: a bare protocol on the loop that speaks just enough. Knows the wire, not the measurement."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import cast

from .frames import CLOSE, TEXT, frame, take

PING, TOKEN, GENERATION = b'{"type":"ping","id":', b'"token":"', b'"generation":'
WELCOMES = (b'{"type":"joined"', b'{"type":"state_restored"')
ACCEPTED, RETRY_AFTER = b"HTTP/1.1 101", b"Retry-After: "
LINGER_ZERO = struct.pack("ii", 1, 0)

Hear = Callable[["RawClient", float, bytes], None]


class RawClient(asyncio.Protocol):
    """Says ``first`` when the upgrade is through; ``reply`` then waits for a text that begins with ``wanted``.

    Keeps the token it was given and answers pings; everything else goes to ``hear`` with the instant of its arrival.
    """

    def __init__(self, number: int, request: bytes, hear: Hear) -> None:
        self.number, self.token = number, b""
        self.open = False
        self.reply: asyncio.Future[float] | None = None
        self.wanted = self.first = self.closed = b""
        self._request, self._hear = request, hear
        self._transport: asyncio.Transport | None = None
        self._data = b""

    def expect(self, wanted: bytes) -> asyncio.Future[float]:
        """The instant at which a text that begins like this arrives; ``ConnectionError`` when the connection ends."""
        self.wanted = wanted
        self.reply = asyncio.get_running_loop().create_future()
        return self.reply

    def say(self, data: bytes) -> None:
        """Send frames."""
        if self._transport is not None:
            self._transport.write(data)

    def drop(self, *, hard: bool = False) -> None:
        """End at once without a close frame; ``hard`` with a reset, which leaves no port waiting."""
        if self._transport is not None:
            if hard:
                link = cast("socket.socket", self._transport.get_extra_info("socket"))
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.closed = cast("asyncio.Transport", transport), b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data, start = self._data + data, 0
        if not self.open:
            start = data.find(b"\r\n\r\n") + 4
            if start < len(ACCEPTED):
                self._data = data
                return
            self._opened(data)
        while (found := take(data, start)) is not None:
            opcode, payload, start = found
            if opcode == TEXT:
                self._take(payload)
            elif opcode == CLOSE:
                self.closed = payload
                self.drop()
        self._data = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.open, self._data, self._transport = False, b"", None
        if self.reply is not None and not self.reply.done():
            why = self.closed[2:] or str(exc or "closed").encode()
            self.reply.set_exception(ConnectionError(why.decode(errors="replace")))

    def _opened(self, data: bytes) -> None:
        if data.startswith(ACCEPTED):
            self.open = True
            self.say(self.first)
        else:
            status, _, headers = data.partition(b"\r\n")
            _, shed, wait = headers.partition(RETRY_AFTER)
            self.closed = b"  " + status + (b" retry_after=" + wait.split()[0] if shed else b"")
            self.drop()

    def _take(self, text: bytes) -> None:
        now = time.monotonic()
        if text.startswith(PING):
            self.say(frame(b'{"type":"pong","id":' + _number(text, PING) + b"}"))
            return
        if text.startswith(WELCOMES):
            self.token = text[(at := text.index(TOKEN) + len(TOKEN)) : text.index(b'"', at)]
            self.say(frame(b'{"type":"token_stored","generation":' + _number(text, GENERATION) + b"}"))
        if self.reply is not None and not self.reply.done() and text.startswith(self.wanted):
            self.reply.set_result(now)
        self._hear(self, now, text)


def _number(text: bytes, after: bytes) -> bytes:
    at = end = text.index(after) + len(after)
    while text[end : end + 1].isdigit():
        end += 1
    return text[at:end]
