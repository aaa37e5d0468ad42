"""Whom an arriving connection stands for: a new identity, one whose welcome was lost, or the holder of a token. Pure.

It keeps identities and tokens; what an arrival does to heartbeat, presence and game is the room's.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from resilience.events import EventKind
from resilience.policy.liveness import HeartbeatRules
from resilience.protocol.effects import JoinAttempt, Record, SendDown, ServerEffect, SessionRow
from resilience.protocol.messages import Join, Resume, ResumeRejected
from resilience.protocol.session import ServerSession
from resilience.protocol.states import ConnectionState
from resilience.protocol.tokens import TokenBook, token_hash
from resilience.units import Instant

CREATED, RESUMED, REJOINED = "created", "resumed", "rejoined"


class Arrival(msgspec.Struct):
    """A join or resume: whose, over which connection, since when; ``token`` once it has been given one."""

    session: ServerSession
    connection: int
    outcome: str
    since: Instant
    attempt: int
    inflates: bool = False
    presented: str | None = None
    token: str = ""


class Reception:
    """The identities of one room. ``effects`` is the room's list, ``tokens`` makes unguessable session tokens."""

    def __init__(self, rules: HeartbeatRules, effects: list[ServerEffect], tokens: Callable[[], str]) -> None:
        self.sessions: dict[str, ServerSession] = {}
        self._rules, self._effects = rules, effects
        self._tokens = TokenBook(tokens)
        self._unconfirmed: dict[str, ServerSession] = {}
        self._arrivals: dict[int, Arrival] = {}
        self._created = 0

    def take_up(self, row: SessionRow, now: Instant) -> ServerSession:
        """Know a session that an earlier server stored."""
        session = ServerSession.stored(row, self._rules, self._effects, now)
        self.sessions[session.participant] = session
        self._tokens.take_up(session)
        self._created = max(self._created, int(session.participant[1:]))
        if session.instance and not session.confirmed:
            self._unconfirmed[session.instance] = session
        return session

    # who is it --------------------------------------------------------------------------------------------------------

    def join(self, message: Join, connection: int, now: Instant) -> Arrival:
        """Make a new identity, or give the one whose ``joined`` never arrived to the instance that asks again."""
        session = self._unconfirmed.get(message.instance)
        if session is None:
            self._created += 1
            participant = f"p{self._created}"
            session = ServerSession(participant, message.name, self._rules, self._effects, message.instance)
            self.sessions[participant] = self._unconfirmed[message.instance] = session
        return Arrival(session, connection, CREATED, now, message.attempt, message.inflates)

    def resume(self, message: Resume, connection: int, now: Instant) -> Arrival | None:
        """The holder of an accepted token; any other is told so."""
        presented = token_hash(message.token)
        session = self._tokens.find(presented)
        if session is None:
            refusal, owner = self._tokens.why_not(presented)
            self._effects.append(Record(EventKind.RESUME_REFUSED, now, owner, cause=refusal))
            self._effects.append(SendDown(connection, ResumeRejected(refusal)))
            return None
        outcome = REJOINED if session.state is ConnectionState.DISCONNECTED else RESUMED
        return Arrival(session, connection, outcome, now, message.attempt, message.inflates, presented)

    # until it is durable ----------------------------------------------------------------------------------------------

    def rows(self, arrival: Arrival) -> tuple[SessionRow, JoinAttempt]:
        """Give an attached arrival its new token; returns what must be committed before it is told."""
        session = arrival.session
        arrival.token = self._tokens.rotate(session, arrival.presented)
        return session.row(), JoinAttempt(session.participant, arrival.outcome, arrival.since)

    def waiting_for(self, ticket: int, arrival: Arrival) -> None:
        """Its rows are being committed under this ticket."""
        self._arrivals[ticket] = arrival

    def settled(self, ticket: int) -> Arrival | None:
        """The arrival whose rows were committed, or were not, under this ticket."""
        return self._arrivals.pop(ticket, None)

    def is_waiting(self, connections: Container[int]) -> bool:
        """Whether one of these connections waits for its commit."""
        return any(arrival.connection in connections for arrival in self._arrivals.values())

    # afterwards -------------------------------------------------------------------------------------------------------

    def token_stored(self, session: ServerSession, generation: int) -> bool:
        """The client keeps the token of this generation; returns whether that is worth storing."""
        self._unconfirmed.pop(session.instance, None)
        return self._tokens.stored(session, generation)

    def ended(self, session: ServerSession) -> None:
        """A session that was left or cleaned up is not given to whoever asks by its instance."""
        self._unconfirmed.pop(session.instance, None)

    def forget(self, session: ServerSession) -> bool:
        """Take back an identity that nobody was told of; returns whether it was still there."""
        if self.sessions.pop(session.participant, None) is None:
            return False
        self._tokens.forget(session)
        self._unconfirmed.pop(session.instance, None)
        return True


def recorded(arrival: Arrival, seq: int, truth: str, now: Instant) -> Record:
    """The log line of an arrival that is let in at this position of the stream, with this state."""
    session = arrival.session
    return Record(
        EventKind.SESSION_CREATED if arrival.outcome == CREATED else EventKind.SESSION_RESUMED,
        now,
        session.participant,
        session.connection_no,
        seq=seq,
        attempt=arrival.attempt or None,
        outcome=arrival.outcome,
        value=now - arrival.since,
        detail=truth,
    )
