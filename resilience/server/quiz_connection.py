"""One socket of the server: a WebSocket endpoint that reports to its gateway from its transport's first moment.

It knows bytes, frames and HTTP heads. What happens to the connection is decided by
:mod:`resilience.protocol.server.connection`, whose machine the gateway gives to each connection when it opens.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from websockets.http11 import Request

from resilience.policy.close_codes import CloseCode
from resilience.policy.handshake import HandshakeRequest
from resilience.protocol.messages import ServerMessage
from resilience.protocol.server.connection import ServerConnection
from resilience.server.hub import Hub
from resilience.server.input import MeteredInput
from resilience.units import Instant, Seconds
from resilience.wire.known_heads import KnownHeads
from resilience.wire.server_endpoint import ServerEndpoint

CLOSE_TIMEOUT_S: Seconds = 1.0

_quiet = logging.getLogger("resilience.server.transport")
_quiet.setLevel(logging.CRITICAL)

_VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.TOO_BIG})
"""The codes with which a connection is failed because of what its peer sent (RFC 6455 section 7.4.1)."""


class ConnectionOwner(Protocol):
    """What a connection reports to: the gateway. All calls return at once and raise nothing."""

    def connection_opened(self, connection: QuizConnection) -> None:
        """A transport was opened: set the connection's ``machine`` and ``input``."""

    def request_received(self, connection: QuizConnection, request: Request) -> None:
        """The head of a request has arrived: answer it."""

    def handshake_completed(self, connection: QuizConnection) -> None:
        """The request was answered with 101."""

    def input_wait(self, machine: ServerConnection, now: Instant) -> Seconds:
        """Return, and record, how long the next byte of this connection has to wait."""

    def message_received(self, connection: QuizConnection, data: bytes) -> None:
        """A whole message has arrived."""

    def close_slow_consumer(self, connection: QuizConnection) -> None:
        """The client reads less than it is sent."""

    def connection_closed(self, connection: QuizConnection, code: int | None) -> None:
        """The transport is gone; ``code`` is the close code received, if there was one."""

    def message_sent(self, machine: ServerConnection, message: ServerMessage) -> None:
        """A room has sent this message to this connection alone."""

    def carry_out_effects(self) -> None:
        """Carry out what a machine asked for."""


class QuizConnection(ServerEndpoint):
    """A connection of one client, or of a browser that asks for a page."""

    __slots__ = ("_owner", "input", "machine")

    machine: ServerConnection
    input: MeteredInput

    def __init__(self, owner: ConnectionOwner, heads: KnownHeads, *, max_size: int, write_limit: int) -> None:
        super().__init__(
            heads, max_size=max_size, logger=_quiet, close_timeout=CLOSE_TIMEOUT_S, write_limit=write_limit
        )
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Report the transport's opening."""
        super().connection_made(transport)
        self._owner.connection_opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived: they are parsed as fast as the meter allows."""
        self.input.receive(data)

    def input_wait(self, now: Instant) -> Seconds:
        """Return, and record, how long the next byte has to wait."""
        return self._owner.input_wait(self.machine, now)

    def request_received(self, request: Request) -> None:
        """A request has arrived."""
        self._owner.request_received(self, request)

    def handshake_completed(self) -> None:
        """The request was accepted."""
        self._owner.handshake_completed(self)

    def message_received(self, message: bytes) -> None:
        """A message has arrived."""
        self._owner.message_received(self, message)

    def writing_paused(self) -> None:
        """The write buffer is full, of messages or of the library's replies to pings: act on it if it lasts."""
        asyncio.get_running_loop().call_soon(self._close_if_still_slow)

    def ended(self, code: int | None, reason: str) -> None:
        """Report the transport's end."""
        del reason
        self.input.stop()
        del self.input  # it refers to this object, which would wait for a collection of cycles
        self._owner.connection_closed(self, code)

    def _close_if_still_slow(self) -> None:
        if self.is_writing_paused:
            self._owner.close_slow_consumer(self)


class WebSocketPeer:
    """A :class:`~resilience.server.hub.Peer` over one connection; ``hub`` drives its event's room."""

    __slots__ = ("_owner", "connection", "hub")

    def __init__(self, connection: QuizConnection, owner: ConnectionOwner) -> None:
        self.connection, self._owner = connection, owner
        self.hub: Hub | None = None

    def send(self, frame: bytes) -> None:
        """Queue a whole frame: a server's frames are the same for all receivers, so each is made once."""
        self.connection.send_frame(frame)

    def close(self, code: int, reason: str) -> None:
        """Close with this code; later messages of this connection are ignored."""
        self.connection.machine.close(code, reason)
        self._owner.carry_out_effects()

    def message_sent(self, message: ServerMessage) -> None:
        """The room has sent this message to this connection alone."""
        self._owner.message_sent(self.connection.machine, message)


def peer_address(remote_address: object) -> str:
    """The network address of the other end; ``remote_address`` as a transport's ``peername``."""
    return str(remote_address[0]) if isinstance(remote_address, tuple) and remote_address else "unknown"


def handshake_request(remote_address: object, request: Request) -> HandshakeRequest:
    """The parts of a request's head that the policy judges; ``remote_address`` as a transport's ``peername``."""
    headers = request.headers
    return HandshakeRequest(
        peer_address(remote_address),
        tuple(headers.get_all("Origin")),
        tuple(headers.get_all("Host")),
        tuple(headers.get_all("X-Forwarded-For")),
    )


def is_protocol_violation(connection: QuizConnection) -> bool:
    """Whether it was failed because of its peer: no handshake, a wrong frame, no UTF-8, a message that is too long."""
    if not connection.has_protocol:
        return False
    failed = connection.protocol.handshake_exc
    if failed is not None:
        return not isinstance(failed.__cause__, EOFError)  # a peer that goes during the handshake broke no rule
    sent, is_echo = connection.protocol.close_sent, connection.protocol.close_rcvd_then_sent
    return sent is not None and sent.code in _VIOLATIONS and not is_echo
