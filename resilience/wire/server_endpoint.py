"""A server's end of a connection: the heads of requests, and the answers to them.

It knows HTTP as far as the library of ``websockets`` does, not who may connect. A connection that says nothing, or
sends a known head, costs no protocol of the library.
"""

from __future__ import annotations

from typing import cast

from websockets.exceptions import InvalidHandshake, InvalidMessage
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING, OPEN, Protocol, Side
from websockets.server import ServerProtocol
from websockets.typing import LoggerLike

from resilience.units import Seconds
from resilience.wire.endpoint import Endpoint
from resilience.wire.known_heads import KnownHeads

BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 49\r\n\r\nthis server reads HTTP/1.1 requests without body\n"
)
"""The answer to bytes that are no HTTP request, and to requests with a body."""

_SWITCHING = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)
"""The head of an accepted handshake (RFC 6455 section 4.2.2)."""


class ServerEndpoint(Endpoint):
    """One connection at a server. ``heads`` are those that it knows, ``max_size`` limits messages, bytes.

    A subclass overrides :meth:`request_received` and :meth:`handshake_completed` too.
    """

    __slots__ = ("_accept_key", "_first_data", "_heads")

    def __init__(
        self, heads: KnownHeads, *, max_size: int, logger: LoggerLike, close_timeout: Seconds, write_limit: int
    ) -> None:
        super().__init__(
            Side.SERVER, max_size=max_size, logger=logger, close_timeout=close_timeout, write_limit=write_limit
        )
        self._heads = heads
        self._accept_key, self._first_data = "", b""

    # for the subclass -------------------------------------------------------------------------------------------------

    def request_received(self, request: Request) -> None:
        """The head of a request has arrived: call :meth:`accept` or :meth:`respond`."""

    def handshake_completed(self) -> None:
        """The request was answered with 101."""

    # answers to a request ---------------------------------------------------------------------------------------------

    def accept(self, request: Request) -> None:
        """Complete the handshake, or reject what asks for none that this server can complete."""
        accept_key = self._accept_key
        if not accept_key:
            try:
                accept_key = self._handshake.process_request(request)[0]  # no extension or subprotocol is offered
            except InvalidHandshake:
                self.respond(self._handshake.accept(request))
                return
            if self._first_data:
                self._heads.add(self._first_data, request)
        if self._is_unanswered:
            self.transport.write(_SWITCHING.format(accept_key).encode())
            self._complete_handshake()
            self.handshake_completed()

    def reject(self, status: int, text: str) -> Response:
        """A response to :meth:`respond` with."""
        return self._handshake.reject(status, text)

    def respond(self, response: Response) -> None:
        """Reject the request, or answer it with a page; ends the connection. Dropped if the peer is gone."""
        if self._is_unanswered:
            self._handshake.send_response(response)
            self.flush()

    # the wire ---------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> int:
        """Parse bytes; returns how many frames of any kind, control frames included, and heads ended in them."""
        if self.is_established or self.has_protocol:
            return super().feed(data)
        known = self._heads.find(data)
        if known is not None:
            self._accept_key = known.accept_key
            self.request_received(known.request)
            return 1
        self._first_data = data
        try:
            return super().feed(data)
        finally:
            self._first_data = b""

    def head_received(self, head: Request | Response) -> None:
        """A request has arrived."""
        assert isinstance(head, Request)  # noqa: S101 - a server receives no response
        self.request_received(head)

    def write_eof(self) -> None:
        """Answer what ends without an answer of the library, because it is no request."""
        failed = self.protocol.handshake_exc
        if isinstance(failed, InvalidMessage) and not isinstance(failed.__cause__, EOFError):
            self.transport.write(BAD_REQUEST)
        super().write_eof()

    # its parts --------------------------------------------------------------------------------------------------------

    @property
    def _handshake(self) -> ServerProtocol:
        """The protocol of the library before the end of the handshake."""
        return cast("ServerProtocol", self.protocol)

    @property
    def _is_unanswered(self) -> bool:
        if self.is_established or self.is_aborted:
            return False
        return not self.has_protocol or (self.protocol.state is CONNECTING and not self.protocol.close_expected())

    def _complete_handshake(self) -> None:
        if self.has_protocol:
            self.protocol.state = OPEN
            self.release_handshake()
        else:
            self.is_established = True

    def _new_protocol(self) -> Protocol:
        if self.is_established:
            return super()._new_protocol()
        return ServerProtocol(max_size=self._max_size, logger=self._logger)
