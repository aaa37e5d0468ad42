"""Drives the connections and the room of one server process after another: timers, commits. Decides nothing.

One processor sends: each frame leaves after the one before it, over all connections, so that what any link gets is in
order of time. Handshakes, joins, resumes and ends have a station of their own; where the machine's processors are
shared, they and the replies are the work of one thread, and commits that of another. That sending takes time of the
same thread is not modelled. The work that waits at the station is the lag that admission counts. All clients have one
address, as in the other lanes, and no limit on open files is modelled. Messages that wait are lost when their
connection ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from resilience.errors import InjectionError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.spec import Experiment
from resilience.lab.participants import EVENT
from resilience.policy.close_codes import CloseCode, retry_after_in_reason
from resilience.policy.handshake import HandshakePolicy, HandshakeRequest
from resilience.protocol.effects import (
    AbortConnection,
    Broadcast,
    ConnectionEffect,
    Disconnect,
    JoinAttempt,
    LeaveRoom,
    Persist,
    Record,
    Row,
    SendToClient,
    ServerEffect,
)
from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.protocol.server.connection import ServerConnection, ServerConnections
from resilience.protocol.server.drain import DRAIN_TICK_S, Drain
from resilience.protocol.server.event_location import EventLocation
from resilience.protocol.server.room import Room
from resilience.protocol.states import ServerConnectionState
from resilience.quiz.verdicts import AnswerVerdict
from resilience.random_streams import random_for
from resilience.runtime import RecordSink
from resilience.server.event_registry import FRESH, RECENT_QUESTIONS, RECOVERED, clamp_to_now
from resilience.units import Instant, Seconds
from sim.keyed_names import keyed_ids, keyed_tokens

from .clock import LazyTimer, SimEnvironment
from .connection import UPGRADE, ModelConnection
from .encoding import MessageCodecHook
from .input import ModelInput
from .process import ModelProcess
from .store import ModelStore
from .threads import ModelProcessors
from .work import ServerWork, Work, WorkKind

RUN = "1"
"""The run's name; the stream's epoch is this and the server's number, as a real server names it."""

FIRST_RETRANSMISSION_S: Seconds = 1.0
"""When a kernel sends the first packet of a connection again, and each time after twice as long: Linux, RFC 6298."""

CLIENT_ADDRESS = "127.0.0.1"
"""The address of every client, as of those that reach a server through proxies on its own machine."""

UNLIMITED = 2**31
"""The capacity of a server whose ``max_connections`` is 0."""


