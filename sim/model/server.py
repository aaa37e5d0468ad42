"""Drives the room of one server process after another: timer, connections, commits. Decides nothing.

One processor sends: each frame leaves after the one before it, over all connections, so that what any link gets is in
order of time. Handshakes have a station of their own: that both compete for one processor is not modelled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from resilience.errors import InjectionError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.spec import Experiment
from resilience.lab.participants import EVENT
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Broadcast, Disconnect, Persist, Record, SendToClient, ServerEffect
from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.protocol.server.room import Room
from resilience.quiz.verdicts import AnswerVerdict
from resilience.random_streams import derive_key, random_for
from resilience.runtime import RecordSink
from resilience.server.event_registry import FRESH, RECENT_QUESTIONS, RECOVERED, clamp_to_now
from resilience.units import Instant

from .clock import DelayLine, LazyTimer, SimEnvironment
from .costs import ModelCosts
from .encoding import MessageCodecHook
from .link import CLOSED, UPGRADE, ModelConnection
from .station import Station
from .store import ModelStore

RUN = "1"
"""The run's name; the stream's epoch is this and the server's number, as a real server names it."""


class ModelServerDriver:
    """The server of one event: process after process on one store. ``incarnation`` counts them from 1.

    Times: a killed process is gone at once; the next one listens ``ModelCosts.startup`` after its start, the first one
    from the beginning.
    """

    def __init__(  # noqa: PLR0913 - all that a server depends on
        self,
        experiment: Experiment,
        seed: int,
        *,
        clock: SimEnvironment,
        costs: ModelCosts,
        log: RecordSink,
        wire: MessageCodecHook,
    ) -> None:
        self._experiment, self._seed = experiment, seed
        self._clock, self._log, self._wire = clock, log, wire
        self._startup = costs.startup
        self._tokens = _token_generator(seed)
        self.incarnation = 1
        self.is_up = True
        self._is_starting = False
        self.room = self._make_room()
        self.store = ModelStore(clock, costs.commit, self._settled)
        self.station: Station[ModelConnection] = Station(
            clock, costs.handshake_slots, costs.handshake, wanted=self._wanted, done=self._accept
        )
        self._wasted_work, self._frame_cost = costs.wasted_work, costs.message
        self._idle_from: Instant = 0.0
        self._keys = itertools.count(1)
        self._connections: dict[int, ModelConnection] = {}
        self._first_message_deadline = experiment.server.first_message_deadline
        self._first_messages: DelayLine[ModelConnection] = DelayLine(clock, self._expect_first)
        self._timer = LazyTimer(clock, self._on_deadline)

        self._record_start(FRESH, 0)

    # its processes ----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the process at once: what it has not committed is lost. The links' owner ends their connections."""
        self.is_up = self._is_starting = False
        self.store.lose_uncommitted()
        self._connections.clear()

    def start(self) -> None:
        """Start a process on the same store; InjectionError while one runs or starts."""
        if self.is_up or self._is_starting:
            raise InjectionError("a server process runs already")
        self._is_starting = True
        self.incarnation += 1
        number = self.incarnation
        self._clock.at(self._clock.now + self._startup, lambda _: self._listen(number))

    def _listen(self, number: int) -> None:
        """The process has recovered the run and listens, unless it was killed meanwhile."""
        if not self._is_starting or number != self.incarnation:
            return
        now, store = self._clock.now, self.store
        self._is_starting, self.is_up = False, True
        self.room = self._make_room()
        self.room.game.restore(clamp_to_now(store.state, now), tuple(store.answers.values()))
        self._record_start(RECOVERED, len(store.sessions))
        self._record_recovered_answers()
        self.room.restore(tuple(store.sessions.values()), now)
        self._pump()

    def _make_room(self) -> Room:
        experiment, seed = self._experiment, self._seed
        return Room(
            experiment.quiz.game(seed, experiment.server.late_window),
            experiment.server.room,
            epoch=f"{RUN}.{self.incarnation}",
            tokens=self._tokens,
            draw=random_for(seed, "server"),
        )

    def _record_start(self, outcome: str, sessions: int) -> None:
        kind, epoch = LogEventKind.SERVER_STARTED, self.room.epoch
        self._log(Record(kind, self._clock.now, outcome=outcome, value=float(sessions), ref=EVENT, detail=epoch))

    def _record_recovered_answers(self) -> None:
        """Record the answers of the last questions, as a real server does after a restart."""
        asked = self.room.game.questions[: self.store.state.index + 1]
        last = {question.id for question in asked[-RECENT_QUESTIONS:]}
        for answer in self.store.answers.values():
            if answer.question in last:
                ref, won = f"{answer.question}/{answer.key}", float(answer.points)
                kind, verdict = LogEventKind.ANSWER_RECOVERED, AnswerVerdict.ACCEPTED
                self._log(Record(kind, self._clock.now, answer.participant, outcome=verdict, value=won, ref=ref))

    # what happened ----------------------------------------------------------------------------------------------------

    def upgrade(self, connection: ModelConnection) -> None:
        """A handshake request arrived; a proxy that finds nobody behind it closes the connection."""
        if self.is_up:
            self.station.enter(connection)
        else:
            connection.link.end(connection, None, self._clock.now)

    def receive(self, connection: ModelConnection, message: ClientMessage) -> None:
        """A client said something."""
        connection.spoke = True
        self.room.receive(message, connection.key, self._clock.now)
        self._pump()

    def lost(self, connection: ModelConnection, cause: str) -> None:
        """A connection ended, open or not."""
        if self._connections.pop(connection.key, None) is not None:
            self.room.transport_lost(connection.key, cause, self._clock.now)
            self._pump()

    def write_final_records(self) -> None:
        """Write what a server writes when it stops: each session's state, each stored score; nothing when killed."""
        if not self.is_up:
            return
        now, write = self._clock.now, self._log
        for session in self.room.sessions.values():
            if session.welcomed:
                write(Record(LogEventKind.SESSION_STATE, now, session.participant, outcome=session.state))
        for participant, score in self.store.scores().items():
            write(Record(LogEventKind.SCORE_FINAL, now, participant, value=float(score)))

    def _settled(self, batch: Sequence[Persist]) -> None:
        for order in batch:
            self.room.committed(order.ticket, self._clock.now)
        self._pump()

    def _on_deadline(self) -> None:
        if not self.is_up:
            return
        self.room.handle_timeout(self._clock.now)
        self._pump()

    # handshakes -------------------------------------------------------------------------------------------------------

    def _wanted(self, connection: ModelConnection) -> bool:
        return self._wasted_work or not connection.server_gone

    def _accept(self, connection: ModelConnection) -> None:
        if connection.server_gone:
            return
        connection.key = next(self._keys)
        self._connections[connection.key] = connection
        self._first_messages.put(self._clock.now + self._first_message_deadline, connection)
        connection.link.send_down(connection, UPGRADE, self._next_send_time())

    def _expect_first(self, connection: ModelConnection) -> None:
        if not connection.spoke and connection.key in self._connections:
            self._end(connection, CloseCode.FIRST_MESSAGE_LATE)

    # carrying out -----------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        while effects := self.room.effects():
            for effect in effects:
                self._carry_out(effect)
        self._timer.set(self.room.next_deadline())

    def _carry_out(self, effect: ServerEffect) -> None:
        if isinstance(effect, Record):
            self._log(effect)
        elif isinstance(effect, SendToClient):
            self._send((effect.connection,), effect.message)
        elif isinstance(effect, Broadcast):
            self._send(effect.connections, effect.message)
        elif isinstance(effect, Persist):
            self.store.submit(effect)
        else:
            self._disconnect(effect)

    def _send(self, keys: Iterable[int], message: ServerMessage) -> None:
        heard = self._wire.down(message)
        for key in keys:
            connection = self._connections.get(key)
            if connection is not None:
                connection.link.send_down(connection, heard, self._next_send_time())

    def _next_send_time(self) -> Instant:
        self._idle_from = max(self._idle_from, self._clock.now) + self._frame_cost
        return self._idle_from

    def _disconnect(self, effect: Disconnect) -> None:
        connection = self._connections.get(effect.connection)
        if connection is not None:
            self._end(connection, effect.code)

    def _end(self, connection: ModelConnection, code: int) -> None:
        """As the production server: a silent peer is cut off, any other one is sent a close frame."""
        silent = code == CloseCode.SILENT
        del self._connections[connection.key]
        connection.link.end(connection, None if silent else code, self._next_send_time())
        self.room.transport_lost(connection.key, CLOSED if silent else f"close_{int(code)}", self._clock.now)


def _token_generator(seed: int) -> Callable[[], str]:
    """Tokens that are addressed draws of 128 bits: the same every time, a secret to nobody."""
    numbers = itertools.count()

    def token() -> str:
        number = next(numbers)
        return "".join(f"{derive_key(seed, 'token', number, half):016x}" for half in range(2))

    return token
