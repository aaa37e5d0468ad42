"""The server's side of one participant: which connection acts for it, and its presence state. Pure.

A session outlives its connections. Exactly one connection key may act for it: the one attached last. Messages and ends
of older connections change nothing. Tokens are kept in ``tokens``, heartbeats in ``heartbeats``.
"""

from __future__ import annotations

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Disconnect, Record, ServerEffect, SessionRow
from resilience.protocol.states import SESSION_TRANSITIONS, ConnectionState, transition
from resilience.units import Instant


class ServerSession:
    """One participant. ``effects`` is the list that its decisions are appended to (the room's own).

    ``ready`` is set while the attached connection has its welcome, ``welcomed`` once any connection has had one.
    ``saved_at`` is when its row was last noted for the checkpoint.
    """

    __slots__ = (
        "_absence",
        "_effects",
        "connection",
        "connection_no",
        "instance",
        "name",
        "participant",
        "ready",
        "saved_at",
        "state",
        "welcomed",
    )

    def __init__(self, participant: str, name: str, effects: list[ServerEffect], instance: str = "") -> None:
        self.participant, self.name, self.instance = participant, name, instance
        self.state = ConnectionState.CONNECTED
        self.connection: int | None = None
        self.connection_no = 0
        self.ready = self.welcomed = False
        self.saved_at: Instant = float("-inf")
        self._absence: tuple[Instant, Instant] | None = None
        self._effects = effects

    @classmethod
    def from_row(cls, row: SessionRow, effects: list[ServerEffect], now: Instant) -> ServerSession:
        """The session of a stored row. A connected one becomes temporarily disconnected: its connection is gone."""
        session = cls(row.participant, row.name, effects, row.instance)
        session.connection_no, session.welcomed = row.connection_no, True
        session.state = ConnectionState(row.join_status)
        if session.state is ConnectionState.CONNECTED:
            session._record(LogEventKind.SESSION_DETACHED, now, cause=DetachCause.RESTART)
            session._go(ConnectionState.TEMPORARILY_DISCONNECTED)
        elif session.state is ConnectionState.TEMPORARILY_DISCONNECTED:
            who, state = session.participant, session.state
            effects.append(Record(LogEventKind.SESSION_STATE, now, who, outcome=state, cause=DetachCause.RESTART))
        return session

    def attach(self, connection: int, now: Instant, absent_since: Instant | None) -> None:
        """Let a connection act for this participant and fence the older one.

        ``absent_since`` is the begin of the outage before this connection, ``None`` when none is proven; an earlier
        outage stays on record then.
        """
        if self.connection is not None:
            self._fence(self.connection, now)
        if absent_since is not None:
            self._absence = absent_since, now
        self.connection = connection
        self.connection_no += 1
        self.ready = False
        if self.state is not ConnectionState.CONNECTED:
            self._go(ConnectionState.CONNECTED)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> bool:
        """A connection ended; returns whether that detached the session (an old one's end does not)."""
        if connection != self.connection:
            return False
        self._detach(cause, now)
        return True

    def evict(self, now: Instant) -> None:
        """Close the attached connection, which has been silent for the grace period."""
        if self.connection is not None:
            self._effects.append(Disconnect(self.connection, CloseCode.SILENT, "no sign of life"))
        self._detach(DetachCause.GRACE, now)

    def expire(self, now: Instant) -> None:
        """The clean-up time passed without a new connection."""
        self._go(ConnectionState.DISCONNECTED)
        self._record(LogEventKind.SESSION_EXPIRED, now)

    def leave(self, now: Instant) -> None:
        """The participant leaves on purpose."""
        self.release()
        self._go(ConnectionState.DISCONNECTED)
        self._record(LogEventKind.SESSION_LEFT, now)

    def release(self) -> None:
        """No connection acts for this session any more."""
        self.connection, self.ready = None, False

    def was_absent_at(self, moment: Instant) -> bool:
        """Whether the last proven outage before the attached connection covers this moment."""
        return self._absence is not None and self._absence[0] <= moment <= self._absence[1]

    def _fence(self, old: int, now: Instant) -> None:
        self._record(LogEventKind.SESSION_FENCED, now)
        self._effects.append(Disconnect(old, CloseCode.SUPERSEDED, "a newer connection took over"))

    def _detach(self, cause: str, now: Instant) -> None:
        self._record(LogEventKind.SESSION_DETACHED, now, cause=cause)
        self.release()
        self._go(ConnectionState.TEMPORARILY_DISCONNECTED)

    def _go(self, state: ConnectionState) -> None:
        self.state = transition(SESSION_TRANSITIONS, self.state, state)

    def _record(self, kind: LogEventKind, now: Instant, *, cause: str | None = None) -> None:
        self._effects.append(Record(kind, now, self.participant, self.connection_no, cause=cause))
