"""Who attends one event: sessions, identities, tokens, presence, heartbeats, return window. Pure.

It knows nothing of quiz, questions and hosts. What it tells others is returned; what the quiz stream asks of it are the
methods of :class:`~resilience.protocol.server.quiz_stream.Audience`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.policy.return_window import ReturnWindow, return_window
from resilience.protocol.deadlines import DeadlineQueue
from resilience.protocol.effects import (
    Broadcast,
    DeleteParticipant,
    Disconnect,
    JoinAttempt,
    Record,
    Row,
    SendToClient,
    ServerEffect,
    SessionRow,
)
from resilience.protocol.messages import (
    Credentials,
    Join,
    Player,
    Pong,
    Probe,
    ProbeReply,
    Resume,
    SequencedMessage,
    ServerMessage,
    Standing,
    Timing,
    TokenStored,
)
from resilience.protocol.server.crowd import EventCrowd, ServerCrowd
from resilience.protocol.server.heartbeats import HeartbeatManager, LivenessChange
from resilience.protocol.server.identities import IdentityRegistry, PendingJoin
from resilience.protocol.server.pending_commits import PendingCommits
from resilience.protocol.server.presence import PresenceDelta, PresenceTracker
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.settings import RoomSettings
from resilience.protocol.server.state_counts import StateCounts
from resilience.protocol.server.tokens import TokenRegistry
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from resilience.random_streams import UniformSource
from resilience.units import Instant, Seconds

_PRESENCE, _CHECKPOINT = "presence", "checkpoint"
"""Keys of the deadline queue; heartbeats have a queue of their own."""

MAX_UNSAVED_ATTEMPTS = 1000
"""How many rows of the join log wait for a database that is away; the oldest is dropped first."""


class Attendance:
    """The participants of one room. ``effects`` is the room's list, ``commits`` its table of pending commits.

    ``new_id`` makes a participant id for a client's instance, ``new_token`` an unguessable token for a participant,
    ``draw`` spreads first pings, ``crowd`` is that of the server process.
    """

    def __init__(  # noqa: PLR0913 - all that attendance depends on
        self,
        settings: RoomSettings,
        *,
        commits: PendingCommits,
        effects: list[ServerEffect],
        new_id: Callable[[str], str],
        new_token: Callable[[str], str],
        draw: UniformSource,
        crowd: ServerCrowd,
    ) -> None:
        self._settings, self._commits, self._effects = settings, commits, effects
        self._tokens = TokenRegistry(new_token)
        self._identities = IdentityRegistry(effects, self._tokens, new_id)
        self.sessions = self._identities.sessions
        self._heartbeats = HeartbeatManager(settings.heartbeat, effects, draw, settings.adaptive)
        self._presence = PresenceTracker(settings.presence_interval, settings.flap_hidden, settings.participants_cap)
        self._by_connection: dict[int, tuple[ServerSession, int]] = {}
        self._subscribers: dict[int, ServerSession] = {}
        self._population = EventCrowd(crowd)
        self._states = StateCounts()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._unsaved: dict[str, None] = {}
        self._unsaved_attempts: deque[JoinAttempt] = deque(maxlen=MAX_UNSAVED_ATTEMPTS)
        self._deadlines = DeadlineQueue()

    def restore(self, row: SessionRow, now: Instant) -> None:
        """Add a stored participant, whose connection ended with the server that stored it.

        The row of one that was connected is written again with the next checkpoint, with the state that holds now.
        """
        session = self._identities.restore(row, now)
        expires = session.state is not ConnectionState.DISCONNECTED
        self._heartbeats.restore(session.participant, session.instance, row.last_heard, now, expires=expires)
        self._presence.restore([Player(session.participant, row.name, row.join_status)])
        if expires:
            self._population.add(session.participant)
            self._presence_changed(session, now)
        else:
            self._gone[session.participant] = None
        self._states.update(session)
        if session.state != row.join_status:
            self._save_later((session.participant,), now)

    # joins and resumes ------------------------------------------------------------------------------------------------

    def has_session(self, connection: int) -> bool:
        """Whether this connection has joined or resumed."""
        return connection in self._by_connection

    def session_of(self, connection: int) -> ServerSession | None:
        """The session that this connection joined or resumed, which a newer connection may act for by now."""
        return self._by_connection.get(connection, (None, 0))[0]

    def has_place(self, message: Join) -> bool:
        """Whether the join makes no identity beyond ``max_participants``."""
        most = self._settings.max_participants
        return not most or len(self.sessions) < most or self._identities.is_known(message.instance)

    def longest_gone(self, has_answers: Callable[[str], bool]) -> ServerSession | None:
        """The participant that has been disconnected for longest of those without answers, if there is one."""
        while self._gone:
            participant = next(iter(self._gone))
            if not has_answers(participant):
                return self.sessions[participant]
            del self._gone[participant]  # it never becomes one without answers
        return None

    def arrive(self, message: Join | Resume, connection: int, now: Instant) -> PendingJoin | None:
        """Attach a connection to its session; ``None`` for a rejected token.

        The caller commits :meth:`rows_of` the join, then calls :meth:`welcome` or :meth:`join_failed`.
        """
        if isinstance(message, Join):
            pending_join = self._identities.join(message, connection, now)
        else:
            resumed = self._identities.resume(message, connection, now)
            if resumed is None:
                self._store((), (JoinAttempt(None, "refused", now),))
                return None
            pending_join = resumed
        self._attach(pending_join, now)
        return pending_join

    def rows_of(self, pending_join: PendingJoin) -> tuple[Row, ...]:
        """What must be durable before the join is answered; the next checkpoint has nothing to add to it.

        Where the commit fails the connection is closed, and its loss is noted for a checkpoint.
        """
        session = pending_join.session
        self._unsaved.pop(session.participant, None)
        return self._row(session), JoinAttempt(session.participant, pending_join.outcome, pending_join.since)

    def welcome(self, pending_join: PendingJoin, now: Instant) -> bool:
        """A join is durable: subscribe its connection; ``False`` when the connection no longer acts for its session."""
        session, connection = pending_join.session, pending_join.connection
        if session.connection != connection:
            if not session.welcomed and session.connection is None:
                self._delete(session)
            return False
        session.ready = session.welcomed = True
        self._population.add(session.participant)
        self._subscribers[connection] = session
        self._heartbeats.enable_pings(session.participant, now)
        self._presence_changed(session, now)
        return True

    def join_failed(self, pending_join: PendingJoin) -> None:
        """A join was not stored: take a new identity back that no other connection waits for."""
        session = pending_join.session
        if session.connection in (None, pending_join.connection) and not session.welcomed:
            self._delete(session)

    def credentials_of(self, pending_join: PendingJoin) -> Credentials:
        """What the client needs to resume later."""
        session = pending_join.session
        generation = self._tokens.state_of(session.participant).generation
        return Credentials(session.participant, pending_join.token, generation, session.connection_no)

    def disband(self) -> None:
        """The event runs on this server no longer."""
        self._population.disband()

    def timing(self) -> Timing:
        """The effective settings and the current return window, in milliseconds."""
        return timing_message(self._settings.heartbeat, self._window())

    def roster(self, leaders: Callable[[], tuple[Standing, ...]], *, pack: bool) -> msgspec.Raw:
        """The shown participants as JSON with the ``leaders``; serialised once until it changes."""
        return self._presence.roster(leaders, pack=pack)

    # a known connection -----------------------------------------------------------------------------------------------

    def heard(self, session: ServerSession, now: Instant) -> None:
        """An application message arrived over the attached connection of a session.

        The stored sign of life is renewed twice in a heartbeat interval at most, and with every change of the row.
        """
        self._heartbeats.heard(session.participant, now)
        if now - session.saved_at >= self._settings.heartbeat.interval / 2:
            self._save_later((session.participant,), now)

    def receive(
        self, message: Pong | Probe | TokenStored, session: ServerSession, connection: int, now: Instant
    ) -> None:
        """A message about the session itself."""
        if isinstance(message, Pong):
            self._heartbeats.pong_received(session.participant, message.id, now)
        elif isinstance(message, Probe):
            self._effects.append(SendToClient(connection, ProbeReply(message.id)))
        else:
            self._identities.release_instance(session)
            if self._tokens.confirm(session.participant, message.generation):
                self._save_later((session.participant,), now)

    def leave(self, session: ServerSession, connection: int, now: Instant) -> None:
        """The participant leaves on purpose."""
        session.leave(now)
        self._heartbeats.stop(session.participant, now, expires=False)
        self._subscribers.pop(connection, None)
        self._population.discard(session.participant)
        self._identities.release_instance(session)
        self._presence_changed(session, now)
        self._store((session.participant,))
        self._effects.append(Disconnect(connection, CloseCode.LEFT, "goodbye"))

    def forget(self, session: ServerSession, cause: str, now: Instant) -> None:
        """Delete a participant that is disconnected and has no answers: nothing of it is worth a row."""
        self._effects.append(Record(LogEventKind.SESSION_FORGOTTEN, now, session.participant, cause=cause))
        self._delete(session)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> bool:
        """A connection ended; returns whether the presence of its participant changed.

        Its row waits for the checkpoint: a server that recovers treats it as it treats one that was connected, and most
        are back before.
        """
        session, connection_no = self._by_connection.pop(connection, (None, 0))
        self._subscribers.pop(connection, None)
        if session is None:
            return False
        self._effects.append(Record(LogEventKind.TRANSPORT_LOST, now, session.participant, connection_no, cause=cause))
        if not session.welcomed:
            if session.connection == connection:  # its join is not durable yet; the commit forgets it
                session.release()
                self._heartbeats.stop(session.participant, now, expires=False)
            return False
        if not session.transport_lost(connection, cause, now):
            return False
        self._heartbeats.stop(session.participant, now)
        self._presence_changed(session, now)
        self._save_later((session.participant,), now)
        return True

    # the audience of the quiz stream ----------------------------------------------------------------------------------

    def broadcast(self, message: SequencedMessage) -> None:
        """Send a message to every subscribed connection."""
        self._effects.append(Broadcast(tuple(self._subscribers), message))

    def send_each(self, message_for: Callable[[str], ServerMessage | None]) -> None:
        """Send every subscribed participant a message of its own, or nothing."""
        for connection, session in self._subscribers.items():
            message = message_for(session.participant)
            if message is not None:
                self._effects.append(SendToClient(connection, message))

    def name_of(self, participant: str) -> str:
        """The display name of a participant."""
        session = self.sessions.get(participant)
        return session.name if session is not None else participant

    def states(self) -> dict[str, int]:
        """How many participants are in each connection state; those without a durable join do not count."""
        return self._states.by_state()

    def standings_changed(self) -> None:
        """The leaderboard changed, and the roster with it."""
        self._presence.invalidate_roster()

    def phase_entered(self, phase: Phase, now: Instant) -> None:
        """Tighten adaptive heartbeats while a question is open."""
        self._heartbeats.set_urgent(now, urgent=phase is Phase.QUESTION)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When one of the methods below has something to do; ``None`` for never."""
        heartbeats, others = self._heartbeats.next_deadline(), self._deadlines.next_deadline()
        if heartbeats is None or others is None:
            return others if heartbeats is None else heartbeats
        return min(heartbeats, others)

    def extend_by_lag(self, lag: Seconds, now: Instant) -> None:
        """Give ``lag`` seconds that the scheduler overslept back to every participant, connected or away."""
        self._heartbeats.extend_by_lag(lag, now)

    def handle_timeout(self, now: Instant) -> PresenceDelta | None:
        """Store due session rows; returns the change of presence that is due to be shown."""
        due = self._deadlines.due(now)
        if _CHECKPOINT in due:
            self.save_unsaved()
        if _PRESENCE not in due:
            return None
        delta = self._presence.flush(now)
        self._schedule_presence()
        return delta

    def save_unsaved(self) -> None:
        """Order a commit of everything that waits for the next checkpoint."""
        if self._has_unsaved():
            participants, attempts = tuple(self._unsaved), tuple(self._unsaved_attempts)
            self._unsaved.clear()
            self._unsaved_attempts.clear()
            self._store(participants, attempts)

    def unsaved_rows(self) -> tuple[SessionRow | DeleteParticipant, ...]:
        """The rows of the participants that wait for the next checkpoint."""
        return tuple(self._row_of(participant) for participant in self._unsaved)

    def check_heartbeats(self, now: Instant) -> bool:
        """Send due pings, evict the silent, expire the absent; returns whether the presence of anybody changed."""
        changes = self._heartbeats.handle_timeout(now, self._window())
        for participant, change in changes:
            session = self.sessions[participant]
            if change is LivenessChange.SILENT:
                self._evict(session, now)
                self._save_later((participant,), now)
            else:
                self._expire(session, now)
                self._store((participant,))
            self._presence_changed(session, now)
        return bool(changes)

    # the parts --------------------------------------------------------------------------------------------------------

    def _attach(self, pending_join: PendingJoin, now: Instant) -> None:
        session, connection = pending_join.session, pending_join.connection
        if session.connection is not None:
            self._subscribers.pop(session.connection, None)
        self._gone.pop(session.participant, None)
        session.attach(connection, now, self._heartbeats.absent_since(session.participant))
        self._heartbeats.start(session.participant, session.instance, connection, session.connection_no, now)
        self._by_connection[connection] = (session, session.connection_no)
        pending_join.token = self._tokens.rotate(session.participant, pending_join.presented)

    def _evict(self, session: ServerSession, now: Instant) -> None:
        if session.connection is not None:
            self._subscribers.pop(session.connection, None)
        session.evict(now)

    def _expire(self, session: ServerSession, now: Instant) -> None:
        session.expire(now)
        self._population.discard(session.participant)
        self._identities.release_instance(session)

    def _delete(self, session: ServerSession) -> None:
        """Delete an identity, whose join never reached its client or which is gone without answers."""
        if not self._identities.forget(session):
            return  # an earlier commit of the same identity did it
        session.release()
        self._heartbeats.forget(session.participant)
        self._presence.forget(session.participant)
        self._states.forget(session.participant)
        self._gone.pop(session.participant, None)
        self._store((session.participant,))

    def _window(self) -> ReturnWindow:
        """The return window for all that are connected to this process or expected back, over all its events."""
        settings = self._settings
        return return_window(self._population.server_size, settings.join_capacity, settings.max_return_spread)

    def _presence_changed(self, session: ServerSession, now: Instant) -> None:
        self._states.update(session)
        if session.state is ConnectionState.DISCONNECTED:
            self._gone[session.participant] = None
        self._presence.update(Player(session.participant, session.name, session.state), now)
        self._schedule_presence()

    def _schedule_presence(self) -> None:
        deadline = self._presence.next_deadline()
        if deadline is not None:
            self._deadlines.schedule(_PRESENCE, deadline)

    def _store(self, participants: tuple[str, ...], attempts: tuple[JoinAttempt, ...] = ()) -> None:
        """Order a commit that no connection waits for; what it does not write goes into a later checkpoint."""
        rows = tuple(self._row_of(participant) for participant in participants)
        self._commits.persist_or_retry(rows + attempts, lambda now: self._save_later(participants, now, attempts))

    def _save_later(self, participants: tuple[str, ...], now: Instant, attempts: tuple[JoinAttempt, ...] = ()) -> None:
        """Store these with the next checkpoint, as they are by then."""
        if not self._has_unsaved():
            self._deadlines.schedule(_CHECKPOINT, now + self._settings.checkpoint_interval)
        self._unsaved.update(dict.fromkeys(participants))
        self._unsaved_attempts.extend(attempts)
        for participant in participants:
            if participant in self.sessions:
                self.sessions[participant].saved_at = now

    def _has_unsaved(self) -> bool:
        return bool(self._unsaved or self._unsaved_attempts)

    def _row_of(self, participant: str) -> SessionRow | DeleteParticipant:
        """The row of a participant as it is now; one that is forgotten has none."""
        session = self.sessions.get(participant)
        return DeleteParticipant(participant) if session is None else self._row(session)

    def _row(self, session: ServerSession) -> SessionRow:
        tokens = self._tokens.state_of(session.participant)
        return SessionRow(
            session.participant,
            session.name,
            session.state.value,
            session.connection_no,
            tokens.generation,
            tokens.hashes,
            session.instance,
            tokens.confirmed,
            self._heartbeats.last_heard(session.participant),
        )


def timing_message(timeouts: HeartbeatTimeouts, window: ReturnWindow) -> Timing:
    """The effective settings and a return window, in milliseconds."""
    return Timing(
        heartbeat_ms=round(timeouts.interval * 1000),
        grace_ms=round(timeouts.grace * 1000),
        cleanup_ms=round(timeouts.cleanup * 1000),
        spread_ms=round(window.spread_s * 1000),
        step_ms=round(window.step_s * 1000),
        cap_ms=round(window.cap_s * 1000),
    )
