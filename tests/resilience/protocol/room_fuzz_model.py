"""A room among bad peers: any message on any connection, a store that is late and fails, a clock that sleeps.

The driver keeps its own account of what was committed and sent, and checks every effect against it.
"""

from __future__ import annotations

from collections import deque

import msgspec

from resilience.config import QuizConfig, ServerConfig
from resilience.protocol import codec
from resilience.protocol.effects import Broadcast, Disconnect, Persist, SendToClient
from resilience.protocol.messages import (
    AnswerResult,
    ClientMessage,
    HostStatus,
    Joined,
    Message,
    OpenQuestion,
    QuestionRevealed,
    ScoreChanged,
    StateRestored,
)
from resilience.protocol.server.room import Room
from resilience.protocol.states import ConnectionState
from resilience.quiz.game import StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace
from tests.support.counted_names import counted

SERVER = ServerConfig(adaptive_heartbeat=True, late_window=2.0)
QUIZ = QuizConfig(questions=3, lobby=4, question_time=5)
BY_HAND = Pace(lobby=8.0)


class RoomFuzzModel:
    """One room, and everything that may be done to it. Every violation is an ``AssertionError``."""

    def __init__(self, room_type: type[Room] = Room, *, by_hand: bool = True) -> None:
        game = QUIZ.game(1, SERVER.late_window)
        game.pace = BY_HAND if by_hand else game.pace
        self.room = room_type(
            game,
            SERVER.room,
            epoch="1",
            new_id=counted(),
            new_token=counted("t"),
            draw=lambda _p, _i, _a: 0.5,
        )
        self.now = 0.0
        self.known: set[int] = set()
        self.gone: set[int] = set()
        self.tickets: deque[Persist] = deque()
        self.tokens: list[str] = ["guess"]
        self._last_ticket = self._seq = 0
        self._stream: dict[int, int] = {}
        self._who: dict[int, str] = {}
        self._committed: set[tuple[str, str]] = set()

    # what is done to it -----------------------------------------------------------------------------------------------

    def say(self, connection: int, message: ClientMessage) -> None:
        """A message as the wire brings it; a connection that has ended says nothing more, one told to end may."""
        if connection in self.gone:
            return
        self.known.add(connection)
        self.room.receive(codec.decode_client(codec.encode(message)), connection, self.now)
        self.collect()

    def host(self, connection: int) -> None:
        """An unused connection shows the host key."""
        self.known.add(connection)
        self.room.host(connection, self.now)
        self.collect()

    def lose(self, connection: int) -> None:
        """A connection ends, once or again, known or not."""
        self.known.add(connection)
        self.gone.add(connection)
        self.room.transport_lost(connection, "closed", self.now)
        self._stream.pop(connection, None)
        self.collect()

    def settle(self, *, well: bool) -> None:
        """The store is done with the oldest order."""
        if not self.tickets:
            return
        persist = self.tickets.popleft()
        if well:
            answers = (row for row in persist.rows if isinstance(row, StoredAnswer))
            self._committed.update((row.participant, row.question) for row in answers)
            self.room.committed(persist.ticket, self.now)
        else:
            self.room.commit_failed(persist.ticket, self.now)
        self.collect()

    def sleep(self, seconds: float, *, soundly: bool) -> None:
        """Time passes; a sound sleeper misses every deadline on the way."""
        until = self.now + seconds
        deadline = self.room.next_deadline()
        while not soundly and deadline is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.room.handle_timeout(self.now)
            self.collect()
            deadline = self.room.next_deadline()
        self.now = until
        self.room.handle_timeout(self.now)
        self.collect()

    def empty(self) -> None:
        """All connections end, the store catches up, the clean-up passes."""
        for connection in sorted(self.known):
            self.lose(connection)
        while self.tickets:
            self.settle(well=True)
        self.sleep(10 * SERVER.cleanup_interval, soundly=False)
        while self.tickets:
            self.settle(well=True)

    # what it answers --------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Check every effect, then the room itself."""
        for effect in self.room.effects():
            if isinstance(effect, SendToClient):
                self._check_sent(effect.connection, effect.message)
            elif isinstance(effect, Broadcast):
                self._check_broadcast(effect)
            elif isinstance(effect, Disconnect):
                assert effect.connection in self.known
                self._stream.pop(effect.connection, None)
            elif isinstance(effect, Persist):
                assert effect.ticket == self._last_ticket + 1
                self._last_ticket = effect.ticket
                self.tickets.append(effect)
        self._check_sessions()

    def _check_broadcast(self, effect: Broadcast) -> None:
        assert effect.message.seq == self._seq + 1
        self._seq += 1
        assert len(set(effect.connections)) == len(effect.connections)
        for connection in effect.connections:
            self._check_sent(connection, effect.message)
            if connection in self._stream:
                assert effect.message.seq == self._stream[connection] + 1, connection
                self._stream[connection] += 1

    def _check_sent(self, connection: int, message: Message) -> None:
        assert connection in self.known
        codec.decode_server(codec.encode(message))
        self._check_secrets(message)
        if isinstance(message, Joined | StateRestored):
            self._who[connection] = message.credentials.participant
            self._stream[connection] = message.snapshot.seq
            self.tokens.append(message.credentials.token)
        elif isinstance(message, AnswerResult) and message.verdict in {"accepted", "duplicate"}:
            assert (self._who[connection], message.question) in self._committed

    def _check_secrets(self, message: Message) -> None:
        game = self.room.game
        if isinstance(message, QuestionRevealed):
            assert self._is_closed(message.question)
        for question in _questions_in(message):
            assert question.correct is None or self._is_closed(question.id)
        if isinstance(message, HostStatus):
            assert b"correct" not in codec.encode(message) or message.phase != Phase.QUESTION
            for standing in message.leaders:
                assert standing.score <= game.recomputed_visible_score(standing.participant)
        if isinstance(message, ScoreChanged):
            assert self._is_closed(message.question)
        if isinstance(message, Joined | StateRestored):
            who = message.credentials.participant
            assert message.snapshot.score == game.recomputed_visible_score(who)

    def _is_closed(self, question: str) -> bool:
        game = self.room.game
        index = next(i for i, known in enumerate(game.questions) if known.id == question)
        return index < game.index or game.phase is not Phase.QUESTION

    def _check_sessions(self) -> None:
        room, sessions = self.room, self.room.sessions.values()
        attached = [session.connection for session in sessions if session.connection is not None]
        assert len(set(attached)) == len(attached)
        subscribers = room._attendance._subscribers
        assert len({id(session) for session in subscribers.values()}) == len(subscribers)
        assert all(session.connection == connection for connection, session in subscribers.items())
        for who, score in room.game.scores.items():
            assert score == room.game.recomputed_score(who)

    def check_baseline(self) -> None:
        """Nothing is left of anybody but a session that has ended, its answers and its tokens."""
        room, stream, attendance = self.room, self.room._stream, self.room._attendance
        left = {
            "connections": attendance._by_connection,
            "subscribers": attendance._subscribers,
            "population": attendance._population,
            "unsaved": attendance._unsaved,
            "unconfirmed": attendance._identities._unconfirmed,
            "presence": attendance._presence._waiting,
            "deadlines": attendance._deadlines._at,
            "heartbeats": attendance._heartbeats._deadlines._at,
            "commits": room._commits._pending,
            "waiting connections": room._commits._waiting,
            "answers": stream._answers._pending,
            "hosts": stream._host_commands._heard,
            "commands": stream._host_commands._pending,
        }
        assert {name: kept for name, kept in left.items() if kept} == {}
        assert attendance._heartbeats._deadlines._heap == []
        assert {session.state for session in room.sessions.values()} <= {ConnectionState.DISCONNECTED}
        states = attendance._tokens._states
        assert set(states) == set(attendance._heartbeats._heartbeats) == set(room.sessions)
        assert set(attendance._tokens._owners) == {held for state in states.values() for held in state.hashes}


def _questions_in(message: Message) -> list[OpenQuestion]:
    """Every question that a message shows, wherever in it."""
    found: list[OpenQuestion] = []
    waiting: list[object] = [message]
    while waiting:
        part = waiting.pop()
        if isinstance(part, OpenQuestion):
            found.append(part)
        elif isinstance(part, msgspec.Struct):
            waiting += [getattr(part, name) for name in part.__struct_fields__]
    return found
