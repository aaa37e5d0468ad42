"""One event on the server: every session, the game, the numbered stream. Pure; drivers own sockets, storage and time.

A message is acted on at once but answered only after its commit: ``committed`` builds the snapshot, sends it and
registers the connection for broadcasts in one call, so the stream has neither gap nor duplicate for a newcomer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.adaptive_heartbeat import RttEstimator, adapt_timeouts
from resilience.policy.close_codes import CloseCode
from resilience.policy.failure_detectors import LAG_TOLERANCE_S, align_to_grid
from resilience.policy.return_window import ReturnWindow, return_window
from resilience.protocol.deadlines import DeadlineQueue
from resilience.protocol.effects import (
    Broadcast,
    DeleteParticipant,
    Disconnect,
    JoinAttempt,
    Persist,
    Record,
    Row,
    SendToClient,
    ServerEffect,
    SessionRow,
)
from resilience.protocol.messages import (
    PROTOCOL_VERSION,
    Answer,
    ClientMessage,
    Credentials,
    Error,
    ErrorCode,
    HostCommand,
    Join,
    Joined,
    Leave,
    Player,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    Resume,
    SequencedMessage,
    ServerMessage,
    StateRestored,
    TokenStored,
)
from resilience.protocol.server.answers import PendingAnswers
from resilience.protocol.server.game_messages import GameMessages
from resilience.protocol.server.host_commands import HostCommands
from resilience.protocol.server.identities import CREATED, REJOINED, IdentityRegistry, PendingJoin, join_record
from resilience.protocol.server.presence import PresenceTracker
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.settings import RoomSettings
from resilience.protocol.server.snapshots import SnapshotBuilder, count_states, timing_message
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import Game, QuizState
from resilience.quiz.phases import Phase
from resilience.random_streams import UniformSource, hash64
from resilience.units import Instant

_QUIZ, _PRESENCE, _CHECKPOINT, _HOSTS = "", "\x00presence", "\x00checkpoint", "\x00hosts"
"""Keys of the deadline queue; no participant id looks like one."""


class Room:
    """The server's decisions for one event. ``tokens`` makes unguessable session tokens, ``draw`` spreads pings."""

    def __init__(  # noqa: PLR0913 - all that a room is made of
        self,
        game: Game,
        rules: RoomSettings,
        *,
        epoch: str,
        tokens: Callable[[], str],
        draw: UniformSource,
        event: str = "quiz",
        title: str = "",
    ) -> None:
        self.game, self.epoch, self.seq = game, epoch, 0
        self.event, self.title = event, title
        self._rules, self._draw = rules, draw
        self._by_connection: dict[int, tuple[ServerSession, int]] = {}
        self._subscribers: dict[int, ServerSession] = {}
        self._population: set[str] = set()
        self._unsaved: dict[str, None] = {}
        self._ticket = 0
        self._deadlines = DeadlineQueue()
        self._presence = PresenceTracker(rules.presence_interval, rules.flap_hidden, rules.participants_cap)
        self._effects: list[ServerEffect] = []
        self._identities = IdentityRegistry(rules.heartbeat, self._effects, tokens)
        self.sessions = self._identities.sessions
        self._answers = PendingAnswers(game, self._effects)
        self._game_messages = GameMessages(game, rules.leaderboard_size, self._name_of)
        self._snapshots = SnapshotBuilder(event, title, epoch, game, self._game_messages, self._presence)
        status = functools.partial(self._snapshots.host_status, self.sessions)
        self._host_commands = HostCommands(
            game, self._effects, status, rules.presence_interval, grace=rules.heartbeat.grace
        )

    def restore(self, rows: Iterable[SessionRow], now: Instant) -> None:
        """Go on where an earlier server of this event stopped; the game has taken up its own part already."""
        for row in rows:
            session = self._identities.restore(row, now)
            self.game.add_participant(session.participant)
            self._presence.restore([Player(session.participant, row.name, row.join_status)])
            if session.state is not ConnectionState.DISCONNECTED:
                self._population.add(session.participant)
                self._presence_changed(session, now)
        if self.sessions:
            self._start_lobby(now)
        self._schedule_quiz()

    # what happened ----------------------------------------------------------------------------------------------------

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        """A connection said something. Connection keys are the driver's and are never used twice."""
        if isinstance(message, Join | Resume):
            self._on_join_or_resume(message, connection, now)
        elif connection in self._host_commands:
            self._receive_host(message, connection, now)
        else:
            self._receive_participant(message, connection, now)

    def host(self, connection: int, now: Instant) -> None:
        """A connection proved to be a host's."""
        self._host_commands.attach(connection, self.event, now)
        self._schedule_hosts(now)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> None:
        """A connection ended, for whatever reason."""
        self._host_commands.left(connection)
        session, connection_no = self._by_connection.pop(connection, (None, 0))
        self._subscribers.pop(connection, None)
        if session is None:
            return
        self._effects.append(Record(LogEventKind.TRANSPORT_LOST, now, session.participant, connection_no, cause=cause))
        if not session.welcomed and session.connection == connection:
            session.release()  # nobody knows of it yet; its commit will find it gone and forget it
        elif session.welcomed and session.transport_lost(connection, cause, now):
            self._presence_changed(session, now)
            self._persist((session.row(),))

    def committed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket are durable: answer whoever waits for them."""
        arrival = self._identities.settled(ticket)
        if arrival is not None:
            self._welcome(arrival, now)
            return
        progress = self._host_commands.committed(ticket, now)
        if progress is not None:
            self._enter_phase(progress, now)
            self._schedule_quiz()
        elif ticket in self._answers:
            if self._answers.committed(ticket, now):
                self._presence.invalidate_roster()
            self._mark_host_status_dirty(now)

    def commit_failed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket were not written: nothing was promised, the waiting client is told to come again."""
        self._host_commands.commit_failed(ticket, now)
        arrival = self._identities.settled(ticket)
        if arrival is None:
            for connection in self._answers.commit_failed(ticket):
                self._refuse_for_now(connection, "the answer could not be stored")
            return
        self._refuse_for_now(arrival.connection, "the session could not be stored")
        if arrival.session.connection in (None, arrival.connection) and not arrival.session.welcomed:
            self._forget(arrival.session)

    # asked by drivers -------------------------------------------------------------------------------------------------

    def states(self) -> dict[str, int]:
        """How many participants are in each connection state."""
        return count_states(self.sessions.values())

    def is_waiting(self, connections: Container[int]) -> bool:
        """Whether one of these connections has said something that is not durable yet."""
        return self._identities.is_waiting(connections) or self._answers.is_waiting(connections)

    def recomputed_digest(self, participant: str) -> str:
        """The participant's state recomputed from the answer log."""
        return self._snapshots.recomputed_digest(participant, self.seq)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` wants to be called; ``None`` for never."""
        return self._deadlines.next_deadline()

    def handle_timeout(self, now: Instant) -> None:
        """Do everything that is due; harmless when called early. A late call gives every peer the lag back first."""
        deadline = self._deadlines.next_deadline()
        if deadline is not None and now - deadline > LAG_TOLERANCE_S:
            for connection, (session, _) in self._by_connection.items():
                if session.connection == connection:
                    session.extend_by_lag(now - deadline)
        for key in self._deadlines.due(now):
            if key == _QUIZ:
                self._advance(now)
            elif key == _PRESENCE:
                self._show_presence(now)
            elif key == _CHECKPOINT:
                self._save()
            elif key == _HOSTS:
                self._host_commands.handle_timeout(now)
                self._schedule_hosts(now)
            else:
                self._check_session(self.sessions.get(key), now)

    def effects(self) -> list[ServerEffect]:
        """What the driver must do now, in this order; each effect is handed out once."""
        effects = self._effects[:]
        self._effects.clear()
        return effects

    # arriving ---------------------------------------------------------------------------------------------------------

    def _on_join_or_resume(self, message: Join | Resume, connection: int, now: Instant) -> None:
        if message.protocol != PROTOCOL_VERSION:
            reason = f"this server speaks protocol {PROTOCOL_VERSION}"
            self._effects.append(Record(LogEventKind.CONNECTION_REFUSED, now, cause="protocol"))
            self._effects.append(Disconnect(connection, CloseCode.PROTOCOL_ERROR, reason))
        elif connection in self._by_connection or connection in self._host_commands:
            self._send_error(connection, "this connection has joined already", now)
        elif isinstance(message, Join):
            self._attach(self._identities.join(message, connection, now), now)
        else:
            arrival = self._identities.resume(message, connection, now)
            if arrival is None:
                self._persist((JoinAttempt(None, "refused", now),))
            else:
                self._attach(arrival, now)

    def _attach(self, arrival: PendingJoin, now: Instant) -> None:
        session = arrival.session
        if session.connection is not None:
            self._subscribers.pop(session.connection, None)
        u = self._draw("first_ping", hash64(session.participant), session.connection_no)
        session.attach(arrival.connection, now, align_to_grid(u, now, self._rules.heartbeat.interval))
        if self._rules.adaptive is not None:
            session.trips = RttEstimator()
            self._adapt_timeouts(session, now)
        self._by_connection[arrival.connection] = (session, session.connection_no)
        rows = self._identities.rows(arrival)
        self._schedule(session, now)
        self._identities.waiting_for(self._persist(rows), arrival)

    def _welcome(self, arrival: PendingJoin, now: Instant) -> None:
        session, connection = arrival.session, arrival.connection
        if session.connection != connection:
            if not session.welcomed and session.connection is None:
                self._forget(session)
            return
        session.ready = session.welcomed = True
        self._population.add(session.participant)
        self._subscribers[connection] = session
        if arrival.outcome == CREATED:
            self.game.add_participant(session.participant)
            self._start_lobby(now)
        self._presence_changed(session, now)
        self._effects.append(join_record(arrival, self.seq, self.recomputed_digest(session.participant), now))
        self._send(connection, self._welcome_message(arrival, now))

    def _welcome_message(self, arrival: PendingJoin, now: Instant) -> Joined | StateRestored:
        session = arrival.session
        credentials = Credentials(session.participant, arrival.token, session.generation, session.connection_no)
        told = timing_message(self._rules.heartbeat, self._window())
        snapshot = self._snapshots.snapshot(session.participant, self.seq, now, pack=arrival.accepts_deflate)
        if arrival.outcome == CREATED:
            return Joined(credentials, told, snapshot)
        return StateRestored(credentials, told, snapshot, arrival.outcome == REJOINED)

    def _window(self) -> ReturnWindow:
        """For all who are here or are expected back."""
        return return_window(len(self._population), self._rules.join_capacity)

    def _forget(self, session: ServerSession) -> None:
        """A join that never reached its client leaves nothing behind."""
        if not self._identities.forget(session):
            return  # an earlier commit of the same identity did it
        self._deadlines.cancel(session.participant)
        self._presence.forget(session.participant)
        self._persist((DeleteParticipant(session.participant),))

    # a known connection -----------------------------------------------------------------------------------------------

    def _receive_participant(self, message: ClientMessage, connection: int, now: Instant) -> None:
        session, _ = self._by_connection.get(connection, (None, 0))
        if session is None:
            self._send_error(connection, "the first message must be join or resume", now)
        elif session.connection == connection and not session.ready:
            self._send_error(connection, "wait for the answer to join or resume", now)
        elif session.connection == connection:
            session.heard(now)
            self._receive_known(message, session, connection, now)

    def _receive_known(self, message: ClientMessage, session: ServerSession, connection: int, now: Instant) -> None:
        match message:
            case Pong():
                session.pong_received(message.id, now)
                self._adapt_timeouts(session, now)
                self._schedule(session, now)
                self._save_later(session, now)
            case Probe():
                self._send(connection, ProbeReply(message.id))
            case TokenStored():
                if self._identities.token_stored(session, message.generation):
                    self._save_later(session, now)
            case Answer():
                excused = session.was_absent_at(self.game.progress.closes_at)
                rows = self._answers.submit(session.participant, message, connection, now, excused=excused)
                if rows:
                    self._answers.waiting_for(self._persist(rows), rows[0])
            case Leave():
                self._leave(session, connection, now)
            case _:
                self._send_error(connection, "only a host may say this", now)

    def _leave(self, session: ServerSession, connection: int, now: Instant) -> None:
        session.left(now)
        self._subscribers.pop(connection, None)
        self._population.discard(session.participant)
        self._identities.release_instance(session)
        self._deadlines.cancel(session.participant)
        self._presence_changed(session, now)
        self._persist((session.row(),))
        self._effects.append(Disconnect(connection, CloseCode.LEFT, "goodbye"))

    def _receive_host(self, message: ClientMessage, connection: int, now: Instant) -> None:
        self._host_commands.heard(connection, now)
        if isinstance(message, Probe):
            self._send(connection, ProbeReply(message.id))
        elif isinstance(message, HostCommand):
            progress = self._host_commands.submit(connection, message, now)
            if progress is not None:
                self._host_commands.waiting_for(self._persist((progress,)), connection, message, progress)
        else:
            self._send_error(connection, "a host may say probe, create_event and host_command", now)

    def _send_error(self, connection: int, rule: str, now: Instant) -> None:
        self._effects.append(Record(LogEventKind.MESSAGE_REFUSED, now, cause=ErrorCode.UNEXPECTED))
        self._send(connection, Error(ErrorCode.UNEXPECTED, "type", rule))

    def _refuse_for_now(self, connection: int, why: str) -> None:
        self._effects.append(Disconnect(connection, CloseCode.TRY_AGAIN_LATER, f"retry_after=1.0 {why}"))

    # time's work ------------------------------------------------------------------------------------------------------

    def _check_session(self, session: ServerSession | None, now: Instant) -> None:
        if session is None or not session.welcomed:
            return
        connection = session.connection
        if session.handle_timeout(now, self._window()):
            if connection is not None:
                self._subscribers.pop(connection, None)
            if session.state is ConnectionState.DISCONNECTED:
                self._population.discard(session.participant)
                self._identities.release_instance(session)
            self._presence_changed(session, now)
            self._persist((session.row(),))
        self._schedule(session, now)

    def _schedule(self, session: ServerSession, now: Instant) -> None:
        """A deadline that passed while nobody could act on it is due now: it says nothing about the scheduler's lag."""
        deadline = session.next_deadline()
        if deadline is not None:
            self._deadlines.schedule(session.participant, max(deadline, now))

    def _adapt_timeouts(self, session: ServerSession, now: Instant) -> None:
        """Let the heartbeat of one connection follow its link and the phase, if that is wanted."""
        adaptive, trips = self._rules.adaptive, session.trips
        if adaptive is None or trips is None:
            return
        urgent = self.game.phase is Phase.QUESTION
        if session.set_timeouts(adapt_timeouts(self._rules.heartbeat, adaptive, trips.timeout, urgent=urgent), now):
            self._schedule(session, now)

    def _start_lobby(self, now: Instant) -> None:
        if self.game.start_lobby(now):
            self._persist((self.game.progress,))
            self._schedule_quiz()

    def _schedule_quiz(self) -> None:
        if self.game.phase_ends_at is None:
            self._deadlines.cancel(_QUIZ)
        else:
            self._deadlines.schedule(_QUIZ, self.game.phase_ends_at)

    def _advance(self, now: Instant) -> None:
        while self.game.phase_ends_at is not None and self.game.phase_ends_at <= now:
            progress = self.game.next_state(self.game.phase_ends_at)
            self._persist((progress,))
            self._enter_phase(progress, now)
        self._schedule_quiz()

    def _enter_phase(self, progress: QuizState, now: Instant) -> None:
        self.game.apply(progress)
        self._presence.invalidate_roster()
        self._broadcast(self._game_messages.phase_message(self.seq + 1, now))
        self._log_phase(progress.phase, now)
        if progress.phase is Phase.REVEAL:
            self._send_scores()
        for session in self._subscribers.values() if self._rules.adaptive else ():
            self._adapt_timeouts(session, now)
        self._host_commands.send_status(now)

    def _log_phase(self, phase: Phase, now: Instant) -> None:
        question = self.game.question
        kinds = {Phase.QUESTION: LogEventKind.QUESTION_OPENED, Phase.REVEAL: LogEventKind.QUESTION_CLOSED}
        if question is not None and phase in kinds:
            self._effects.append(Record(kinds[phase], now, seq=self.seq, ref=question.id))

    def _send_scores(self) -> None:
        for connection, session in self._subscribers.items():
            change = self._game_messages.score_of(session.participant)
            if change is not None:
                self._send(connection, change)

    # stream, presence, storage ----------------------------------------------------------------------------------------

    def _send(self, connection: int, message: ServerMessage) -> None:
        self._effects.append(SendToClient(connection, message))

    def _broadcast(self, message: SequencedMessage) -> None:
        self.seq += 1
        self._effects.append(Broadcast(tuple(self._subscribers), message))

    def _presence_changed(self, session: ServerSession, now: Instant) -> None:
        self._presence.update(Player(session.participant, session.name, session.state), now)
        self._schedule(session, now)
        self._schedule_presence()
        self._mark_host_status_dirty(now)

    def _schedule_presence(self) -> None:
        deadline = self._presence.next_deadline()
        if deadline is not None:
            self._deadlines.schedule(_PRESENCE, deadline)

    def _show_presence(self, now: Instant) -> None:
        before = self._presence.count
        joined, changed = self._presence.flush(now)
        if self._presence.count > self._rules.participants_cap:  # nobody has a list that this could be applied to
            if self._presence.count != before:
                self._broadcast(PresenceChanged(self.seq + 1, self._presence.count, (), ()))
        elif joined or changed:
            self._broadcast(PresenceChanged(self.seq + 1, self._presence.count, joined, changed))
        for player in joined:
            self._effects.append(Record(LogEventKind.PARTICIPANT_ANNOUNCED, now, player.participant, seq=self.seq))
        self._schedule_presence()

    def _mark_host_status_dirty(self, now: Instant) -> None:
        self._host_commands.mark_status_dirty()
        self._schedule_hosts(now)

    def _schedule_hosts(self, now: Instant) -> None:
        deadline = self._host_commands.next_deadline()
        if deadline is not None:
            self._deadlines.schedule(_HOSTS, max(deadline, now))

    def _name_of(self, participant: str) -> str:
        session = self.sessions.get(participant)
        return session.name if session is not None else participant

    def _save_later(self, session: ServerSession, now: Instant) -> None:
        """Store the session with the next checkpoint: nobody waits for it."""
        if not self._unsaved:
            self._deadlines.schedule(_CHECKPOINT, now + self._rules.checkpoint_interval)
        self._unsaved[session.participant] = None

    def _save(self) -> None:
        sessions = [self.sessions[who] for who in self._unsaved if who in self.sessions]
        self._unsaved.clear()
        self._persist(tuple(session.row() for session in sessions))

    def _persist(self, rows: tuple[Row, ...]) -> int:
        self._ticket += 1
        self._effects.append(Persist(self._ticket, rows))
        return self._ticket
