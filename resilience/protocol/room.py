"""One event on the server: every session, the game, the numbered stream. Pure; drivers own sockets, storage and time.

A message is acted on at once but answered only after its commit: ``committed`` builds the snapshot, sends it and
registers the connection for broadcasts in one call, so the stream has neither gap nor duplicate for a newcomer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from resilience.draws import Draw, text_word
from resilience.events import EventKind
from resilience.policy.liveness import LAG_TOLERANCE, HeartbeatRules
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
)
from resilience.protocol.messages import (
    PROTOCOL_VERSION,
    Answer,
    ClientMessage,
    Credentials,
    Error,
    Join,
    Joined,
    Leave,
    Player,
    Pong,
    PresenceChanged,
    Probe,
    ProbeReply,
    Resume,
    ResumeRejected,
    SequencedMessage,
    Snapshot,
    StateRestored,
    Timing,
    TokenStored,
    state_digest,
)
from resilience.protocol.presence import PresenceBoard
from resilience.protocol.session import ServerSession
from resilience.protocol.stage import Stage
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import Game
from resilience.quiz.phases import Phase
from resilience.units import Instant, Seconds

_QUIZ, _PRESENCE = "", "\x00presence"  # agenda keys; no participant id looks like either


class RoomRules(msgspec.Struct, frozen=True):
    """The settings a room works by; durations in seconds, capacity in joins per second."""

    heartbeat: HeartbeatRules
    join_capacity: float
    presence_interval: Seconds
    flap_hidden: Seconds
    participants_cap: int
    leaderboard_size: int


class _Arrival(msgspec.Struct, frozen=True):
    """A join or resume whose commit is under way."""

    session: ServerSession
    connection: int
    token: str
    outcome: str


class Room:
    """The server's decisions for one event. ``tokens`` makes unguessable session tokens, ``draw`` spreads pings."""

    def __init__(self, game: Game, rules: RoomRules, *, epoch: str, tokens: Callable[[], str], draw: Draw) -> None:
        self.game, self.epoch, self.seq = game, epoch, 0
        self.sessions: dict[str, ServerSession] = {}
        self._rules, self._tokens, self._draw = rules, tokens, draw
        self._by_token: dict[str, ServerSession] = {}
        self._by_connection: dict[int, tuple[ServerSession, int]] = {}
        self._live: dict[int, ServerSession] = {}
        self._arrivals: dict[int, _Arrival] = {}
        self._unconfirmed: dict[str, ServerSession] = {}
        self._expected: set[str] = set()
        self._ticket = self._created = 0
        self._agenda = Agenda()
        self._board = PresenceBoard(rules.presence_interval, rules.flap_hidden, rules.participants_cap)
        self._effects: list[ServerEffect] = []
        self._desk = AnswerDesk(game, self._effects)
        self._stage = Stage(game, rules.leaderboard_size)

    # what happened ----------------------------------------------------------------------------------------------------

    def receive(self, message: ClientMessage, connection: int, now: Instant) -> None:
        """A connection said something. Connection keys are the driver's and are never used twice."""
        if isinstance(message, Join | Resume):
            self._arrive(message, connection, now)
            return
        session, _ = self._by_connection.get(connection, (None, 0))
        if session is None:
            self._complain(connection, "type", "the first message must be join or resume")
        elif session.connection == connection and not session.ready:
            self._complain(connection, "type", "wait for the answer to join or resume")
        elif session.connection == connection:
            session.heard(now)
            self._receive_known(message, session, connection, now)

    def transport_lost(self, connection: int, cause: str, now: Instant) -> None:
        """A connection ended, for whatever reason."""
        session, connection_no = self._by_connection.pop(connection, (None, 0))
        self._live.pop(connection, None)
        if session is None:
            return
        who = session.participant
        self._effects.append(Record(EventKind.TRANSPORT_LOST, now, who, connection_no, cause=cause))
        if not session.welcomed and session.connection == connection:
            session.release()  # nobody knows of it yet; its commit will find it gone and forget it
        elif session.welcomed and session.transport_lost(connection, cause, now):
            self._presence_changed(session, now)
            self._persist((session.row(),))

    def committed(self, ticket: int, now: Instant) -> None:
        """The rows of this ticket are durable: answer whoever waits for them."""
        arrival = self._arrivals.pop(ticket, None)
        if arrival is not None:
            self._welcome(arrival, now)
        elif self._desk.committed(ticket, now):
            self._board.stale()

    def commit_failed(self, ticket: int) -> None:
        """The rows of this ticket were not written: nothing was promised, the waiting client is told to come again."""
        arrival = self._arrivals.pop(ticket, None)
        if arrival is None:
            for connection in self._desk.commit_failed(ticket):
                self._refuse_for_now(connection, "the answer could not be stored")
            return
        self._refuse_for_now(arrival.connection, "the session could not be stored")
        if arrival.session.connection in (None, arrival.connection) and not arrival.session.welcomed:
            self._forget(arrival.session)

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
            self._effects.append(Disconnect(connection, CloseCode.PROTOCOL_ERROR, reason))
        elif connection in self._by_connection:
            self._complain(connection, "type", "this connection has joined already")
        elif isinstance(message, Join):
            self._create(message, connection, now)
        else:
            self._resume(message, connection, now)

    def _create(self, message: Join, connection: int, now: Instant) -> None:
        """Make a new identity, or give the one whose ``joined`` never arrived to the instance that asks again."""
        session = self._unconfirmed.get(message.instance)
        if session is None:
            self._created += 1
            participant = f"p{self._created}"
            session = ServerSession(participant, message.name, self._rules.heartbeat, self._effects)
            self.sessions[participant] = self._unconfirmed[message.instance] = session
            session.instance = message.instance
        self._attach(session, connection, now, None, "created")

    def _resume(self, message: Resume, connection: int, now: Instant) -> None:
        presented = token_hash(message.token)
        session = self._by_token.get(presented)
        if session is None:
            self._effects.append(Record(EventKind.RESUME_REFUSED, now, cause="unknown"))
            self._persist((JoinAttempt(None, "refused"),))
            self._effects.append(SendDown(connection, ResumeRejected("unknown")))
            return
        outcome = "rejoined" if session.state is ConnectionState.DISCONNECTED else "resumed"
        self._attach(session, connection, now, presented, outcome)

    def _attach(
        self, session: ServerSession, connection: int, now: Instant, presented: str | None, outcome: str
    ) -> None:
        if session.connection is not None:
            self._live.pop(session.connection, None)
        spread = self._draw("first_ping", text_word(session.participant), session.connection_no)
        session.attach(connection, now, spread)
        self._by_connection[connection] = (session, session.connection_no)
        token = self._rotate(session, presented)
        self._schedule(session, now)
        attempt = JoinAttempt(session.participant, outcome)
        ticket = self._persist((session.row(), attempt))
        self._arrivals[ticket] = _Arrival(session, connection, token, outcome)

    def _rotate(self, session: ServerSession, presented: str | None) -> str:
        token = self._tokens()
        for retired in session.token_hashes:
            if retired != presented:
                del self._by_token[retired]
        session.accept_tokens(token_hash(token), presented)
        for accepted in session.token_hashes:
            self._by_token[accepted] = session
        return token

    def _welcome(self, arrival: _Arrival, now: Instant) -> None:
        session, connection = arrival.session, arrival.connection
        if session.connection != connection:
            if not session.welcomed and session.connection is None:
                self._forget(session)
            return
        session.ready = session.welcomed = True
        self._expected.add(session.participant)
        self._live[connection] = session
        credentials = Credentials(session.participant, arrival.token, session.generation, session.connection_no)
        if arrival.outcome == "created":
            self.game.enrol(session.participant)
            self._start_lobby(now)
            self._presence_changed(session, now)
            self._log_arrival(EventKind.SESSION_CREATED, session, arrival.outcome, now)
            message: Joined | StateRestored = Joined(credentials, self._timing(), self._snapshot(session, now))
        else:
            self._presence_changed(session, now)
            self._log_arrival(EventKind.SESSION_RESUMED, session, arrival.outcome, now)
            rejoined = arrival.outcome == "rejoined"
            message = StateRestored(credentials, self._timing(), self._snapshot(session, now), rejoined)
        self._effects.append(SendDown(connection, message))

    def _log_arrival(self, kind: EventKind, session: ServerSession, outcome: str, now: Instant) -> None:
        who, number, truth = session.participant, session.connection_no, self.truth(session.participant)
        self._effects.append(Record(kind, now, who, number, seq=self.seq, outcome=outcome, detail=truth))

    def truth(self, participant: str) -> str:
        """The participant's state recomputed from the answer log, apart from everything that is cached or sent."""
        question = self.game.question
        answer = self.game.answer_of(participant, question.id) if question else None
        return state_digest(
            self.game.phase,
            question.id if question else "-",
            self.game.recomputed_visible_score(participant),
            answer.choice if answer else None,
            self.epoch,
            self.seq,
        )

    def _snapshot(self, session: ServerSession, now: Instant) -> Snapshot:
        question = self.game.question
        answer = self.game.answer_of(session.participant, question.id) if question else None
        return Snapshot(
            epoch=self.epoch,
            seq=self.seq,
            phase=self.game.phase,
            score=self.game.visible_score(session.participant),
            server_time_ms=round(now * 1000),
            roster=self._board.roster(self._stage.leaders),
            question=self._stage.question_at(now) if question else None,
            answer=answer.choice if answer else None,
        )

    def _timing(self) -> Timing:
        rules, window = self._rules.heartbeat, self._window()
        seconds = (rules.interval, rules.grace, rules.cleanup, window.spread_s, window.step_s, window.cap_s)
        return Timing(*(round(value * 1000) for value in seconds))

    def _window(self) -> ReturnWindow:
        """For all who are here or are expected back."""
        return return_window(len(self._expected), self._rules.join_capacity)

    def _forget(self, session: ServerSession) -> None:
        """A join that never reached its client leaves nothing behind."""
        if self.sessions.pop(session.participant, None) is None:
            return  # an earlier commit of the same identity did it
        for accepted in session.token_hashes:
            del self._by_token[accepted]
        self._agenda.drop(session.participant)
        self._board.forget(session.participant)
        self._unconfirmed.pop(session.instance, None)
        self._persist((Forget(session.participant),))

    # a known connection -----------------------------------------------------------------------------------------------

    def _receive_known(self, message: ClientMessage, session: ServerSession, connection: int, now: Instant) -> None:
        if isinstance(message, Pong):
            session.ponged(message.id, now)
        elif isinstance(message, Probe):
            self._effects.append(SendDown(connection, ProbeReply(message.id)))
        elif isinstance(message, TokenStored):
            self._unconfirmed.pop(session.instance, None)
            retired = session.token_stored(message.generation)
            if retired is not None:
                del self._by_token[retired]
        elif isinstance(message, Answer):
            excused = self._was_absent_at_close(session)
            rows = self._desk.submit(session.participant, message, connection, now, excused=excused)
            if rows:
                self._desk.waiting_for(self._persist(rows), rows[0])
        elif isinstance(message, Leave):
            session.left(now)
            self._live.pop(connection, None)
            self._expected.discard(session.participant)
            self._agenda.drop(session.participant)
            self._presence_changed(session, now)
            self._persist((session.row(),))
            self._effects.append(Disconnect(connection, CloseCode.LEFT, "goodbye"))

    def _was_absent_at_close(self, session: ServerSession) -> bool:
        question = self.game.question
        return question is not None and session.was_absent_at(self.game.opened_at + question.time_s)

    def _complain(self, connection: int, field: str, rule: str) -> None:
        self._effects.append(SendDown(connection, Error("protocol", field, rule)))

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
                self._unconfirmed.pop(session.instance, None)
            self._presence_changed(session, now)
            self._persist((session.row(),))
        self._schedule(session, now)

    def _schedule(self, session: ServerSession, now: Instant) -> None:
        """A deadline that passed while nobody could act on it is due now: it says nothing about the scheduler's lag."""
        deadline = session.next_deadline()
        if deadline is not None:
            self._agenda.schedule(session.participant, max(deadline, now))

    def _start_lobby(self, now: Instant) -> None:
        self.game.start_lobby(now)
        self._schedule_quiz()

    def _schedule_quiz(self) -> None:
        if self.game.phase_ends_at is not None:
            self._agenda.schedule(_QUIZ, self.game.phase_ends_at)

    def _advance(self, now: Instant) -> None:
        while self.game.phase_ends_at is not None and self.game.phase_ends_at <= now:
            phase = self.game.advance()
            self._board.stale()
            self._broadcast(self._stage.announcement(self.seq + 1, now))
            self._log_phase(phase, now)
            if phase is Phase.REVEAL:
                self._send_scores()
        self._schedule_quiz()

    def _log_phase(self, phase: Phase, now: Instant) -> None:
        question = self.game.question
        kinds = {Phase.QUESTION: EventKind.QUESTION_OPENED, Phase.REVEAL: EventKind.QUESTION_CLOSED}
        if question is not None and phase in kinds:
            self._effects.append(Record(kinds[phase], now, seq=self.seq, ref=question.id))

    def _send_scores(self) -> None:
        for connection, session in self._live.items():
            change = self._stage.score_of(session.participant)
            if change is not None:
                self._effects.append(SendDown(connection, change))

    # stream and presence ----------------------------------------------------------------------------------------------

    def _broadcast(self, message: SequencedMessage) -> None:
        self.seq += 1
        self._effects.append(Broadcast(tuple(self._live), message))

    def _presence_changed(self, session: ServerSession, now: Instant) -> None:
        self._board.changed(Player(session.participant, session.name, session.state), now)
        self._schedule(session, now)
        self._schedule_presence()

    def _schedule_presence(self) -> None:
        deadline = self._board.next_deadline()
        if deadline is not None:
            self._agenda.schedule(_PRESENCE, deadline)

    def _show_presence(self, now: Instant) -> None:
        joined, changed = self._board.flush(now)
        if joined or changed:
            self._broadcast(PresenceChanged(self.seq + 1, self._board.count, joined, changed))
        for player in joined:
            self._effects.append(Record(EventKind.PARTICIPANT_ANNOUNCED, now, player.participant, seq=self.seq))
        self._schedule_presence()

    def _persist(self, rows: tuple[Row, ...]) -> int:
        self._ticket += 1
        self._effects.append(Persist(self._ticket, rows))
        return self._ticket


def token_hash(token: str) -> str:
    """What is kept of a session token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()
