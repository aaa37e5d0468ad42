"""The connection of one dial: handshake, messages, end, each reported to the owner in the turn in which it happens.

Knows the handshake of RFC 6455 and the settings of our clients; not what a message means, nor what to do about an end.
"""

from __future__ import annotations

import logging
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.uri import WebSocketURI

from resilience.units import Seconds
from resilience.wire.endpoint import Endpoint

MAX_MESSAGE_BYTES = 4_194_304
"""The largest message that is accepted: a snapshot of a large event fits, anything bigger is not from our server."""

CLOSE_TIMEOUT_S: Seconds = 1.0

_quiet = logging.getLogger("resilience.client.transport")
_quiet.setLevel(logging.CRITICAL)


class DialOwner(Protocol):
    """What receives the reports of a connection."""

    def handshake_ended(self, connection: DialledConnection, error: Exception | None) -> None:
        """The connection is open, or, with an error, it never will be. Called once, before any other report."""

    def message_received(self, connection: DialledConnection, message: bytes) -> None:
        """A message has arrived, text or binary."""

    def connection_ended(self, connection: DialledConnection, code: int | None, reason: str) -> None:
        """The transport is gone. Called once, and last; ``code`` is ``None`` if no close frame has arrived."""


class DialledConnection(Endpoint):
    """One connection to the server at ``uri``. It is silent until :meth:`start` names its owner."""

    __slots__ = ("_handshake", "_owner", "dial")

    dial: int

    def __init__(self, uri: WebSocketURI) -> None:
        self._handshake: ClientProtocol | None = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES, logger=_quiet)
        self._owner: DialOwner | None = None
        super().__init__(self._handshake, close_timeout=CLOSE_TIMEOUT_S)

    @property
    def is_shaking_hands(self) -> bool:
        """Whether the handshake has not ended."""
        return self._handshake is not None

    def start(self, owner: DialOwner, dial: int) -> None:
        """Send the request for a handshake, and report to ``owner`` from now on; ``dial`` is the dial's number."""
        self._owner, self.dial = owner, dial
        if self._handshake is None:  # the transport was lost before
            owner.handshake_ended(self, self.protocol.handshake_exc)
            owner.connection_ended(self, None, "")
            return
        self._handshake.send_request(self._handshake.connect())
        self.flush()

    def head_received(self, head: Request | Response) -> None:
        """The response has arrived: keep nothing of an accepted one."""
        del head
        self._handshake, error = None, self.protocol.handshake_exc
        if error is None:
            self.release_handshake()
        if self._owner is not None:
            self._owner.handshake_ended(self, error)

    def message_received(self, message: bytes) -> None:
        """Pass a message on."""
        if self._owner is not None:
            self._owner.message_received(self, message)

    def ended(self, code: int | None, reason: str) -> None:
        """Report the end: of the handshake, if it had not ended, and of the connection."""
        unfinished, self._handshake = self._handshake, None
        owner, self._owner = self._owner, None
        if owner is None:
            return
        if unfinished is not None:
            owner.handshake_ended(self, unfinished.handshake_exc)
        owner.connection_ended(self, code, reason)
