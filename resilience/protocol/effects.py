"""What a machine asks its driver to do, as values. Drivers carry them out and decide nothing.

What one call of ``effects()`` returns is a batch. In the asyncio server its records reach the log, in order, before any
other effect of the batch is carried out, so no message is sent before its record is written; the others follow in
order. Clients carry out a whole batch in order, records included.

A *connection key* is the driver's own name for one socket on the server's side; a *dial* is the client's number for one
attempt to open a transport. Both only grow, so a late event of an old one is recognised.
"""

from __future__ import annotations

import msgspec

from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role
from resilience.protocol.messages import ClientMessage, Message, SequencedMessage, ServerMessage
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.plan import QuizPlan
from resilience.units import Instant


class Record(msgspec.Struct, frozen=True):
    """Write this to the event log; the driver adds lane, role, actor and cohort. Fields as in ``LogEvent``."""

    kind: LogEventKind
    t: Instant
    session_id: str | None = None
    connection_no: int | None = None
    seq: int | None = None
    attempt: int | None = None
    outcome: str | None = None
    cause: str | None = None
    value: float | None = None
    ref: str | None = None
    detail: str | None = None


def event_of(record: Record, lane: Lane, role: Role, actor: str, cohort: str | None = None) -> LogEvent:
    """The log line of a record, with the driver's lane, role, actor and cohort."""
    return LogEvent(
        record.t,
        lane,
        role,
        actor,
        record.kind,
        cohort,
        record.session_id,
        record.connection_no,
        record.seq,
        record.attempt,
        record.outcome,
        record.cause,
        record.value,
        record.ref,
        record.detail,
    )


# --- client effects ---------------------------------------------------------------------------------------------------


class OpenTransport(msgspec.Struct, frozen=True):
    """Open a transport under this number; answer with ``transport_opened`` or ``transport_failed``."""

    dial: int
    attempt: int


class SendToServer(msgspec.Struct, frozen=True):
    """Send to the server."""

    message: ClientMessage


class AbortTransport(msgspec.Struct, frozen=True):
    """Abort this dial at once, in any state, and report nothing more of it."""

    dial: int


class CloseTransport(msgspec.Struct, frozen=True):
    """Close this dial with a close handshake: the participant leaves."""

    dial: int


class Deliver(msgspec.Struct, frozen=True):
    """Hand this to the application."""

    message: Message


ClientEffect = Record | OpenTransport | SendToServer | AbortTransport | CloseTransport | Deliver

# --- server effects ---------------------------------------------------------------------------------------------------


class SendToClient(msgspec.Struct, frozen=True):
    """Send to one connection."""

    connection: int
    message: ServerMessage


class Broadcast(msgspec.Struct, frozen=True):
    """Send the same message to many connections; encode it once."""

    connections: tuple[int, ...]
    message: SequencedMessage


class Disconnect(msgspec.Struct, frozen=True):
    """Close a connection with a close code at once, without waiting for the peer's half of the handshake."""

    connection: int
    code: int
    reason: str


class AbortConnection(msgspec.Struct, frozen=True):
    """End a connection's transport at once, without a close frame."""

    connection: int


class SetMaxMessageSize(msgspec.Struct, frozen=True):
    """Accept messages of up to ``size`` bytes on this connection from now on."""

    connection: int
    size: int


class AttachHost(msgspec.Struct, frozen=True):
    """Attach this host's connection to the event's room, unless it is attached to that room already."""

    connection: int
    event: str


class OpenEvent(msgspec.Struct, frozen=True):
    """Open an event by this plan for a host; answer with ``event_opened`` or ``event_not_opened``.

    A connection has at most one such request under way. The event is opened also if the connection ends meanwhile.
    """

    connection: int
    event: str
    plan: QuizPlan


class LeaveRoom(msgspec.Struct, frozen=True):
    """Report to the connection's room, if it has one, that the connection ended for this cause."""

    connection: int
    cause: str


class SessionRow(msgspec.Struct, frozen=True):
    """The stored row of one participant; ``token_hashes`` are the accepted ones, newest first.

    ``instance`` is the client that joined, ``confirmed`` whether it is known to hold its first token; ``last_heard`` is
    the time of the last sign of life.
    """

    participant: str
    name: str
    join_status: str
    connection_no: int
    generation: int
    token_hashes: tuple[str, ...]
    instance: str = ""
    confirmed: bool = False
    last_heard: Instant = 0.0


class DeleteParticipant(msgspec.Struct, frozen=True):
    """Delete a participant without answers: its client never received the reply to its join, or it is gone."""

    participant: str


class JoinAttempt(msgspec.Struct, frozen=True):
    """One line of the join log: ``outcome`` is created, resumed, rejoined or refused."""

    participant: str | None
    outcome: str
    at: Instant = 0.0


Row = SessionRow | StoredAnswer | QuizState | DeleteParticipant | JoinAttempt


class Persist(msgspec.Struct, frozen=True):
    """Commit these rows together, then call ``committed`` (or ``commit_failed``) with the ticket."""

    ticket: int
    rows: tuple[Row, ...]


ServerEffect = Record | SendToClient | Broadcast | Disconnect | Persist
"""What a room asks for."""

ConnectionEffect = (
    Record | SendToClient | Disconnect | AbortConnection | SetMaxMessageSize | AttachHost | OpenEvent | LeaveRoom
)
"""What the connections of a server ask for."""
