"""Sequence diagrams of real conversations: both machines run over a link without delay that can be cut.

No sockets and no clock: a scenario causes events, the recorder writes down the messages.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

import msgspec

from docgen.message_sections import tag_of
from resilience.config import ClientConfig, ServerConfig
from resilience.policy.close_codes import CloseCode, retry_after_in_reason
from resilience.policy.handshake import HandshakePolicy, HandshakeRequest
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.client.host import HostMachine
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.effects import (
    AbortTransport,
    AttachHost,
    Broadcast,
    CloseTransport,
    ConnectionEffect,
    DeleteParticipant,
    Disconnect,
    JoinAttempt,
    LeaveRoom,
    OpenEvent,
    OpenTransport,
    Persist,
    SendToClient,
    SendToServer,
    ServerEffect,
    SessionRow,
)
from resilience.protocol.messages import (
    ClientMessage,
    Host,
    Message,
    Ping,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    ServerMessage,
)
from resilience.protocol.server.connection import ServerConnection, ServerConnections
from resilience.protocol.server.event_location import EventLocation
from resilience.protocol.server.room import Room
from resilience.quiz.game import Game, QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.random_streams import random_for

EVENT, HOST_KEY = "friday", "the host key"
PLAN = QuizPlan(arithmetic_questions(1, 2, 20.0), "Friday quiz", Pace(reveal=4.0))
AUTOMATIC = Pace(lobby=1.0, reveal=4.0, leaderboard=4.0)
_HIDDEN = frozenset({"text", "title", "event", "protocol", "attempt", "server_time_ms", "rule", "field"})
_COUNTS = frozenset({"questions", "connected", "away", "gone", "answered"})
_ROWS: dict[type, str] = {
    SessionRow: "session",
    JoinAttempt: "join attempt",
    StoredAnswer: "answer",
    QuizState: "progress",
    DeleteParticipant: "delete the session",
}


class SequenceRecorder:
    """A server with one event, its store, and some clients; messages are written down while ``recording``."""

    def __init__(self, cast: dict[str, str], pace: Pace = PLAN.pace) -> None:
        """``cast``: the names of the clients, and their titles in the diagram."""
        self.lines: list[str] = []
        self.recording = True
        self.losing: tuple[type, ...] = ()
        self.unseen: tuple[type, ...] = (PresenceChanged, Ping, Pong, Probe, ProbeReply)
        self._travelling: deque[Callable[[], None]] = deque()
        self.now = 0.0
        self._connections = itertools.count(1)
        self._owner: dict[int, tuple[str, int]] = {}
        self._current: dict[str, int] = {}
        self._commits: list[Persist] = []
        self._event_exists = False
        people, tokens = (map(f"{letter}{{}}".format, itertools.count(1)) for letter in "pT")
        config = ServerConfig(presence_interval=0.5)
        self.room = Room(
            Game(PLAN.questions, pace),
            config.room,
            epoch="9c1d.1",
            new_id=lambda _instance: next(people),
            new_token=lambda _participant: next(tokens),
            draw=lambda *_: 0.5,
            event=EVENT,
            title=PLAN.title,
        )
        self.server = ServerConnections(
            config.connection, HandshakePolicy(config.handshake(len(cast))), locate=self._locate, host_key=HOST_KEY
        )
        self._machines: dict[int, ServerConnection] = {}
        self.clients: dict[str, ReconnectingConnection] = {name: _machine(name) for name in cast}
        self.cast = cast

    # for scenarios ----------------------------------------------------------------------------------------------------

    def do(self, name: str, act: Callable[[ReconnectingConnection], object]) -> None:
        """Act on this client's machine, such as start it or answer."""
        act(self.clients[name])
        self._client(name)
        self._run()

    def start(self, name: str) -> None:
        """Start the client."""
        self.do(name, lambda client: client.start(self.now))

    def cross(self, name: str, act: Callable[[ReconnectingConnection], object], phase: Phase) -> None:
        """Like :meth:`do`, but the client's messages arrive only after the quiz has entered this phase."""
        act(self.clients[name])
        self._client(name)
        travelling, self._travelling = self._travelling, deque()
        self.wait_for(phase)
        self._travelling = travelling
        self._run()

    def copy(self, name: str, twin: str) -> None:
        """Give another client the identity of the first."""
        self._participant(twin).credentials = self._participant(name).credentials

    def cut(self, name: str) -> None:
        """Cut the connection; both ends notice."""
        connection = self._current.pop(name)
        dial = self._owner.pop(connection)[1]
        self._write(f"{name}--xS: the connection is cut")
        self._lose(connection, None)
        self.do(name, lambda client: client.transport_lost(dial, "closed", self.now))

    def wait(self, until: str) -> None:
        """Advance time to the next deadline of this client or, for ``S``, of the server."""
        machines = (self.server, self.room) if until == "S" else (self.clients[until],)
        deadlines = [deadline for machine in machines if (deadline := machine.next_deadline()) is not None]
        if not deadlines:
            raise ValueError(f"{until} waits for nothing")
        self.now = max(self.now, min(deadlines))
        for machine in machines:
            machine.handle_timeout(self.now)
        self._server()
        for name in self.clients:
            self._client(name)
        self._run()

    def wait_for(self, phase: Phase) -> None:
        """Advance the quiz to this phase."""
        while self.room.game.phase is not phase:
            self.wait("S")
            self.commit()

    def commit(self) -> None:
        """Complete the pending commit of the store."""
        batch, self._commits = self._commits, []
        if any(self._shown_rows(order) for order in batch):
            self._write("DB-->>S: durable")
        for order in batch:
            self.room.committed(order.ticket, self.now)
        self._server()
        self._run()

    def note(self, text: str) -> None:
        """Add a note to the diagram."""
        self._write(f"Note over {next(iter(self.cast))},DB: {text}")

    def diagram(self) -> str:
        """The recorded diagram."""
        people = [f"participant {name} as {title}" for name, title in self.cast.items()]
        head = [*people, "participant S as Server", "participant DB as Database"]
        lines = "\n".join(f"    {line}" for line in (*head, *self.lines))
        return f"```mermaid\nsequenceDiagram\n{lines}\n```"

    # effects ----------------------------------------------------------------------------------------------------------

    def _write(self, line: str) -> None:
        if self.recording:
            self.lines.append(line)

    def _tell(self, arrow: str, message: Message) -> None:
        if not isinstance(message, self.unseen):
            self._write(f"{arrow}: {said(message)}")

    def _run(self) -> None:
        """Deliver everything in flight, in order, and its consequences."""
        while self._travelling:
            self._travelling.popleft()()

    def _participant(self, name: str) -> ParticipantClient:
        client = self.clients[name]
        if not isinstance(client, ParticipantClient):
            raise TypeError(f"{name} is not a client of this recorder")
        return client

    def _client(self, name: str) -> None:
        for effect in self.clients[name].effects():
            match effect:
                case OpenTransport():
                    self._open(name, effect.dial)
                case SendToServer():
                    self._up(name, effect.message)
                case AbortTransport() | CloseTransport():
                    self._drop(self._current.pop(name, 0))

    def _drop(self, connection: int) -> None:
        if self._owner.pop(connection, None) is not None:
            self._lose(connection, None)

    def _lose(self, connection: int, code: int | None) -> None:
        """The server's transport is gone; ``code`` came with it from the client."""
        machine = self._machines.pop(connection)
        machine.transport_lost(self.now)
        machine.input_ended(code)
        self._server()

    def _open(self, name: str, dial: int) -> None:
        connection = next(self._connections)
        self._owner[connection], self._current[name] = (name, dial), connection
        self._write(f"{name}->>S: opens a WebSocket")
        machine = self._machines[connection] = self.server.open(connection, self.now)
        if machine.handshake_received(HandshakeRequest(name), self.now) is not None:
            raise ValueError(f"{name} is not let in")
        machine.handshake_completed()
        self.clients[name].transport_opened(dial, self.now)
        self._client(name)

    def _up(self, name: str, message: ClientMessage) -> None:
        self._tell(f"{name}->>S", message)
        connection = self._current[name]
        self._travelling.append(lambda: self._hear(connection, message))

    def _hear(self, connection: int, message: ClientMessage) -> None:
        machine = self._machines.get(connection)
        if machine is not None and machine.receive(message, self.now):
            self.room.receive(message, connection, self.now)
        self._server()

    def _locate(self, event: str) -> EventLocation:
        exists = event == EVENT and (self._event_exists or "H" not in self.cast)
        return EventLocation.HERE if exists else EventLocation.UNKNOWN

    def _server(self) -> None:
        """Carry out what the room and the connections ask for, and what follows from it."""
        self._serve_connections()
        while effects := self.room.effects():
            for effect in effects:
                self._carry_out(effect)
                self._serve_connections()

    def _serve_connections(self) -> None:
        while effects := self.server.effects():
            for effect in effects:
                self._carry_out_for_connection(effect)

    def _carry_out(self, effect: ServerEffect) -> None:
        match effect:
            case SendToClient():
                self._down(effect.connection, effect.message)
                self._machines[effect.connection].message_sent(effect.message, self.now)
            case Broadcast():
                for connection in effect.connections:
                    self._down(connection, effect.message)
            case Persist():
                self._commits.append(effect)
                if shown := self._shown_rows(effect):
                    self._write(f"S->>DB: {', '.join(shown)}")
            case Disconnect():
                self._machines[effect.connection].close(effect.code, effect.reason)

    def _carry_out_for_connection(self, effect: ConnectionEffect) -> None:
        match effect:
            case SendToClient():
                self._down(effect.connection, effect.message)
            case Disconnect():
                self._end(effect)
            case AttachHost():
                self.room.host(effect.connection, self.now)
            case OpenEvent():
                self._event_exists = True
                self._write("S->>DB: event, questions, progress")
                self._write("DB-->>S: durable")
                self._machines[effect.connection].event_opened()
            case LeaveRoom():
                self.room.transport_lost(effect.connection, effect.cause, self.now)

    def _shown_rows(self, order: Persist) -> list[str]:
        return [_ROWS[type(row)] for row in order.rows if not isinstance(row, self.unseen)]

    def _down(self, connection: int, message: ServerMessage) -> None:
        name, dial = self._owner[connection]
        is_lost = isinstance(message, self.losing)
        self._tell(f"S{'--x' if is_lost else '->>'}{name}", message)
        if not is_lost:
            self._travelling.append(lambda: self._arrive(name, dial, message))

    def _arrive(self, name: str, dial: int, message: ServerMessage) -> None:
        self.clients[name].receive(message, dial, self.now)
        self._client(name)

    def _end(self, effect: Disconnect) -> None:
        (name, dial), code = self._owner[effect.connection], CloseCode(effect.code)
        cause = f"close_{code.value}"
        self._write(f"S->>{name}: close {code.value} {code.name.lower()}")
        if self._current.get(name) == effect.connection:
            del self._current[name]
        del self._owner[effect.connection]
        self._lose(effect.connection, effect.code)
        advice = retry_after_in_reason(effect.reason)
        self._travelling.append(lambda: self.clients[name].transport_lost(dial, cause, self.now, code, advice))


def said(message: Message) -> str:
    """A message in one short line: its type and its main fields."""
    return f"{tag_of(type(message))} {_shown(message)}".strip()


def _shown(message: Message) -> str:
    if isinstance(message, Host):
        return "with the host key"
    flat: dict[str, object] = {}
    for key, value in msgspec.json.decode(msgspec.json.encode(message)).items():
        inner = value if isinstance(value, dict) and key in ("credentials", "snapshot", "status", "question") else None
        if inner is not None:
            keep = ("participant", "token", "connection_no", "seq", "phase", "score", "answer", "step", "id")
            flat.update({k if k != "id" else key: v for k, v in inner.items() if k in keep})
        elif not isinstance(value, dict | list | tuple) and key not in _HIDDEN | _COUNTS | {"type"}:
            flat[key] = value
    return ", ".join(f"{key} {value}" for key, value in flat.items() if value not in ("", None))


def _machine(name: str) -> ReconnectingConnection:
    rules = ClientConfig().rules
    if name == "H":
        return HostMachine(EVENT, HOST_KEY, PLAN, rules, random_for(1, name))
    return ParticipantClient(Identity(EVENT, "Ada", f"tab-{name}"), rules, random_for(1, name))
