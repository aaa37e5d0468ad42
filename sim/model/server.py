"""Drives one room: its alarm, its connections, its commits. Carries out effects in order; decides nothing.

One processor sends: each frame leaves after the one before it, over all connections, so that what any link gets is in
order of time. Handshakes have a station of their own: that both compete for one processor is not modelled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.spec import Experiment
from resilience.policy.close_codes import CloseCode
from resilience.protocol.effects import Broadcast, Disconnect, Persist, Record, SendToClient, ServerEffect
from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.protocol.server.room import Room
from resilience.random_streams import derive_key, random_for
from resilience.units import Instant

from .clock import DelayLine, LazyTimer, SimEnvironment
from .costs import ModelCosts
from .encoding import MessageCodecHook
from .journal import Journal
from .link import CLOSED, UPGRADE, ModelConnection
from .station import Station
from .store import ModelStore

EPOCH = "1.1"
"""The stream of the first server of the first run, by the name that a real server gives it."""


class ModelServerDriver:
    """The server of one event."""

    def __init__(  # noqa: PLR0913 - all that a server depends on
        self,
        experiment: Experiment,
        seed: int,
        *,
        clock: SimEnvironment,
        costs: ModelCosts,
        journal: Journal,
        wire: MessageCodecHook,
    ) -> None:
        self._clock, self._journal, self._wire = clock, journal, wire
        self.room = room_of(experiment, seed)
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

    # what happened ----------------------------------------------------------------------------------------------------

    def upgrade(self, connection: ModelConnection) -> None:
        """A handshake request arrived."""
        self.station.enter(connection)

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
        """Write what a server writes when it stops: every session's state, every score as stored."""
        now, write = self._clock.now, self._journal.server
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
            self._journal.server(effect)
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


def room_of(experiment: Experiment, seed: int) -> Room:
    """The experiment's room. Its tokens are addressed draws of 128 bits: the same every time, a secret to nobody."""
    numbers = itertools.count()

    def token() -> str:
        number = next(numbers)
        return "".join(f"{derive_key(seed, 'token', number, half):016x}" for half in range(2))

    game = experiment.quiz.game(seed, experiment.server.late_window)
    draw = random_for(seed, "server")
    return Room(game, experiment.server.room, epoch=EPOCH, tokens=token, draw=draw)
