"""One modelled dial and its connection, what crosses a link besides messages, and both ends as the link sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.protocol.server.connection import ServerConnection
from resilience.units import Instant, Seconds

if TYPE_CHECKING:
    from .input import ModelInput
    from .link import ModelLink

REFUSED, CLOSED = "refused", "closed"
"""Why a dial or a connection ended, as far as the network can tell."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The WebSocket handshake: the request upwards, the response downwards."""


@dataclass(frozen=True, slots=True)
class CloseSignal:
    """A connection's end, after all that was sent before it.

    ``code`` is that of the close frame, if there was one; ``status`` that of the response which rejects the handshake;
    ``retry_after`` the seconds that either of them gives.
    """

    code: int | None = None
    status: int | None = None
    retry_after: Seconds | None = None

    @property
    def is_bare(self) -> bool:
        """Whether the connection ends without bytes: no close frame and no response."""
        return self.code is None and self.status is None


UPGRADE, FIN = Upgrade(), CloseSignal()


class ClientEnd(Protocol):
    """Who dialled; ``actor`` is its name."""

    actor: str

    def opened(self, connection: ModelConnection) -> None:
        """The upgrade is complete."""

    def failed(self, connection: ModelConnection, cause: str) -> None:
        """The dial failed."""

    def lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        """The open connection ended."""

    def receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        """The server said something."""


class ServerEnd(Protocol):
    """Who was dialled. ``is_up``: there is a process that accepts connections."""

    is_up: bool

    def upgrade(self, connection: ModelConnection) -> None:
        """A handshake request arrived."""

    def lost(self, connection: ModelConnection, cause: str) -> None:
        """A connection ended, open or not."""

    def receive(self, connection: ModelConnection, message: ClientMessage) -> None:
        """A client said something."""


@dataclass(slots=True, eq=False)
class ModelConnection:
    """One dial and its connection. ``key`` is the server's number of it, 0 until it has accepted the upgrade.

    ``machine`` is the server's side of it; ``input`` what has arrived there and was not received yet;
    ``status`` and ``retry_after`` are the HTTP status and the seconds of its end, as the client has seen it.
    An end that is *gone* has released the connection or received its end: nothing reaches it any more. ``severed``: by
    the proxy. ``due_up`` and ``due_down``: when the last message of each direction arrives, where delays hold.
    """

    link: ModelLink
    client: ClientEnd
    dial: int
    key: int = 0
    opened: bool = False
    machine: ServerConnection | None = None
    input: ModelInput | None = None
    status: int | None = None
    retry_after: Seconds | None = None
    client_gone: bool = False
    server_gone: bool = False
    severed: bool = False
    due_up: Instant = 0.0
    due_down: Instant = 0.0
