"""One event on the server: every session, the game, the numbered stream. Pure; drivers own sockets, storage and time.

A message is acted on at once but answered only after its commit: ``committed`` builds the snapshot, sends it and
registers the connection for broadcasts in one call, so the stream has neither gap nor duplicate for a newcomer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable

from resilience.draws import Draw, text_word
from resilience.events import EventKind
from resilience.policy.adaptive import RoundTrips, tuned
from resilience.policy.liveness import LAG_TOLERANCE, slotted
from resilience.policy.retry import CloseCode
from resilience.policy.window import ReturnWindow, return_window
from resilience.protocol.agenda import Agenda
from resilience.protocol.desk import AnswerDesk
from resilience.protocol.effects import (
    Broadcast,
    Disconnect,
    Forget,
    JoinAttempt,
    Persist,
    Record,
    Row,
    SendDown,
    ServerEffect,
    SessionRow,
)
from resilience.protocol.hosting import HostDesk
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
from resilience.protocol.portrait import Portrait, count_states, timing
from resilience.protocol.presence import PresenceBoard
from resilience.protocol.reception import CREATED, REJOINED, Arrival, Reception, recorded
from resilience.protocol.rules import RoomRules
from resilience.protocol.session import ServerSession
from resilience.protocol.stage import Stage
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import Game, Progress
from resilience.quiz.phases import Phase
from resilience.units import Instant

_QUIZ, _PRESENCE, _CHECKPOINT, _HOSTS = "", "\x00presence", "\x00checkpoint", "\x00hosts"
"""Agenda keys; no participant id looks like one."""


class Room:
    """The server's decisions for one event. ``tokens`` makes unguessable session tokens, ``draw`` spreads pings."""

    def __init__(  # noqa: PLR0913 - all that a room is made of
        self,
        game: Game,
        rules: RoomRules,
        *,
        epoch: str,
        tokens: Callable[[], str],
        draw: Draw,
        event: str = "quiz",
        title: str = "",
    ) -> None:
        self.game, self.epoch, self.seq = game, epoch, 0
        self.event, self.title = event, title
        self._rules, self._draw = rules, draw
        self._by_connection: dict[int, tuple[ServerSession, int]] = {}
        self._live: dict[int, ServerSession] = {}
        self._expected: set[str] = set()
        self._unsaved: dict[str, None] = {}
        self._ticket = 0
        self._agenda = Agenda()
        self._board = PresenceBoard(rules.presence_interval, rules.flap_hidden, rules.participants_cap)
        self._effects: list[ServerEffect] = []
        self._reception = Reception(rules.heartbeat, self._effects, tokens)
        self.sessions = self._reception.sessions
        self._desk = AnswerDesk(game, self._effects)
        self._stage = Stage(game, rules.leaderboard_size, self._name_of)
        self._portrait = Portrait(event, title, epoch, game, self._stage, self._board)
        status = functools.partial(self._portrait.host_status, self.sessions)
        self._hosts = HostDesk(game, self._effects, status, rules.presence_interval, grace=rules.heartbeat.grace)

    def take_up(self, rows: Iterable[SessionRow], now: Instant) -> None:
        """Go on where an earlier server of this event stopped; the game has taken up its own part already."""
        for row in rows:
            session = self._reception.take_up(row, now)
            self.game.enrol(session.participant)
            self._board.take_up([Player(session.participant, row.name, row.join_status)])
            if session.state is not ConnectionState.DISCONNECTED:
                self._expected.add(session.participant)
                self._presence_changed(session, now)
        if self.sessions:
            self._start_lobby(now)
        self._schedule_quiz()

    # what happened ----------------------------------------------------------------------------------------------------

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        """A connection said something. Connection keys are the driver's and are never used twice."""
        if isinstance(message, Join | Resume):
            self._arrive(message, connection, now)
        elif connection in self._hosts:
            self._receive_host(message, connection, now)
        else:
            self._receive_participant(message, connection, now)

    def host(self, connection: int, now: Instant) -> None:
        """A connection proved to be a host's."""
        self._hosts.attach(connection, self.event, now)
        self._schedule_hosts(now)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> None:
        """A connection ended, for whatever reason."""
        self._hosts.left(connection)
        session, connection_no = self._by_connection.pop(connection, (None, 0))
        self._live.pop(connection, None)
        if session is None:
            return
        self._effects.append(Record(EventKind.TRANSPORT_LOST, now, session.participant, connection_no, cause=cause))
        if not session.welcomed and session.connection == connection:
            session.release()  # nobody knows of it yet; its commit will find it gone and forget it
        elif session.welcomed and session.transport_lost(connection, cause, now):
            self._presence_changed(session, now)
            self._persist((session.row(),))

    def committed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket are durable: answer whoever waits for them."""
        arrival = self._reception.settled(ticket)
        if arrival is not None:
            self._welcome(arrival, now)
            return
        progress = self._hosts.committed(ticket, now)
        if progress is not None:
            self._move(progress, now)
            self._schedule_quiz()
        elif ticket in self._desk:
            if self._desk.committed(ticket, now):
                self._board.stale()
            self._hosts_stale(now)

    def commit_failed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket were not written: nothing was promised, the waiting client is told to come again."""
        self._hosts.commit_failed(ticket, now)
        arrival = self._reception.settled(ticket)
        if arrival is None:
            for connection in self._desk.commit_failed(ticket):
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
        return self._reception.is_waiting(connections) or self._desk.is_waiting(connections)

    def truth(self, participant: str) -> str:
        """The participant's state recomputed from the answer log."""
        return self._portrait.truth(participant, self.seq)

    # time -------------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When :meth:`handle_timeout` wants to be called; ``None`` for never."""
        return self._agenda.next_deadline()

    def handle_timeout(self, now: Instant) -> None:
        """Do everything that is due; harmless when called early. A late call gives every peer the lag back first."""
        deadline = self._agenda.next_deadline()
        if deadline is not None and now - deadline > LAG_TOLERANCE:
            for connection, (session, _) in self._by_connection.items():
                if session.connection == connection:
                    session.forgive(now - deadline)
        for key in self._agenda.due(now):
            if key == _QUIZ:
                self._advance(now)
            elif key == _PRESENCE:
                self._show_presence(now)
            elif key == _CHECKPOINT:
                self._save()
            elif key == _HOSTS:
                self._hosts.handle_timeout(now)
                self._schedule_hosts(now)
            else:
                self._tend(self.sessions.get(key), now)

    def effects(self) -> list[ServerEffect]:
        """What the driver must do now, in this order; each effect is handed out once."""
        effects = self._effects[:]
        self._effects.clear()
        return effects

    # arriving ---------------------------------------------------------------------------------------------------------

    def _arrive(self, message: Join | Resume, connection: int, now: Instant) -> None:
        if message.protocol != PROTOCOL_VERSION:
            reason = f"this server speaks protocol {PROTOCOL_VERSION}"
            self._effects.append(Record(EventKind.CONNECTION_REFUSED, now, cause="protocol"))
            self._effects.append(Disconnect(connection, CloseCode.PROTOCOL_ERROR, reason))
        elif connection in self._by_connection or connection in self._hosts:
            self._complain(connection, "this connection has joined already", now)
        elif isinstance(message, Join):
            self._attach(self._reception.join(message, connection, now), now)
        else:
            arrival = self._reception.resume(message, connection, now)
            if arrival is None:
                self._persist((JoinAttempt(None, "refused", now),))
            else:
                self._attach(arrival, now)

    def _attach(self, arrival: Arrival, now: Instant) -> None:
        session = arrival.session
        if session.connection is not None:
            self._live.pop(session.connection, None)
        u = self._draw("first_ping", text_word(session.participant), session.connection_no)
        session.attach(arrival.connection, now, slotted(u, now, self._rules.heartbeat.interval))
        if self._rules.adaptive is not None:
            session.trips = RoundTrips()
            self._retune(session, now)
        self._by_connection[arrival.connection] = (session, session.connection_no)
        rows = self._reception.rows(arrival)
        self._schedule(session, now)
        self._reception.waiting_for(self._persist(rows), arrival)

    def _welcome(self, arrival: Arrival, now: Instant) -> None:
        session, connection = arrival.session, arrival.connection
        if session.connection != connection:
            if not session.welcomed and session.connection is None:
                self._forget(session)
            return
        session.ready = session.welcomed = True
        self._expected.add(session.participant)
        self._live[connection] = session
        if arrival.outcome == CREATED:
            self.game.enrol(session.participant)
            self._start_lobby(now)
        self._presence_changed(session, now)
        self._effects.append(recorded(arrival, self.seq, self.truth(session.participant), now))
        self._send(connection, self._welcome_message(arrival, now))

    def _welcome_message(self, arrival: Arrival, now: Instant) -> Joined | StateRestored:
        session = arrival.session
        credentials = Credentials(session.participant, arrival.token, session.generation, session.connection_no)
        told = timing(self._rules.heartbeat, self._window())
        snapshot = self._portrait.snapshot(session.participant, self.seq, now, pack=arrival.inflates)
        if arrival.outcome == CREATED:
            return Joined(credentials, told, snapshot)
        return StateRestored(credentials, told, snapshot, arrival.outcome == REJOINED)

    def _window(self) -> ReturnWindow:
        """For all who are here or are expected back."""
        return return_window(len(self._expected), self._rules.join_capacity)

    def _forget(self, session: ServerSession) -> None:
        """A join that never reached its client leaves nothing behind."""
        if not self._reception.forget(session):
            return  # an earlier commit of the same identity did it
        self._agenda.drop(session.participant)
        self._board.forget(session.participant)
        self._persist((Forget(session.participant),))

    # a known connection -----------------------------------------------------------------------------------------------

    def _receive_participant(self, message: ClientMessage, connection: int, now: Instant) -> None:
        session, _ = self._by_connection.get(connection, (None, 0))
        if session is None:
            self._complain(connection, "the first message must be join or resume", now)
        elif session.connection == connection and not session.ready:
            self._complain(connection, "wait for the answer to join or resume", now)
        elif session.connection == connection:
            session.heard(now)
            self._receive_known(message, session, connection, now)

    def _receive_known(self, message: ClientMessage, session: ServerSession, connection: int, now: Instant) -> None:
        match message:
            case Pong():
                session.ponged(message.id, now)
                self._retune(session, now)
                self._schedule(session, now)
                self._save_later(session, now)
            case Probe():
                self._send(connection, ProbeReply(message.id))
            case TokenStored():
                if self._reception.token_stored(session, message.generation):
                    self._save_later(session, now)
            case Answer():
                excused = session.was_absent_at(self.game.progress.closes_at)
                rows = self._desk.submit(session.participant, message, connection, now, excused=excused)
                if rows:
                    self._desk.waiting_for(self._persist(rows), rows[0])
            case Leave():
                self._leave(session, connection, now)
            case _:
                self._complain(connection, "only a host may say this", now)

    def _leave(self, session: ServerSession, connection: int, now: Instant) -> None:
        session.left(now)
        self._live.pop(connection, None)
        self._expected.discard(session.participant)
        self._reception.ended(session)
        self._agenda.drop(session.participant)
        self._presence_changed(session, now)
        self._persist((session.row(),))
        self._effects.append(Disconnect(connection, CloseCode.LEFT, "goodbye"))

    def _receive_host(self, message: ClientMessage, connection: int, now: Instant) -> None:
        self._hosts.heard(connection, now)
        if isinstance(message, Probe):
            self._send(connection, ProbeReply(message.id))
        elif isinstance(message, HostCommand):
            progress = self._hosts.order(connection, message, now)
            if progress is not None:
                self._hosts.waiting_for(self._persist((progress,)), connection, message, progress)
        else:
            self._complain(connection, "a host may say probe, create_event and host_command", now)

    def _complain(self, connection: int, rule: str, now: Instant) -> None:
        self._effects.append(Record(EventKind.MESSAGE_REFUSED, now, cause=ErrorCode.OUT_OF_PLACE))
        self._send(connection, Error(ErrorCode.OUT_OF_PLACE, "type", rule))

    def _refuse_for_now(self, connection: int, why: str) -> None:
        self._effects.append(Disconnect(connection, CloseCode.TRY_AGAIN_LATER, f"retry_after=1.0 {why}"))

    # time's work ------------------------------------------------------------------------------------------------------

    def _tend(self, session: ServerSession | None, now: Instant) -> None:
        if session is None or not session.welcomed:
            return
        connection = session.connection
        if session.handle_timeout(now, self._window()):
            if connection is not None:
                self._live.pop(connection, None)
            if session.state is ConnectionState.DISCONNECTED:
                self._expected.discard(session.participant)
                self._reception.ended(session)
            self._presence_changed(session, now)
            self._persist((session.row(),))
        self._schedule(session, now)

    def _schedule(self, session: ServerSession, now: Instant) -> None:
        """A deadline that passed while nobody could act on it is due now: it says nothing about the scheduler's lag."""
        deadline = session.next_deadline()
        if deadline is not None:
            self._agenda.schedule(session.participant, max(deadline, now))

    def _retune(self, session: ServerSession, now: Instant) -> None:
        """Let the heartbeat of one connection follow its link and the phase, if that is wanted."""
        adaptive, trips = self._rules.adaptive, session.trips
        if adaptive is None or trips is None:
            return
        urgent = self.game.phase is Phase.QUESTION
        if session.retune(tuned(self._rules.heartbeat, adaptive, trips.timeout, urgent=urgent), now):
            self._schedule(session, now)

    def _start_lobby(self, now: Instant) -> None:
        if self.game.start_lobby(now):
            self._persist((self.game.progress,))
            self._schedule_quiz()

    def _schedule_quiz(self) -> None:
        if self.game.phase_ends_at is None:
            self._agenda.drop(_QUIZ)
        else:
            self._agenda.schedule(_QUIZ, self.game.phase_ends_at)

    def _advance(self, now: Instant) -> None:
        while self.game.phase_ends_at is not None and self.game.phase_ends_at <= now:
            progress = self.game.following(self.game.phase_ends_at)
            self._persist((progress,))
            self._move(progress, now)
        self._schedule_quiz()

    def _move(self, progress: Progress, now: Instant) -> None:
        self.game.enter(progress)
        self._board.stale()
        self._broadcast(self._stage.announcement(self.seq + 1, now))
        self._log_phase(progress.phase, now)
        if progress.phase is Phase.REVEAL:
            self._send_scores()
        for session in self._live.values() if self._rules.adaptive else ():
            self._retune(session, now)
        self._hosts.show(now)

    def _log_phase(self, phase: Phase, now: Instant) -> None:
        question = self.game.question
        kinds = {Phase.QUESTION: EventKind.QUESTION_OPENED, Phase.REVEAL: EventKind.QUESTION_CLOSED}
        if question is not None and phase in kinds:
            self._effects.append(Record(kinds[phase], now, seq=self.seq, ref=question.id))

    def _send_scores(self) -> None:
        for connection, session in self._live.items():
            change = self._stage.score_of(session.participant)
            if change is not None:
                self._send(connection, change)

    # stream, presence, storage ----------------------------------------------------------------------------------------

    def _send(self, connection: int, message: ServerMessage) -> None:
        self._effects.append(SendDown(connection, message))

    def _broadcast(self, message: SequencedMessage) -> None:
        self.seq += 1
        self._effects.append(Broadcast(tuple(self._live), message))

    def _presence_changed(self, session: ServerSession, now: Instant) -> None:
        self._board.changed(Player(session.participant, session.name, session.state), now)
        self._schedule(session, now)
        self._schedule_presence()
        self._hosts_stale(now)

    def _schedule_presence(self) -> None:
        deadline = self._board.next_deadline()
        if deadline is not None:
            self._agenda.schedule(_PRESENCE, deadline)

    def _show_presence(self, now: Instant) -> None:
        before = self._board.count
        joined, changed = self._board.flush(now)
        if self._board.count > self._rules.participants_cap:  # nobody has a list that this could be applied to
            if self._board.count != before:
                self._broadcast(PresenceChanged(self.seq + 1, self._board.count, (), ()))
        elif joined or changed:
            self._broadcast(PresenceChanged(self.seq + 1, self._board.count, joined, changed))
        for player in joined:
            self._effects.append(Record(EventKind.PARTICIPANT_ANNOUNCED, now, player.participant, seq=self.seq))
        self._schedule_presence()

    def _hosts_stale(self, now: Instant) -> None:
        self._hosts.stale()
        self._schedule_hosts(now)

    def _schedule_hosts(self, now: Instant) -> None:
        deadline = self._hosts.next_deadline()
        if deadline is not None:
            self._agenda.schedule(_HOSTS, max(deadline, now))

    def _name_of(self, participant: str) -> str:
        session = self.sessions.get(participant)
        return session.name if session is not None else participant

    def _save_later(self, session: ServerSession, now: Instant) -> None:
        """Store the session with the next checkpoint: nobody waits for it."""
        if not self._unsaved:
            self._agenda.schedule(_CHECKPOINT, now + self._rules.checkpoint_interval)
        self._unsaved[session.participant] = None

    def _save(self) -> None:
        sessions = [self.sessions[who] for who in self._unsaved if who in self.sessions]
        self._unsaved.clear()
        self._persist(tuple(session.row() for session in sessions))

    def _persist(self, rows: tuple[Row, ...]) -> int:
        self._ticket += 1
        self._effects.append(Persist(self._ticket, rows))
        return self._ticket