class ModelServerDriver:
    """The server of one event: process after process on one store. ``incarnation`` counts them from 1.

    Times: a killed process is gone at once; the next one listens ``costs.startup`` after its start, the first one
    from the beginning.
    """

    def __init__(  # noqa: PLR0913 - all that a server meets
        self,
        experiment: Experiment,
        seed: int,
        *,
        clock: SimEnvironment,
        processors: ModelProcessors,
        log: RecordSink,
        wire: MessageCodecHook,
    ) -> None:
        self.on_end: Callable[[], None] = _nothing
        self._experiment, self._seed = experiment, seed
        self._clock, self._log, self._wire = clock, log, wire
        self._costs = costs = experiment.costs
        self._new_id, self._new_token = keyed_ids(seed), keyed_tokens(seed)
        self.incarnation = 1
        self.is_up = True
        self.process = ModelProcess()
        self._is_starting = False
        self._drain: Drain | None = None
        self.room = self._make_room()
        self._machines = self._make_connections()
        self._thread, committer = self._threads = (processors.thread(), processors.thread())
        commits_on = committer if costs.shared_processors else None
        self.store = ModelStore(clock, costs.commit, self._settled, commits_on)
        self.work = ServerWork(clock, costs, seed, self._thread, self._work_done)
        self._idle_from: Instant = 0.0
        self._keys = itertools.count(1)
        self._connections: dict[int, ModelConnection] = {}
        self._timer = LazyTimer(clock, self._on_deadline)
        self._record_start(FRESH, 0)

    # its processes ----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End the process at once: what it has not committed is lost. The links' owner ends their connections."""
        self._end_process()
        self.store.lose_uncommitted()
        self._idle_from = self._clock.now

    def _end_process(self) -> None:
        self.is_up = self._is_starting = False
        self._drain = None
        self._connections.clear()
        self.process.die()
        self.work.station.clear()
        self._thread.clear()

    def suspend(self) -> None:
        """Stand still: nothing that arrives is read, no timer rings, no handshake is served, no commit is noticed."""
        self.process.suspend()
        self.work.station.pause()
        for thread in self._threads:
            thread.hold()

    def resume(self) -> None:
        """Continue; nothing happens to a process that runs."""
        self.process.resume()
        self.work.station.resume()
        for thread in self._threads:
            thread.release()

    @property
    def answers(self) -> bool:
        """Whether it answers a request that goes straight to it."""
        return self.is_up and not self.process.is_suspended

    # an orderly end ---------------------------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether it is on its way to an orderly end."""
        return self._drain is not None

    def drain(self) -> None:
        """Begin an orderly end, unless there is no process or one is under way."""
        if self.is_up and self._drain is None:
            now = self._clock.now
            upgraded = [key for key, each in self._connections.items() if _is_upgraded(each)]
            drain = Drain(upgraded, self._experiment.server.drain, now)
            self._policy.draining_for = drain.retry_after
            self._log(Record(LogEventKind.SERVER_DRAINING, now, value=drain.window))
            self._drain = drain
            self._close_due(drain)

    def _close_due(self, drain: Drain) -> None:
        """Close what is due, again every tick; at last what has no handshake, and then end."""
        if self._drain is not drain:
            return
        if self.process.is_suspended:
            self.process.ring_later(drain, partial(self._close_due, drain))
            return
        for key, retry_after in drain.due(self._clock.now, self.room.is_waiting):
            self._drain_one(key, retry_after)
        if drain.is_over:
            for key in [key for key, each in self._connections.items() if not _is_upgraded(each)]:
                self._drain_one(key, drain.retry_after)
        self._serve_connections()
        if drain.is_over:
            self.room.save_unsaved()
            self.carry_out()
        following = self._end_when_stored if drain.is_over else self._close_due
        self._clock.at(self._clock.now + DRAIN_TICK_S, lambda _: following(drain))

    def _drain_one(self, key: int, retry_after: Seconds) -> None:
        machine = self._machine_of(key)
        if machine is not None:
            machine.drain(retry_after)

    def _end_when_stored(self, drain: Drain) -> None:
        if self._drain is not drain:
            return
        if self.store.is_busy or self.process.is_suspended:
            self._clock.at(self._clock.now + DRAIN_TICK_S, lambda _: self._end_when_stored(drain))
            return
        self.write_final_records()
        self._end_process()
        self.on_end()

    def start(self) -> None:
        """Start a process on the same store; InjectionError while one runs or starts."""
        if self.is_up or self._is_starting:
            raise InjectionError("a server process runs already")
        self._is_starting = True
        self.incarnation += 1
        number = self.incarnation
        self._clock.at(self._clock.now + self._costs.startup, lambda _: self._listen(number))

    def _listen(self, number: int) -> None:
        """The process has recovered the run and listens, unless it was killed meanwhile."""
        if not self._is_starting or number != self.incarnation:
            return
        if self.process.is_suspended:
            self.process.ring_later(self, lambda: self._listen(number))
            return
        now, store = self._clock.now, self.store
        self._is_starting, self.is_up = False, True
        self.room, self._machines = self._make_room(), self._make_connections()
        self.room.game.restore(clamp_to_now(store.state, now), tuple(store.answers.values()))
        self._record_start(RECOVERED, len(store.sessions))
        self._record_recovered_answers()
        self.room.restore(tuple(store.sessions.values()), now)
        self.carry_out()

    def _make_room(self) -> Room:
        experiment, seed = self._experiment, self._seed
        return Room(
            experiment.quiz.game(seed, experiment.server.late_window),
            experiment.server.room,
            epoch=f"{RUN}.{self.incarnation}",
            new_id=self._new_id,
            new_token=self._new_token,
            draw=random_for(seed, "server"),
        )

    def _make_connections(self) -> ServerConnections:
        config = self._experiment.server
        self._policy = HandshakePolicy(config.handshake(UNLIMITED))
        return ServerConnections(config.connection, self._policy, locate=_locate)

    def _record_start(self, outcome: str, sessions: int) -> None:
        kind, epoch = LogEventKind.SERVER_STARTED, self.room.epoch
        self._log(Record(kind, self._clock.now, outcome=outcome, value=float(sessions), ref=EVENT, detail=epoch))

    def _record_recovered_answers(self) -> None:
        """Record the answers of the last questions, as a real server does after a restart."""
        asked = self.room.game.questions[: self.store.state.index + 1]
        last = {question.id for question in asked[-RECENT_QUESTIONS:]}
        for answer in self.store.answers.values():
            if answer.question in last:
                ref, won = answer.ref, float(answer.points)
                kind, verdict = LogEventKind.ANSWER_RECOVERED, AnswerVerdict.ACCEPTED
                self._log(Record(kind, self._clock.now, answer.participant, outcome=verdict, value=won, ref=ref))

    # what happened ----------------------------------------------------------------------------------------------------

    def upgrade(self, connection: ModelConnection, packet: int = 0) -> None:
        """A handshake request arrived; a proxy without a server behind it closes the connection.

        A full backlog drops the first packet of a connection, which is then repeated: this is repetition ``packet``.
        """
        if not self.is_up:
            connection.link.end(connection, None, self._clock.now)
            return
        if self.process.is_suspended:
            self.process.read_later(partial(self.upgrade, connection, packet))
            return
        if not self.work.station.has_room:
            again = self._clock.now + FIRST_RETRANSMISSION_S * 2**packet
            self._clock.at(again, lambda _: self._knock_again(connection, packet + 1))
            return
        now, machines = self._clock.now, self._machines
        machine = connection.machine = machines.open(next(self._keys), now)
        connection.key = machine.key
        most = self._experiment.server.max_message_bytes
        connection.input = ModelInput(connection, machine, self, self._clock, self.process, most)
        self._connections[connection.key] = connection
        request = HandshakeRequest(CLIENT_ADDRESS)
        rejection = machine.handshake_received(request, now, self.work.station.work)
        if rejection is None:
            self.work.begin_handshake(connection)
        else:
            connection.link.reject(connection, rejection.status, self._next_send_time(), rejection.retry_after)
            self._forget(connection, machine)
        self._serve_connections()

    def receive(self, connection: ModelConnection, message: ClientMessage) -> None:
        """A client said something; what reaches a process that has ended, or has ended the connection, is ignored."""
        if self.process.is_suspended:
            self.process.read_later(partial(self.receive, connection, message))
            return
        if connection.input is not None and self.is_live(connection):
            connection.input.receive(message)

    def is_live(self, connection: ModelConnection) -> bool:
        """Whether this connection of the present process has not ended."""
        return connection.key in self._connections

    def begin_work(self, connection: ModelConnection, message: ClientMessage) -> bool:
        """Whether this message waits for a processor."""
        return self.work.begin_message(connection, message)

    def take(self, connection: ModelConnection, machine: ServerConnection, message: ClientMessage) -> None:
        """A message was read."""
        now = self._clock.now
        if machine.receive(message, now):
            self.room.receive(message, connection.key, now)

    def refuse(self, connection: ModelConnection, machine: ServerConnection) -> None:
        """End a connection whose message is too long, as the WebSocket library does, which delivers nothing of it."""
        connection.link.end(connection, CloseCode.TOO_BIG, self._next_send_time())
        del self._connections[connection.key]
        machine.transport_lost(self._clock.now, is_violation=True)
        machine.input_ended(None)

    def lost(self, connection: ModelConnection, cause: str) -> None:
        """A connection ended, open or not."""
        if self.process.is_suspended:
            self.process.read_later(partial(self.lost, connection, cause))
            return
        del cause  # the network knows one, and the machine calls it the same
        if not (self.is_live(connection) and _is_upgraded(connection) and self.work.begin_detach(connection)):
            self._detach(connection)

    def _detach(self, connection: ModelConnection) -> None:
        if connection.machine is not None and self.is_live(connection):
            self._forget(connection, connection.machine)
            self.carry_out()

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
        """A batch is durable; its thread says so when the server's thread lets it."""
        if self.process.is_suspended:
            self.process.read_later(partial(self._settled, batch))
            return
        if not self._costs.commit_wait or self._thread.is_idle:
            self._settle(batch)
            return
        first_time = iter((self.incarnation,))

        def settle() -> None:
            if next(first_time, None) == self.incarnation and self.is_up:
                self._settle(batch)

        self._thread.do(0.0, settle, later=True)
        self._clock.at(self._clock.now + self._costs.commit_wait, lambda _: settle())

    def _settle(self, batch: Sequence[Persist]) -> None:
        for order in batch:
            work = self._costs.reply if any(map(_is_arrival, order.rows)) else 0.0
            self._thread.do(work, partial(self._confirm, order, carry_out=work > 0))
        self._thread.do(0.0, self._end_batch)

    def _confirm(self, order: Persist, *, carry_out: bool) -> None:
        self.room.committed(order.ticket, self._clock.now)
        if carry_out:
            self.carry_out()

    def _end_batch(self) -> None:
        self.carry_out()
        self.store.commit_next()

    def _on_deadline(self) -> None:
        if not self.is_up:
            return
        if self.process.is_suspended:
            self.process.ring_later(self._timer, self._on_deadline)
            return
        self._machines.handle_timeout(self._clock.now)
        self._serve_connections()
        self.room.handle_timeout(self._clock.now)
        self.carry_out()

    # handshakes -------------------------------------------------------------------------------------------------------

    def _knock_again(self, connection: ModelConnection, packet: int) -> None:
        if not (connection.client_gone or connection.server_gone):
            self.upgrade(connection, packet)

    def _work_done(self, work: Work) -> None:
        connection, machine = work.connection, work.connection.machine
        if work.kind is WorkKind.DETACH:
            self._detach(connection)
            return
        if machine is None or connection.server_gone or connection.key not in self._connections:
            return
        if work.kind is WorkKind.HANDSHAKE:
            connection.link.send_down(connection, UPGRADE, self._next_send_time())
            machine.handshake_completed()
            return
        if connection.input is not None and work.message is not None:
            connection.input.continue_after(work.message)

    # carrying out -----------------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Carry out everything that connections and room ask for."""
        if self._machines.pending:
            self._serve_connections()
        while effects := self.room.effects():
            for effect in effects:
                self._carry_out(effect)
        self._timer.set(self.room.next_deadline())

    def _serve_connections(self) -> None:
        while self._machines.pending:
            for effect in self._machines.effects():
                self._carry_out_for_connection(effect)
        self._timer.set(self._machines.next_deadline())

    def _carry_out(self, effect: ServerEffect) -> None:
        if isinstance(effect, Record):
            self._log(effect)
        elif isinstance(effect, SendToClient):
            self._send((effect.connection,), effect.message)
            self._tell_machine(effect)
        elif isinstance(effect, Broadcast):
            self._send(effect.connections, effect.message)
        elif isinstance(effect, Persist):
            self.store.submit(effect)
        else:
            machine = self._machine_of(effect.connection)
            if machine is not None:
                machine.close(effect.code, effect.reason)
                self._serve_connections()

    def _carry_out_for_connection(self, effect: ConnectionEffect) -> None:
        """Carry out what a connection asks for; no host takes part here."""
        if isinstance(effect, Record):
            self._log(effect)
        elif isinstance(effect, SendToClient):
            self._send((effect.connection,), effect.message)
        elif isinstance(effect, Disconnect):
            self._end(effect.connection, effect.code, retry_after_in_reason(effect.reason))
        elif isinstance(effect, AbortConnection):
            self._end(effect.connection, None)
        elif isinstance(effect, LeaveRoom):
            self.room.transport_lost(effect.connection, effect.cause, self._clock.now)

    def _machine_of(self, key: int) -> ServerConnection | None:
        connection = self._connections.get(key)
        return None if connection is None else connection.machine

    def _tell_machine(self, effect: SendToClient) -> None:
        machine = self._machine_of(effect.connection)
        if machine is not None and machine.state is ServerConnectionState.JOINING:  # else it changes nothing
            machine.message_sent(effect.message, self._clock.now)
            self._serve_connections()

    def _send(self, keys: Iterable[int], message: ServerMessage) -> None:
        heard = self._wire.down(message)
        for key in keys:
            connection = self._connections.get(key)
            if connection is not None:
                connection.link.send_down(connection, heard, self._next_send_time())

    def _next_send_time(self) -> Instant:
        self._idle_from = max(self._idle_from, self._clock.now) + self._costs.message
        return self._idle_from

    def _end(self, key: int, code: int | None, retry_after: Seconds | None = None) -> None:
        """End a connection with a close frame or without; the server does not wait for the client's answer."""
        connection = self._connections.get(key)
        if connection is not None and connection.machine is not None:
            connection.link.end(connection, code, self._next_send_time(), retry_after)
            self._forget(connection, connection.machine, code)

    def _forget(self, connection: ModelConnection, machine: ServerConnection, code: int | None = None) -> None:
        del self._connections[connection.key]
        machine.transport_lost(self._clock.now)
        machine.input_ended(code)


def _nothing() -> None:
    """What happens at an orderly end of a server that has no links."""


def _is_upgraded(connection: ModelConnection) -> bool:
    machine = connection.machine
    return machine is not None and machine.state is not ServerConnectionState.HANDSHAKING


def _is_arrival(row: Row) -> bool:
    """Whether a participant who joined or resumed waits for this row."""
    return isinstance(row, JoinAttempt) and row.participant is not None


def _locate(event: str) -> EventLocation:
    return EventLocation.HERE if event == EVENT else EventLocation.UNKNOWN
