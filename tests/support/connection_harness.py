"""One server connection machine without sockets: a test says what happens and reads the effects."""

from __future__ import annotations

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.handshake import HandshakePolicy, HandshakeRejection, HandshakeRequest
from resilience.protocol.effects import ConnectionEffect, Disconnect, Record, SendToClient
from resilience.protocol.messages import ClientMessage, Host, Join, Message, Resume, ResumeRejected, ServerMessage
from resilience.protocol.server.connection import ServerConnection, ServerConnections
from resilience.protocol.server.event_location import EventLocation
from resilience.protocol.states import ServerConnectionState

from .machines import joined

KEY = "the key of the hosts"
HERE, ELSEWHERE, RECOVERING, NOWHERE = "quiz", "moved", "waiting", "nowhere"
JOIN = Join(event=HERE, name="Ada", instance="tab")
RESUME = Resume(event=HERE, token="t")
HOST = Host(event=HERE, key=KEY)
BROWSER = HandshakeRequest("10.0.0.1", ("http://quiz",), ("quiz",))
REFUSED, SHED, WRONG = (
    kind.value for kind in (LogEventKind.CONNECTION_REFUSED, LogEventKind.JOIN_SHED, LogEventKind.MESSAGE_REFUSED)
)


class ConnectionHarness:
    """Machines at a time of the test's choosing; ``events`` says where each event runs."""

    def __init__(self, *, host_key: str | None = KEY, max_transports: int = 10**6, **settings: object) -> None:
        self.now = 100.0
        self.config = ServerConfig(**settings)  # type: ignore[arg-type]
        self.policy = HandshakePolicy(self.config.handshake(1000))
        self.events = {
            HERE: EventLocation.HERE,
            ELSEWHERE: EventLocation.ELSEWHERE,
            RECOVERING: EventLocation.RECOVERING,
        }
        self.connections = ServerConnections(
            self.config.connection, self.policy, locate=self._locate, host_key=host_key, max_transports=max_transports
        )
        self._keys = 0

    def open(self, peer: str = "10.0.0.1") -> ServerConnection:
        """A machine whose transport has just opened."""
        self._keys += 1
        return self.connections.open(self._keys, self.now, peer)

    def shaken(self, request: HandshakeRequest | None = None) -> ServerConnection:
        """A machine whose handshake is complete."""
        connection = self.open()
        assert self.shake(connection, request) is None
        connection.handshake_completed()
        return connection

    def shake(self, connection: ServerConnection, request: HandshakeRequest | None = None) -> HandshakeRejection | None:
        """The head of the handshake arrives."""
        return connection.handshake_received(request or HandshakeRequest("10.0.0.1"), self.now)

    def in_state(self, state: ServerConnectionState) -> ServerConnection:
        """A machine that the usual messages led to this state; its effects are taken."""
        connection = self.open() if state is ServerConnectionState.HANDSHAKING else self.shaken()
        match state:
            case ServerConnectionState.JOINING | ServerConnectionState.PARTICIPANT:
                assert connection.receive(JOIN, self.now)
            case ServerConnectionState.HOST:
                connection.receive(HOST, self.now)
            case ServerConnectionState.DRAINING:
                connection.drain(1.0)
            case ServerConnectionState.CLOSED:
                connection.close(1000, "over")
        if state is ServerConnectionState.PARTICIPANT:
            connection.message_sent(joined(), self.now)
        self.connections.effects()
        assert connection.state is state
        return connection

    def receive(self, connection: ServerConnection, *messages: ClientMessage) -> list[bool]:
        """Messages arrive; which of them are the room's."""
        return [connection.receive(message, self.now) for message in messages]

    def wait(self, seconds: float) -> None:
        """Let time pass and every deadline in it come."""
        end = self.now + seconds
        while (deadline := self.connections.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.connections.handle_timeout(self.now)
        self.now = end

    def effects(self) -> list[ConnectionEffect]:
        """What is to be done, but for the records."""
        return [effect for effect in self.connections.effects() if not isinstance(effect, Record)]

    def outcome(self) -> tuple[list[tuple[str, str | None]], list[Message], list[tuple[int, str]]]:
        """What is to be done: records by kind and cause, messages, closes by code and reason."""
        effects = self.connections.effects()
        records = [(e.kind.value, e.cause) for e in effects if isinstance(e, Record)]
        messages: list[Message] = [e.message for e in effects if isinstance(e, SendToClient)]
        closes = [(e.code, e.reason) for e in effects if isinstance(e, Disconnect)]
        return records, messages, closes

    def _locate(self, event: str) -> EventLocation:
        return self.events.get(event, EventLocation.UNKNOWN)


def rejection() -> ServerMessage:
    """A room's answer to a token that it does not accept."""
    return ResumeRejected("unknown")
