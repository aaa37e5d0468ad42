"""The connection of one dial: handshake, messages, end, each reported to the owner in the turn in which it happens.

Knows the handshake of RFC 6455 and the settings of our clients; not what a message means, nor what to do about an end.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.protocol import Protocol as FrameProtocol
from websockets.protocol import Side
from websockets.uri import WebSocketURI
from websockets.utils import generate_key

from resilience.client.dialling import CACHED
from resilience.units import Seconds
from resilience.wire.endpoint import Endpoint
from resilience.wire.known_heads import KnownResponses

MAX_MESSAGE_BYTES = 4_194_304
"""The largest message that is accepted: a snapshot of a large event fits, anything bigger is not from our server."""

CLOSE_TIMEOUT_S: Seconds = 1.0

UriParts = tuple[bool, str, int, str, str, str | None, str | None]
"""The fields of a ``WebSocketURI``, which itself has no hash."""

_quiet = logging.getLogger("resilience.client.transport")
_quiet.setLevel(logging.CRITICAL)


_responses = KnownResponses()


class DialOwner(Protocol):
    """What receives the reports of a connection."""

    def handshake_ended(self, connection: DialledConnection, error: Exception | None) -> None:
        """The connection is open, or, with an error, it never will be. Called once, before any other report."""

    def message_received(self, connection: DialledConnection, message: bytes) -> None:
        """A message has arrived, text or binary."""

    def connection_failed(self, connection: DialledConnection, reason: str) -> None:
        """This end closes the connection because of what the server has sent."""

    def connection_ended(self, connection: DialledConnection, code: int | None, reason: str) -> None:
        """The transport is gone. Called once, and last; ``code`` is ``None`` if no close frame has arrived."""


class DialledConnection(Endpoint):
    """One connection to the server at ``uri``. It is silent until :meth:`start` names its owner.

    While thousands wait for their response each holds only its key: what parses the response is made when it comes,
    and not at all for one that this process has accepted before.
    """

    __slots__ = ("_key", "_owner", "_uri", "dial")

    dial: int

    def __init__(self, uri: WebSocketURI) -> None:
        self._uri: WebSocketURI | None = uri
        self._key = generate_key()
        self._owner: DialOwner | None = None
        super().__init__(Side.CLIENT, max_size=MAX_MESSAGE_BYTES, logger=_quiet, close_timeout=CLOSE_TIMEOUT_S)

    @property
    def is_shaking_hands(self) -> bool:
        """Whether the handshake has not ended."""
        return self._uri is not None

    def start(self, owner: DialOwner, dial: int) -> None:
        """Send the request for a handshake, and report to ``owner`` from now on; ``dial`` is the dial's number."""
        self._owner, self.dial = owner, dial
        if self._uri is None:  # the transport was lost before
            owner.handshake_ended(self, self.protocol.handshake_exc)
            owner.connection_ended(self, None, "")
            return
        uri = self._uri
        before, after = _request_for(uri.secure, uri.host, uri.port, uri.path, uri.query, uri.username, uri.password)
        self.transport.write(before + self._key.encode() + after)

    def feed(self, data: bytes) -> int:
        """Parse bytes; returns how many frames of any kind, control frames included, and heads ended in them."""
        if self._uri is None or self.has_protocol or self.is_aborted:
            return super().feed(data)
        if _responses.accepts(data, self._key):
            self.is_established = True
            self._handshake_ended(None)
            return 1
        ended = super().feed(data)
        if self.is_established:
            _responses.add(data, self._key)
        return ended

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone: a handshake that has not ended has failed."""
        if self._uri is not None:
            self.protocol.receive_eof()
        super().connection_lost(exc)

    def head_received(self, head: Request | Response) -> None:
        """The response has arrived: keep nothing of an accepted one."""
        del head
        error = self.protocol.handshake_exc
        if error is None:
            self.release_handshake()
        self._handshake_ended(error)

    def message_received(self, message: bytes) -> None:
        """Pass a message on."""
        if self._owner is not None:
            self._owner.message_received(self, message)

    def failed(self, reason: str) -> None:
        """The server has sent what no message can be."""
        if self._owner is not None:
            self._owner.connection_failed(self, reason)

    def ended(self, code: int | None, reason: str) -> None:
        """Report the end: of the handshake, if it had not ended, and of the connection."""
        is_unfinished, self._uri = self._uri is not None, None
        owner, self._owner = self._owner, None
        if owner is None:
            return
        if is_unfinished:
            owner.handshake_ended(self, self.protocol.handshake_exc)
        owner.connection_ended(self, code, reason)

    def _handshake_ended(self, error: Exception | None) -> None:
        self._uri = None
        if self._owner is not None:
            self._owner.handshake_ended(self, error)

    def _new_protocol(self) -> FrameProtocol:
        if self._uri is None:
            return super()._new_protocol()
        protocol = ClientProtocol(self._uri, max_size=MAX_MESSAGE_BYTES, logger=_quiet)
        protocol.key = self._key
        return protocol


@lru_cache(maxsize=CACHED)
def _request_for(*parts: *UriParts) -> tuple[bytes, bytes]:
    """The request for a handshake at the URI of these parts: what comes before its key, and after it."""
    protocol = ClientProtocol(WebSocketURI(*parts), logger=_quiet)
    protocol.send_request(protocol.connect())
    before, _, after = b"".join(protocol.data_to_send()).partition(protocol.key.encode())
    return before, after
