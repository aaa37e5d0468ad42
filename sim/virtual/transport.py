"""Two ends of one connection and the two flows of bytes between them, in memory. Knows conditions, not why they hold.

Bytes arrive in order, one latency after they were written. A reader that pauses stops its writer once a window of bytes
is under way, as TCP would.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from resilience.units import Seconds

if TYPE_CHECKING:
    from .loop import VirtualLoop

WINDOW_BYTES = 65_536
HIGH_WATER_BYTES = 65_536
LOW_WATER_BYTES = 16_384

EOF = b""
"""Stands in a flow for the end of it."""


class Hold(Enum):
    """What a flow keeps back for now."""

    NOTHING = "nothing"
    DATA = "data"
    EVERYTHING = "everything"


class Flow:
    """One direction of a connection: what is under way to ``end``."""

    __slots__ = ("_loop", "_queue", "_scheduled", "bytes_under_way", "end", "hold", "hole", "latency", "source")

    def __init__(self, loop: VirtualLoop, latency: Seconds) -> None:
        self._loop, self.latency = loop, latency
        self.end: VirtualTransport
        self.source: VirtualTransport
        self.hole = False
        self.hold = Hold.NOTHING
        self.bytes_under_way = 0
        self._queue: deque[tuple[float, bytes]] = deque()
        self._scheduled = False

    def put(self, data: bytes) -> None:
        """Send bytes, or ``EOF``; a hole swallows bytes, never the end."""
        if self.hole and data:
            return
        self.bytes_under_way += len(data)
        self._queue.append((self._loop.time() + self.latency, data))
        self.wake()

    def wake(self) -> None:
        """See to it that what may arrive does."""
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_at(max(self._queue[0][0], self._loop.time()), self._deliver)

    def clear(self) -> None:
        """Lose everything that is under way."""
        self._queue.clear()
        self.bytes_under_way = 0

    def drop_excess(self) -> None:
        """Lose what the window had no room for: the writer is gone with its own buffer."""
        while self._queue and self.bytes_under_way > WINDOW_BYTES:
            self.bytes_under_way -= len(self._queue.pop()[1])

    def _deliver(self) -> None:
        self._scheduled = False
        now, queue, chunks = self._loop.time(), self._queue, []
        ended = False
        while queue and queue[0][0] <= now and not ended and not self._held(queue[0][1]):
            data = queue.popleft()[1]
            ended = not data
            chunks.append(data)
        if chunks:
            self._hand_over(b"".join(chunks), ended=ended)
        if queue and not self._held(queue[0][1]):
            self.wake()

    def _held(self, data: bytes) -> bool:
        if self.hold is Hold.EVERYTHING or (self.hold is Hold.DATA and data):
            return True
        return self.end.is_paused

    def _hand_over(self, data: bytes, *, ended: bool) -> None:
        self.bytes_under_way -= len(data)
        if data:
            self.end.arrived(data)
            self.source.drained()
        if ended:
            self.end.ended()


class VirtualTransport(asyncio.Transport):
    """One end. ``outgoing`` carries what it writes; ``incoming`` is told when it reads again."""

    def __init__(
        self,
        loop: VirtualLoop,
        protocol: Any,
        outgoing: Flow,
        incoming: Flow,
        names: tuple[Any, Any],  # noqa: ANN401
    ) -> None:
        super().__init__({"sockname": names[0], "peername": names[1]})
        self._loop, self._protocol = loop, protocol
        self._outgoing, self._incoming = outgoing, incoming
        outgoing.source, incoming.end = self, self
        self.is_paused = False
        self._closing = self._lost = self._wrote_eof = self._writer_paused = False
        self._high, self._low = HIGH_WATER_BYTES, LOW_WATER_BYTES

    # what asyncio's protocols call ------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As in asyncio."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """As in asyncio."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """As in asyncio."""
        return self._closing

    def is_reading(self) -> bool:
        """As in asyncio."""
        return not (self.is_paused or self._closing)

    def pause_reading(self) -> None:
        """As in asyncio; what is under way stays there."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """As in asyncio."""
        if self.is_paused:
            self.is_paused = False
            self._incoming.wake()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As in asyncio; bytes written after the end are lost, as on a socket that is gone."""
        if self._closing or self._wrote_eof or not data:
            return
        self._outgoing.put(bytes(data))
        if not self._writer_paused and self.get_write_buffer_size() > self._high:
            self._writer_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:  # noqa: ANN401 - as in asyncio
        """As in asyncio."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """As in asyncio: yes."""
        return True

    def write_eof(self) -> None:
        """As in asyncio: nothing more comes from here, reading goes on."""
        if not (self._closing or self._wrote_eof):
            self._wrote_eof = True
            self._outgoing.put(EOF)

    def get_write_buffer_size(self) -> int:
        """Bytes that the window has no room for."""
        return max(self._outgoing.bytes_under_way - WINDOW_BYTES, 0)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As in asyncio: low, high."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As in asyncio."""
        self._high = HIGH_WATER_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def close(self) -> None:
        """Write what is left, then end; the protocol hears ``connection_lost`` when that is under way."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        if self.get_write_buffer_size() == 0:
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """End at once; what is still in our own buffer is lost."""
        if self._lost:
            return
        if not self._closing:
            self._closing = True
            self._outgoing.drop_excess()
            if not self._wrote_eof:
                self._wrote_eof = True
                self._outgoing.put(EOF)
        self._loop.call_soon(self._lose, None)

    # what the flows and the network call ------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """Bytes came in."""
        if not self._closing:
            self._protocol.data_received(data)

    def ended(self) -> None:
        """The peer writes no more."""
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def drained(self) -> None:
        """The peer took something: there may be room again."""
        size = self.get_write_buffer_size()
        if self._writer_paused and size <= self._low:
            self._writer_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._lost and size == 0:
            self._loop.call_soon(self._lose, None)

    def sever(self, error: Exception | None) -> None:
        """The network took the connection away: with an error at once, else as an end of the stream."""
        if error is not None:
            self._closing = True
            self._loop.call_soon(self._lose, error)
        else:
            self._loop.call_soon(self.ended)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._protocol.connection_lost(error)

    @property
    def is_lost(self) -> bool:
        """Whether the protocol has heard of the end."""
        return self._lost
