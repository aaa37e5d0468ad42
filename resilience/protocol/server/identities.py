"""Whom an arriving connection stands for: a new identity, one whose welcome was lost, or the holder of a token. Pure.

It keeps identities and tokens; what an arrival does to heartbeat, presence and game is the room's.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.protocol.effects import JoinAttempt, Record, SendToClient, ServerEffect, SessionRow
from resilience.protocol.messages import Join, Resume, ResumeRejected
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.tokens import TokenRegistry, token_hash
from resilience.protocol.states import ConnectionState
from resilience.units import Instant

CREATED, RESUMED, REJOINED = "created", "resumed", "rejoined"


class PendingJoin(msgspec.Struct):
    """A join or resume: whose, over which connection, since when; ``token`` once it has been given one."""

    session: ServerSession
    connection: int
    outcome: str
    since: Instant
    attempt: int
    accepts_deflate: bool = False
    presented: str | None = None
    token: str = ""


class IdentityRegistry:
    """The identities of one room. ``effects`` is the room's list, ``tokens`` makes unguessable session tokens."""

    def __init__(self, rules: HeartbeatTimeouts, effects: list[ServerEffect], tokens: Callable[[], str]) -> None:
        self.sessions: dict[str, ServerSession] = {}
        self._rules, self._effects = rules, effects
        self._tokens = TokenRegistry(tokens)
        self._unconfirmed: dict[str, ServerSession] = {}
        self._pending_joins: dict[int, PendingJoin] = {}
        self._created = 0

    def restore(self, row: SessionRow, now: Instant) -> ServerSession:
        """Know a session that an earlier server stored."""
        session = ServerSession.from_row(row, self._rules, self._effects, now)
        self.sessions[session.participant] = session
        self._tokens.restore(session)
        self._created = max(self._created, int(session.participant[1:]))
        if session.instance and not session.confirmed:
            self._unconfirmed[session.instance] = session
        return session

    # who is it --------------------------------------------------------------------------------------------------------

    def join(self, message: Join, connection: int, now: Instant) -> PendingJoin:
        """Make a new identity, or give the one whose ``joined`` never arrived to the instance that asks again."""
        session = self._unconfirmed.get(message.instance)
        if session is None:
            self._created += 1
            participant = f"p{self._created}"
            session = ServerSession(participant, message.name, self._rules, self._effects, message.instance)
            self.sessions[participant] = self._unconfirmed[message.instance] = session
        return PendingJoin(session, connection, CREATED, now, message.attempt, message.accepts_deflate)

    def resume(self, message: Resume, connection: int, now: Instant) -> PendingJoin | None:
        """The holder of an accepted token; any other is told so."""
        presented = token_hash(message.token)
        session = self._tokens.find(presented)
        if session is None:
            refusal, owner = self._tokens.rejection_of(presented)
            self._effects.append(Record(LogEventKind.RESUME_REFUSED, now, owner, cause=refusal))
            self._effects.append(SendToClient(connection, ResumeRejected(refusal)))
            return None
        outcome = REJOINED if session.state is ConnectionState.DISCONNECTED else RESUMED
        return PendingJoin(session, connection, outcome, now, message.attempt, message.accepts_deflate, presented)

    # until it is durable ----------------------------------------------------------------------------------------------

    def rows(self, arrival: PendingJoin) -> tuple[SessionRow, JoinAttempt]:
        """Give an attached arrival its new token; returns what must be committed before it is told."""
        session = arrival.session
        arrival.token = self._tokens.rotate(session, arrival.presented)
        return session.row(), JoinAttempt(session.participant, arrival.outcome, arrival.since)

    def waiting_for(self, ticket: int, arrival: PendingJoin) -> None:
        """Its rows are being committed under this ticket."""
        self._pending_joins[ticket] = arrival

    def settled(self, ticket: int) -> PendingJoin | None:
        """The arrival whose rows were committed, or were not, under this ticket."""
        return self._pending_joins.pop(ticket, None)

    def is_waiting(self, connections: Container[int]) -> bool:
        """Whether one of these connections waits for its commit."""
        return any(arrival.connection in connections for arrival in self._pending_joins.values())

    # afterwards -------------------------------------------------------------------------------------------------------

    def token_stored(self, session: ServerSession, generation: int) -> bool:
        """The client keeps the token of this generation; returns whether that is worth storing."""
        self._unconfirmed.pop(session.instance, None)
        return self._tokens.stored(session, generation)

    def release_instance(self, session: ServerSession) -> None:
        """A session that was left or cleaned up is not given to whoever asks by its instance."""
        self._unconfirmed.pop(session.instance, None)

    def forget(self, session: ServerSession) -> bool:
        """Take back an identity that nobody was told of; returns whether it was still there."""
        if self.sessions.pop(session.participant, None) is None:
            return False
        self._tokens.forget(session)
        self._unconfirmed.pop(session.instance, None)
        return True


def join_record(pending_join: PendingJoin, seq: int, recomputed_digest: str, now: Instant) -> Record:
    """The log line of an arrival that is let in at this position of the stream, with this state."""
    session = pending_join.session
    return Record(
        LogEventKind.SESSION_CREATED if pending_join.outcome == CREATED else LogEventKind.SESSION_RESUMED,
        now,
        session.participant,
        session.connection_no,
        seq=seq,
        attempt=pending_join.attempt or None,
        outcome=pending_join.outcome,
        value=now - pending_join.since,
        detail=recomputed_digest,
    )
