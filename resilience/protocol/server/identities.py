"""Which participant an arriving connection stands for. Pure.

A join makes a new identity, or returns the one whose welcome was lost to the same client instance; a resume finds the
holder of a token. What an arrival does to heartbeats, presence and quiz is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Disconnect, Record, SendToClient, ServerEffect, SessionRow
from resilience.protocol.messages import Join, Resume, ResumeRejected
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.tokens import ResumeRejection, TokenRegistry, token_hash
from resilience.protocol.states import ConnectionState
from resilience.units import Instant

CREATED, RESUMED, REJOINED = "created", "resumed", "rejoined"


class PendingJoin(msgspec.Struct):
    """A join or resume until it is durable: session, connection, time of arrival; ``token`` once one is made."""

    session: ServerSession
    connection: int
    outcome: str
    since: Instant
    attempt: int
    accepts_deflate: bool = False
    presented: str | None = None
    token: str = ""


class IdentityRegistry:
    """The identities of one room. ``effects`` is the room's list.

    ``new_id`` makes a participant id for a client's instance; an id that exists is drawn again. No id is parsed.
    """

    def __init__(self, effects: list[ServerEffect], tokens: TokenRegistry, new_id: Callable[[str], str]) -> None:
        self.sessions: dict[str, ServerSession] = {}
        self._effects, self._tokens, self._new_id = effects, tokens, new_id
        self._unconfirmed: dict[str, ServerSession] = {}

    def restore(self, row: SessionRow, now: Instant) -> ServerSession:
        """Add a stored session and its tokens. The instance of one that has left or expired opens nothing."""
        session = ServerSession.from_row(row, self._effects, now)
        self.sessions[session.participant] = session
        self._tokens.restore(row)
        if session.instance and not row.confirmed and session.state is not ConnectionState.DISCONNECTED:
            self._unconfirmed[session.instance] = session
        return session

    def is_known(self, instance: str) -> bool:
        """Whether a join of this instance returns an identity that exists."""
        return instance in self._unconfirmed

    def join(self, message: Join, connection: int, now: Instant) -> PendingJoin:
        """Make a new identity, or return the unconfirmed one that the same instance asked for before."""
        session = self._unconfirmed.get(message.instance)
        if session is None:
            session = ServerSession(self._fresh_id(message.instance), message.name, self._effects, message.instance)
            self.sessions[session.participant] = self._unconfirmed[message.instance] = session
        return PendingJoin(session, connection, CREATED, now, message.attempt, message.accepts_deflate)

    def resume(self, message: Resume, connection: int, now: Instant) -> PendingJoin | None:
        """Find the holder of an accepted token; reject any other token and return ``None``.

        A client whose session another one has is closed as the older connection of a take-over is: it must not join,
        or one person would become two participants.
        """
        presented = token_hash(message.token)
        participant = self._tokens.find(presented)
        if participant is None:
            rejection, owner = self._rejection_of(presented, message.participant)
            self._effects.append(Record(LogEventKind.RESUME_REFUSED, now, owner, cause=rejection))
            self._effects.append(SendToClient(connection, ResumeRejected(rejection)))
            if rejection is not ResumeRejection.UNKNOWN:
                self._effects.append(Disconnect(connection, CloseCode.SUPERSEDED, "another client has this session"))
            return None
        session = self.sessions[participant]
        outcome = REJOINED if session.state is ConnectionState.DISCONNECTED else RESUMED
        return PendingJoin(session, connection, outcome, now, message.attempt, message.accepts_deflate, presented)

    def _rejection_of(self, presented: str, named: str | None) -> tuple[ResumeRejection, str | None]:
        """Why a token is not accepted, and whose session it asks for.

        A participant that exists accepts the token of its last client, whatever was lost on the way. So a client that
        names it and holds another token is not its last one, also where a restart has lost which tokens were retired.
        """
        rejection, owner = self._tokens.rejection_of(presented)
        if owner in self.sessions:
            return rejection, owner
        return (ResumeRejection.SUPERSEDED, named) if named in self.sessions else (ResumeRejection.UNKNOWN, None)

    def release_instance(self, session: ServerSession) -> None:
        """A later join by the same instance makes a new identity: this one is confirmed, has left or has expired."""
        if self._unconfirmed.get(session.instance) is session:
            del self._unconfirmed[session.instance]

    def forget(self, session: ServerSession) -> bool:
        """Take back an identity whose join never reached its client; returns whether it still existed."""
        if self.sessions.get(session.participant) is not session:
            return False
        del self.sessions[session.participant]
        self._tokens.forget(session.participant)
        self.release_instance(session)
        return True

    def _fresh_id(self, instance: str) -> str:
        participant = self._new_id(instance)
        while participant in self.sessions:
            participant = self._new_id(instance)
        return participant


def join_record(pending_join: PendingJoin, seq: int, recomputed_digest: str, now: Instant) -> Record:
    """The log line of a join or resume that is answered at this position of the stream, with this state."""
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
