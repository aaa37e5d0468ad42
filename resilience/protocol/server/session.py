"""The server's side of one participant: fencing, tokens, heartbeat, presence state. Pure.

A session outlives its connections. Exactly one connection key may act for it: the one attached last. Whatever an older
one still says or does changes nothing.
"""

from __future__ import annotations

import functools

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.policy.adaptive_heartbeat import RttEstimator
from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import HeartbeatTimeouts, LivenessAction, ServerFailureDetector
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.effects import Disconnect, Record, SendToClient, ServerEffect, SessionRow
from resilience.protocol.messages import Ping
from resilience.protocol.states import SESSION_TRANSITIONS, ConnectionState, transition
from resilience.units import Instant, Seconds


def ping_with(ping_id: int, window: ReturnWindow) -> Ping:
    """A heartbeat that carries the return window of this moment."""
    return Ping(ping_id, *_in_ms(window))


@functools.lru_cache(maxsize=1024)
def _in_ms(window: ReturnWindow) -> tuple[int, int, int]:
    return round(window.spread_s * 1000), round(window.step_s * 1000), round(window.cap_s * 1000)


class ServerSession:
    """One participant. ``effects`` is the list that its decisions are appended to (the room's own)."""

    __slots__ = (
        "_absence",
        "_absent_since",
        "_effects",
        "_expires_at",
        "_liveness",
        "_ping_id",
        "_pings",
        "_rules",
        "confirmed",
        "connection",
        "connection_no",
        "generation",
        "instance",
        "name",
        "participant",
        "ready",
        "state",
        "token_hashes",
        "trips",
        "welcomed",
    )

    def __init__(
        self, participant: str, name: str, rules: HeartbeatTimeouts, effects: list[ServerEffect], instance: str = ""
    ) -> None:
        self.participant, self.name, self.instance = participant, name, instance
        self.state = ConnectionState.CONNECTED
        self.connection: int | None = None
        self.connection_no = 0
        self.generation = 0
        self.token_hashes: tuple[str, ...] = ()
        self.ready = self.welcomed = self.confirmed = False
        self.trips: RttEstimator | None = None
        self._rules = rules
        self._liveness: ServerFailureDetector | None = None
        self._pings: tuple[tuple[int, Instant], ...] = ()
        self._ping_id = 0
        self._expires_at: Instant | None = None
        self._absent_since: Instant = 0.0
        self._absence: tuple[Instant, Instant] | None = None
        self._effects = effects

    @classmethod
    def from_row(
        cls, row: SessionRow, rules: HeartbeatTimeouts, effects: list[ServerEffect], now: Instant
    ) -> ServerSession:
        """The session of a row that an earlier server left; whoever was here is away now, with the whole clean-up time.

        The server's own absence is not held against anybody.
        """
        session = cls(row.participant, row.name, rules, effects, row.instance)
        session.connection_no, session.generation = row.connection_no, row.generation
        session.token_hashes, session.confirmed, session.welcomed = row.token_hashes, row.confirmed, True
        session.state = ConnectionState(row.join_status)
        session._absent_since = min(row.last_heard, now)
        if session.state is ConnectionState.CONNECTED:
            session._record(LogEventKind.SESSION_DETACHED, now, cause=DetachCause.RESTART)
            session._go(ConnectionState.TEMPORARILY_DISCONNECTED)
        elif session.state is ConnectionState.TEMPORARILY_DISCONNECTED:
            who, state = session.participant, session.state
            effects.append(Record(LogEventKind.SESSION_STATE, now, who, outcome=state, cause=DetachCause.RESTART))
        if session.state is ConnectionState.TEMPORARILY_DISCONNECTED:
            session._expires_at = now + rules.cleanup
        return session

    # what happened ----------------------------------------------------------------------------------------------------

    def attach(self, connection: int, now: Instant, u: float) -> None:
        """A connection proved to be this participant: it acts from now on, an older one is cut off."""
        if self.connection is not None:
            self._fence(self.connection, now)
        if self.connection_no:
            self._absence = (self._liveness.last_heard if self._liveness else self._absent_since, now)
        self.connection = connection
        self.connection_no += 1
        self.ready = False
        if self.state is not ConnectionState.CONNECTED:
            self._go(ConnectionState.CONNECTED)
        self._liveness = ServerFailureDetector(self._rules, now, u)
        self._pings = ()
        self._expires_at = None

    def accept_tokens(self, fresh_hash: str, presented_hash: str | None) -> None:
        """Rotate: the fresh token counts from now on, the presented one until the fresh one is known to be kept."""
        self.generation += 1
        self.token_hashes = (fresh_hash,) if presented_hash is None else (fresh_hash, presented_hash)

    def token_stored(self, generation: int) -> str | None:
        """The client keeps the token of this generation; returns the hash that is thereby retired."""
        self.confirmed = True
        if generation != self.generation or len(self.token_hashes) == 1:
            return None
        self.token_hashes, retired = self.token_hashes[:1], self.token_hashes[1]
        return retired

    def heard(self, now: Instant) -> None:
        """An application message arrived over the attached connection."""
        if self._liveness is not None:
            self._liveness.heard(now)

    def pong_received(self, ping_id: int, now: Instant) -> None:
        """The answer to a heartbeat; one that was never sent, or was answered before, is ignored."""
        sent_at = next((at for known, at in self._pings if known == ping_id), None)
        if sent_at is None:
            return
        trip, self._pings = now - sent_at, ()
        self._record(LogEventKind.HEARTBEAT_ACKED, now, value=trip)
        if self.trips is not None:
            self.trips.observe(trip)

    def set_timeouts(self, rules: HeartbeatTimeouts, now: Instant) -> bool:
        """Be watched by other rules from now on; returns whether that changed anything."""
        return self._liveness is not None and self._liveness.set_timeouts(rules, now)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> bool:
        """A connection ended; returns whether that detached the session (an old one's end does not)."""
        if connection != self.connection:
            return False
        self._detach(cause, now)
        return True

    def was_absent_at(self, moment: Instant) -> bool:
        """Whether the outage before the attached connection covers this moment."""
        return self._absence is not None and self._absence[0] <= moment <= self._absence[1]

    def left(self, now: Instant) -> None:
        """The participant went on purpose."""
        self._absent_since = now
        self.release()
        self._go(ConnectionState.DISCONNECTED)
        self._record(LogEventKind.SESSION_LEFT, now)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """The next heartbeat or end of grace while attached, the clean-up while detached."""
        return self._liveness.next_deadline() if self._liveness else self._expires_at

    def extend_by_lag(self, lag: Seconds) -> None:
        """The scheduler slept through ``lag`` seconds."""
        if self._liveness is not None:
            self._liveness.extend_by_lag(lag)

    def handle_timeout(self, now: Instant, window: ReturnWindow) -> bool:
        """Do what is due; returns whether the presence state changed."""
        if self._liveness is not None:
            return self._handle_heartbeat(self._liveness.due(now), now, window)
        if self._expires_at is not None and now >= self._expires_at:
            self._expires_at = None
            self._go(ConnectionState.DISCONNECTED)
            self._record(LogEventKind.SESSION_EXPIRED, now)
            return True
        return False

    def row(self) -> SessionRow:
        """What the store keeps."""
        return SessionRow(
            self.participant,
            self.name,
            self.state.value,
            self.connection_no,
            self.generation,
            self.token_hashes,
            self.instance,
            self.confirmed,
            self._liveness.last_heard if self._liveness else self._absent_since,
        )

    # the parts --------------------------------------------------------------------------------------------------------

    def _handle_heartbeat(self, due: LivenessAction, now: Instant, window: ReturnWindow) -> bool:
        if due is LivenessAction.DEAD and self.connection is not None:
            self._effects.append(Disconnect(self.connection, CloseCode.SILENT, "no sign of life"))
            self._detach(DetachCause.GRACE, now)
            return True
        if due is LivenessAction.PING and self.connection is not None and self.ready:
            self._ping_id += 1
            self._pings = (*self._pings[-1:], (self._ping_id, now))
            self._record(LogEventKind.HEARTBEAT_SENT, now)
            self._effects.append(SendToClient(self.connection, ping_with(self._ping_id, window)))
        return False

    def _fence(self, old: int, now: Instant) -> None:
        self._record(LogEventKind.SESSION_FENCED, now)
        self._effects.append(Disconnect(old, CloseCode.SUPERSEDED, "a newer connection took over"))

    def _detach(self, cause: str, now: Instant) -> None:
        silent = cause == DetachCause.GRACE and self._liveness is not None
        self._absent_since = self._liveness.last_heard if silent and self._liveness else now
        counted_from = self._liveness.counted_from if silent and self._liveness else now
        self._record(LogEventKind.SESSION_DETACHED, now, cause=cause)
        self.release()
        self._go(ConnectionState.TEMPORARILY_DISCONNECTED)
        self._expires_at = max(counted_from + self._rules.cleanup, now)

    def release(self) -> None:
        """No connection acts for this session any more."""
        self.connection, self.ready = None, False
        self._liveness = None

    def _go(self, state: ConnectionState) -> None:
        self.state = transition(SESSION_TRANSITIONS, self.state, state)

    def _record(
        self, kind: LogEventKind, now: Instant, *, cause: str | None = None, value: float | None = None
    ) -> None:
        who = self.participant
        self._effects.append(Record(kind, now, who, self.connection_no, cause=cause, value=value))
