"""One event on the server: a facade that routes between its two halves. Pure; drivers own sockets, storage and time.

The quiz stream (game, sequence numbers, hosts) and attendance (sessions, presence, heartbeats) do not know each other's
inside. A join crosses both: its commit subscribes the connection and builds its snapshot in one call, so the stream has
neither gap nor duplicate for the new connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import lag_of
from resilience.protocol.effects import Disconnect, Record, Row, SendToClient, ServerEffect, SessionRow
from resilience.protocol.messages import (
    PROTOCOL_VERSION,
    Answer,
    ClientMessage,
    Error,
    ErrorCode,
    Join,
    Joined,
    Leave,
    Pong,
    Probe,
    Resume,
    StateRestored,
    TokenStored,
)
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.crowd import ServerCrowd
from resilience.protocol.server.identities import CREATED, REJOINED, PendingJoin, join_record
from resilience.protocol.server.pending_commits import PendingCommits, try_again_later
from resilience.protocol.server.quiz_stream import QuizStream
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.settings import RoomSettings
from resilience.quiz.game import Game
from resilience.random_streams import UniformSource
from resilience.units import Instant


class _StoredJoin(msgspec.Struct):
    """What continues when a join is stored, or is not."""

    pending_join: PendingJoin
    welcome: Callable[[PendingJoin, Instant], None]
    refuse: Callable[[PendingJoin], None]

    def committed(self, now: Instant) -> None:
        self.welcome(self.pending_join, now)

    def commit_failed(self, _now: Instant) -> None:
        self.refuse(self.pending_join)


class Room:
    """The server's decisions for one event.

    ``new_id`` makes a participant id for a client's instance, ``new_token`` an unguessable session token for a
    participant; ``draw`` spreads first pings. ``epoch`` names the stream. ``crowd`` counts
    the participants over all rooms of the process; without it this room is the only one.
    """

    def __init__(  # noqa: PLR0913 - all that a room is made of
        self,
        game: Game,
        settings: RoomSettings,
        *,
        epoch: str,
        new_id: Callable[[str], str],
        new_token: Callable[[str], str],
        draw: UniformSource,
        event: str = "quiz",
        title: str = "",
        crowd: ServerCrowd | None = None,
    ) -> None:
        self.game, self.epoch, self.event, self.title = game, epoch, event, title
        self._effects: list[ServerEffect] = []
        self._commits = PendingCommits(self._effects)
        self._attendance = Attendance(
            settings,
            commits=self._commits,
            effects=self._effects,
            new_id=new_id,
            new_token=new_token,
            draw=draw,
            crowd=crowd or ServerCrowd(),
        )
        self._stream = QuizStream(
            game,
            settings,
            self._attendance,
            commits=self._commits,
            effects=self._effects,
            epoch=epoch,
            event=event,
            title=title,
        )
        self.sessions = self._attendance.sessions

    @property
    def seq(self) -> int:
        """The number of the stream's last message."""
        return self._stream.seq

    def restore(self, rows: Iterable[SessionRow], now: Instant) -> None:
        """Continue where an earlier server of this event stopped; the game is restored already."""
        for row in rows:
            self._attendance.restore(row, now)
        self._stream.restore(list(self.sessions), now)

    def disband(self) -> None:
        """The event runs on this server no longer: its participants count in no crowd."""
        self._attendance.disband()

    # what happened ----------------------------------------------------------------------------------------------------

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        """A message arrived. Connection keys are the driver's and are never used twice."""
        if isinstance(message, Join | Resume):
            self._on_join_or_resume(message, connection, now)
        elif self._stream.is_host(connection):
            if not self._stream.receive_host(message, connection, now):
                self._send_error(connection, "a host may say probe, create_event and host_command", now)
        else:
            self._receive_participant(message, connection, now)

    def host(self, connection: int, now: Instant) -> None:
        """A connection presented the host key."""
        self._stream.attach_host(connection, now)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> None:
        """A connection ended, for whatever reason."""
        self._stream.detach_host(connection)
        if self._attendance.transport_lost(connection, cause, now):
            self._stream.attendance_changed(now)

    def committed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket are durable: reply to the connections that wait for them."""
        self._commits.committed(ticket, now)

    def commit_failed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket were not written: nothing was acknowledged, the waiting clients retry."""
        self._commits.commit_failed(ticket, now)

    def save_unsaved(self) -> None:
        """Order a commit of everything that no connection waits for and that is not stored: the server stops."""
        self._attendance.save_unsaved()
        self._stream.save_unsaved()

    def unsaved_rows(self, now: Instant) -> tuple[Row, ...]:
        """What no connection waits for and no commit will store: this room ends, another continues its run.

        The state of the quiz is not among it: it follows from the deadlines that are stored.
        """
        self._commits.fail_unwaited(now)
        return self._attendance.unsaved_rows()

    # asked by drivers -------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, int]:
        """How many participants are in each connection state."""
        return self._attendance.states()

    def is_waiting(self, connection: int) -> bool:
        """Whether this connection waits for a commit. Constant time."""
        return self._commits.is_waiting(connection)

    def recomputed_digest(self, participant: str) -> str:
        """The participant's state recomputed from the answer log."""
        return self._stream.recomputed_digest(participant)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` must be called; ``None`` for never."""
        stream, attendance = self._stream.next_deadline(), self._attendance.next_deadline()
        if stream is None or attendance is None:
            return attendance if stream is None else stream
        return min(stream, attendance)

    def handle_timeout(self, now: Instant) -> None:
        """Do everything that is due; harmless when called early. A late call first gives every peer the lag back."""
        lag = lag_of(self.next_deadline(), now)
        if lag:
            self._effects.append(Record(LogEventKind.SERVER_LATE, now, value=lag, ref=self.event))
            self._attendance.extend_by_lag(lag, now)
            self._stream.extend_by_lag(lag, now)
        self._stream.handle_timeout(now)
        delta = self._attendance.handle_timeout(now)
        if delta is not None:
            self._stream.publish_presence(delta, now)
        if self._attendance.check_heartbeats(now):
            self._stream.attendance_changed(now)

    def effects(self) -> list[ServerEffect]:
        """What the driver must do now, in this order; each effect is returned once."""
        effects = self._effects[:]
        self._effects.clear()
        return effects

    # joins and resumes ------------------------------------------------------------------------------------------------

    def _on_join_or_resume(self, message: Join | Resume, connection: int, now: Instant) -> None:
        if message.protocol != PROTOCOL_VERSION:
            reason = f"this server speaks protocol {PROTOCOL_VERSION}"
            self._effects.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause="protocol"))
            self._effects.append(Disconnect(connection, CloseCode.PROTOCOL_ERROR, reason))
        elif self._attendance.has_session(connection) or self._stream.is_host(connection):
            self._send_error(connection, "this connection has joined already", now)
        elif isinstance(message, Join) and not self._make_place(message, now):
            reason = "the event has as many participants as max_participants allows"
            self._effects.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause="event_full"))
            self._effects.append(Disconnect(connection, CloseCode.EVENT_FULL, reason))
        else:
            pending_join = self._attendance.arrive(message, connection, now)
            if pending_join is not None:
                rows = self._attendance.rows_of(pending_join)
                self._commits.persist_then(
                    rows, connection, _StoredJoin(pending_join, self._welcome, self._join_failed)
                )

    def _make_place(self, join: Join, now: Instant) -> bool:
        """Whether there is a place for this join; at the limit it takes that of a participant gone without answers."""
        if self._attendance.has_place(join):
            return True
        gone = self._attendance.longest_gone(self._stream.has_answers)
        if gone is not None:
            self._forget(gone, "limit", now)
        return gone is not None

    def _forget(self, session: ServerSession, cause: str, now: Instant) -> None:
        self._attendance.forget(session, cause, now)
        self._stream.forget_participant(session.participant)

    def _welcome(self, pending_join: PendingJoin, now: Instant) -> None:
        if not self._attendance.welcome(pending_join, now):
            return
        participant = pending_join.session.participant
        if pending_join.outcome == CREATED:
            self._stream.add_participant(participant, now)
        self._stream.attendance_changed(now)
        self._effects.append(join_record(pending_join, self.seq, self.recomputed_digest(participant), now))
        self._effects.append(SendToClient(pending_join.connection, self._welcome_message(pending_join, now)))

    def _welcome_message(self, pending_join: PendingJoin, now: Instant) -> Joined | StateRestored:
        roster = self._attendance.roster(self._stream.leaders, pack=pending_join.accepts_deflate)
        snapshot = self._stream.snapshot(pending_join.session.participant, roster, now)
        credentials, timing = self._attendance.credentials_of(pending_join), self._attendance.timing()
        if pending_join.outcome == CREATED:
            return Joined(credentials, timing, snapshot)
        return StateRestored(credentials, timing, snapshot, pending_join.outcome == REJOINED)

    def _join_failed(self, pending_join: PendingJoin) -> None:
        self._effects.append(try_again_later(pending_join.connection, "the session could not be stored"))
        self._attendance.join_failed(pending_join)

    # a known connection -----------------------------------------------------------------------------------------------

    def _receive_participant(self, message: ClientMessage, connection: int, now: Instant) -> None:
        session = self._attendance.session_of(connection)
        if session is None:
            self._send_error(connection, "the first message must be join or resume", now)
        elif session.connection == connection and not session.ready:
            self._send_error(connection, "wait for the answer to join or resume", now)
        elif session.connection == connection:
            self._attendance.heard(session, now)
            self._receive_known(message, session, connection, now)

    def _receive_known(self, message: ClientMessage, session: ServerSession, connection: int, now: Instant) -> None:
        match message:
            case Pong() | Probe() | TokenStored():
                self._attendance.receive(message, session, connection, now)
            case Answer():
                excused = session.was_absent_at(self.game.progress.closes_at)
                self._stream.submit_answer(session.participant, message, connection, now, excused=excused)
            case Leave():
                self._attendance.leave(session, connection, now)
                if not self._stream.has_answers(session.participant):
                    self._forget(session, "left", now)
                self._stream.attendance_changed(now)
            case _:
                self._send_error(connection, "only a host may say this", now)

    def _send_error(self, connection: int, rule: str, now: Instant) -> None:
        self._effects.append(Record(LogEventKind.MESSAGE_REFUSED, now, cause=ErrorCode.UNEXPECTED))
        self._effects.append(SendToClient(connection, Error(ErrorCode.UNEXPECTED, "type", rule)))
