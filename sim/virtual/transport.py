"""One end of a connection in memory: asyncio's transport over two pipes.

Knows asyncio's rules for flow control, half-closing and the order of callbacks; not the other end, nor any fault.
``connection_lost`` is called once, in a turn of its own, for every kind of end.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any

from .loop import PROCESS
from .pipe import ControlSignal, DeliveryScheduler, Obstruction, Pipe

HIGH_WATER_BYTES = 64 * 1024
"""asyncio's own limit: a write buffer above it pauses the protocol."""


class VirtualTransport(asyncio.Transport):
    """One end of a connection, as asyncio documents transports, without TLS and buffered protocols.

    ``abort_mark`` is what the peer sees of :meth:`abort`: a reset, or a plain FIN if there is a proxy between the ends.
    ``process`` is the one that owns this end, where it is one that can be suspended.
    """

    __slots__ = (
        "__weakref__",
        "_abort_mark",
        "_closing",
        "_context",
        "_deliveries",
        "_ending",
        "_eof_seen",
        "_eof_sent",
        "_high",
        "_low",
        "_on_lost",
        "_peername",
        "_protocol",
        "_reading",
        "_sockname",
        "_writing_paused",
        "inbound",
        "is_lost",
        "outbound",
        "process",
    )

    def __init__(  # noqa: PLR0913 - all that an end is
        self,
        deliveries: DeliveryScheduler,
        inbound: Pipe,
        outbound: Pipe,
        *,
        sockname: tuple[str, int],
        peername: tuple[str, int],
        abort_mark: ControlSignal,
    ) -> None:
        self._sockname, self._peername = sockname, peername
        self._context: Context | None = None
        self.process: str | None = None
        self._deliveries, self.inbound, self.outbound = deliveries, inbound, outbound
        self._abort_mark: ControlSignal = abort_mark
        self._on_lost: Callable[[], None] = _nothing
        self._protocol: Any = None
        self._closing = self._ending = self._writing_paused = False
        self._eof_seen = self._eof_sent = False
        self._reading = True
        self.is_lost = False
        self._high, self._low = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4
        inbound.sink = outbound.source = self

    def get_extra_info(self, name: str, default: object = None) -> object:
        """``sockname`` and ``peername``, host and port each; ``socket``: there is none."""
        match name:
            case "sockname":
                return self._sockname
            case "peername":
                return self._peername
            case "socket":
                return None
        return default

    def belong_to(self, context: Context | None) -> None:
        """Call the protocol in this context, that of a process, from now on."""
        self._context = context
        self.process = None if context is None else context.get(PROCESS)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, after ``connection_lost``."""
        self._on_lost = callback

    def open(self, protocol: asyncio.BaseProtocol) -> None:
        """Connect the protocol; it receives bytes from now on. Raises what ``connection_made`` raises."""
        self._protocol = protocol
        protocol.connection_made(self)
        if not self.is_lost:
            self.inbound.unblock(Obstruction.OPENING)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change the protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol; ``None`` after the connection is lost, as in asyncio's own transports."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """Whether the end was closed, aborted or lost."""
        return self._closing

    # Reading.

    def is_reading(self) -> bool:
        """Whether received bytes are passed on."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Leave bytes in the pipe until its window is full and the sender has to wait."""
        if self._reading and not self._closing:
            self._reading = False
            self.inbound.block(Obstruction.PAUSED)

    def resume_reading(self) -> None:
        """Pass bytes on again, from the next turn on."""
        if not self._reading and not self._closing:
            self._reading = True
            self.inbound.unblock(Obstruction.PAUSED)

    def feed(self, data: bytes) -> None:
        """Bytes arrived; a closing end drops them."""
        if self._closing:
            return
        try:
            if self._context is None:
                self._protocol.data_received(data)
            else:
                self._call(self._protocol.data_received, data)
        except Exception as error:  # noqa: BLE001 - reported, and the connection ends, as in asyncio
            self._fail(error, "data_received")

    def feed_mark(self, mark: ControlSignal) -> None:
        """A FIN or a reset arrived."""
        if mark is ControlSignal.RST:
            self._lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        elif not self._closing and not self._eof_seen:
            self._eof_seen = True
            try:
                keep_open = self._call(self._protocol.eof_received)
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(error, "eof_received")
            else:
                if not keep_open:
                    self.close()

    # Writing.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes; raises ``RuntimeError`` after :meth:`write_eof`. A closing end drops them."""
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        self.outbound.send(data)
        if self.outbound.backlog_size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._tell("pause_writing")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Half-closing works."""
        return True

    def write_eof(self) -> None:
        """Send FIN behind the written bytes; reading continues."""
        if not self._closing and not self._eof_sent:
            self._eof_sent = True
            self.outbound.finish()

    def get_write_buffer_size(self) -> int:
        """Bytes that did not fit into the window."""
        return self.outbound.backlog_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high mark, bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks as asyncio does: low is a quarter of high unless given."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    def drained(self) -> None:
        """Part of the backlog was sent: resume the protocol, and end if the close waits for that."""
        if self._closing:
            if not self._ending and not self.outbound.backlog_size:
                self._end(None)
        elif self._writing_paused and self.outbound.backlog_size <= self._low:
            self._writing_paused = False
            self._tell("resume_writing")

    def _tell(self, what: str) -> None:
        try:
            self._call(getattr(self._protocol, what))
        except Exception as error:  # noqa: BLE001 - reported, the connection stays, as in asyncio
            self._report(error, what)

    # Ending.

    def close(self) -> None:
        """Send the written bytes, then FIN; the protocol is informed after the last byte was sent."""
        if self._closing:
            return
        self._closing = True
        if not self._eof_sent:
            self.outbound.finish()
        self.inbound.unblock(Obstruction.PAUSED)
        self.drained()

    def abort(self) -> None:
        """End at once and drop undelivered bytes."""
        self._force_close(None)

    def crash(self) -> None:
        """End as at the death of this end's process: the protocol sees only the loss."""
        self._force_close(ConnectionResetError(errno.ECONNRESET, "the process that owned this end is gone"))

    def _force_close(self, error: Exception | None) -> None:
        if not self._ending:
            self.outbound.discard(self._abort_mark)
            self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if not self._ending:
            self._closing = True
            self.inbound.unblock(Obstruction.PAUSED)
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self._ending = True
        self._deliveries.soon(self._connection_lost, error, context=self._context)

    def _connection_lost(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        self.is_lost = True
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            on_lost, self._on_lost = self._on_lost, _nothing
            on_lost()

    def _call(self, callback: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - whatever it returns
        """Call the protocol in the context of its process."""
        return callback(*args) if self._context is None else self._context.copy().run(callback, *args)

    def _fail(self, error: Exception, where: str) -> None:
        self._report(error, where)
        self._force_close(error)

    def _report(self, error: Exception, where: str) -> None:
        message = f"protocol.{where}() failed"
        self._deliveries.loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )


def _nothing() -> None:
    """Does nothing if an end is lost a second time."""
