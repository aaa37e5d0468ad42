"""A transport that keeps what is written to it, and an endpoint that keeps what it is called with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from websockets.http11 import Request, Response
from websockets.protocol import Protocol, Side

from resilience.units import Seconds
from resilience.wire.endpoint import Endpoint


class FakeTransport(asyncio.Transport):
    """Written bytes, and the ends of the stream; ``abort`` loses the connection in the next turn, as asyncio does."""

    def __init__(self, protocol: asyncio.Protocol, *, half_close: bool = True) -> None:
        super().__init__()
        self.protocol, self.half_close = protocol, half_close
        self.written = b""
        self.ended = self.closed = self.aborted = False
        self.limits: tuple[int | None, int | None] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end of the stream"
        self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return self.half_close

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def taken(self) -> bytes:
        """What was written since the last call."""
        data, self.written = self.written, b""
        return data


class NotingEndpoint(Endpoint):
    """An endpoint that begins with ``protocol`` and notes its calls."""

    def __init__(self, protocol: Protocol, *, close_timeout: Seconds, write_limit: int | None = None) -> None:
        super().__init__(
            Side(protocol.side),
            max_size=protocol.max_message_size or sys.maxsize,
            logger=protocol.logger,
            close_timeout=close_timeout,
            write_limit=write_limit,
        )
        self._protocol = protocol
        self.heads, self.messages = list[Request | Response](), list[bytes]()
        self.pauses, self.ends = list[bool](), list[tuple[int | None, str]]()

    def head_received(self, head: Request | Response) -> None:
        self.heads.append(head)

    def message_received(self, message: bytes) -> None:
        self.messages.append(message)

    def writing_paused(self) -> None:
        self.pauses.append(True)

    def writing_resumed(self) -> None:
        self.pauses.append(False)

    def ended(self, code: int | None, reason: str) -> None:
        self.ends.append((code, reason))
