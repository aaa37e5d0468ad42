"""What one connection sends, on its way from the link to its machine: length, rate limits, processor time, in order.

The production meter decides how much may be read when, as in the server's driver; bytes are counted, not carried. Those
of the handshake are not counted.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from resilience.protocol.codec import encode
from resilience.protocol.messages import ClientMessage
from resilience.protocol.server.connection import ServerConnection
from resilience.runtime import TICK_S

from .clock import SimEnvironment
from .connection import ModelConnection
from .process import ModelProcess

_SHORT, _LONG = 126, 65_536
_MASK_BYTES = 4


class MessageReceiver(Protocol):
    """The server, as the input of one of its connections uses it."""

    def is_live(self, connection: ModelConnection) -> bool:
        """Whether this connection has not ended."""

    def begin_work(self, connection: ModelConnection, message: ClientMessage) -> bool:
        """Whether this message waits for a processor; the input continues by :meth:`ModelInput.continue_after`."""

    def take(self, connection: ModelConnection, machine: ServerConnection, message: ClientMessage) -> None:
        """A message was read."""

    def refuse(self, connection: ModelConnection, machine: ServerConnection) -> None:
        """A message is too long."""

    def carry_out(self) -> None:
        """Carry out what all this has led to."""


class ModelInput:
    """The messages of one connection that have arrived and were not received yet, first the oldest."""

    __slots__ = ("_clock", "_connection", "_held", "_is_waiting", "_left", "_machine", "_most", "_process", "_server")

    def __init__(  # noqa: PLR0913, PLR0917 - what the input of a connection depends on
        self,
        connection: ModelConnection,
        machine: ServerConnection,
        server: MessageReceiver,
        clock: SimEnvironment,
        process: ModelProcess,
        most_bytes: int,
    ) -> None:
        self._connection, self._machine, self._server = connection, machine, server
        self._clock, self._process, self._most = clock, process, most_bytes
        self._held: deque[tuple[ClientMessage, int]] = deque()
        self._left, self._is_waiting = 0, False

    def receive(self, message: ClientMessage) -> None:
        """A message has arrived; it is read at once unless something before it waits."""
        self._held.append((message, len(encode(message))))
        if not self._is_waiting:
            self._read()

    def continue_after(self, message: ClientMessage) -> None:
        """A processor is done with this message: it is received, and the next one is read."""
        self._is_waiting = False
        self._server.take(self._connection, self._machine, message)
        self._read()

    def _read(self) -> None:
        while self._held and not self._is_waiting and self._server.is_live(self._connection):
            message, size = self._held[0]
            if not self._has_parsed(size):
                self._wait(self._machine.input_wait(self._clock.now))
                continue
            self._held.popleft()
            if size > self._most:
                self._server.refuse(self._connection, self._machine)
            elif self._server.begin_work(self._connection, message):
                self._is_waiting = True
            else:
                self._server.take(self._connection, self._machine, message)
        self._server.carry_out()

    def _has_parsed(self, size: int) -> bool:
        """Parse what may be parsed now of the frame of a message of this size; whether it is whole."""
        meter, now = self._machine.input, self._clock.now
        self._left = self._left or frame_bytes(size)
        while allowance := meter.allowance(now):
            piece = min(allowance, self._left)
            self._left -= piece
            meter.charge(0 if self._left else 1, piece, now)
            if not self._left:
                return True
        return False

    def _wait(self, seconds: float) -> None:
        if not seconds:
            self._machine.input.begin_turn()
            return
        self._is_waiting = True
        self._clock.at(self._clock.now + max(seconds, TICK_S), lambda _: self._wake())

    def _wake(self) -> None:
        if self._process.is_suspended:
            self._process.ring_later(self._connection, self._wake)
            return
        self._is_waiting = False
        self._machine.input.begin_turn()
        self._read()


def frame_bytes(size: int) -> int:
    """The length of a client's frame with so many bytes of payload: two bytes, a mask, and a longer length if needed.

    RFC 6455, section 5.2.
    """
    extended = 0 if size < _SHORT else 2 if size < _LONG else 8
    return 2 + extended + _MASK_BYTES + size
