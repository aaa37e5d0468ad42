"""Carries out the life of the server's sockets: frames to messages, messages to machines and rooms, effects to sockets.

What happens to a connection is decided by :mod:`resilience.protocol.server.connection`. Nothing here waits: a message
is decoded, decided and answered in the turn in which its bytes arrive, and a close ends by itself after its timeout.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from http import HTTPStatus

from websockets.http11 import Request

from resilience.config import ServerConfig
from resilience.errors import RemoteProtocolError, StoreError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.handshake import HandshakePolicy, HandshakeRejection, HandshakeRequest
from resilience.protocol import codec
from resilience.protocol.effects import (
    AbortConnection,
    AttachHost,
    ConnectionEffect,
    Disconnect,
    LeaveRoom,
    OpenEvent,
    Record,
    SendToClient,
    SetMaxMessageSize,
)
from resilience.protocol.messages import ServerMessage
from resilience.protocol.server.connection import ServerConnection, ServerConnections
from resilience.protocol.server.drain import DRAIN_TICK_S, Drain
from resilience.protocol.server.event_location import EventLocation
from resilience.protocol.states import ServerConnectionState
from resilience.runtime import DeadlineTimer, RecordSink, RunClock
from resilience.server.event_registry import EventRegistry
from resilience.server.input import MeteredInput
from resilience.server.limits import max_connections_by_open_files, max_transports_by_open_files
from resilience.server.quiz_connection import (
    QuizConnection,
    WebSocketPeer,
    handshake_request,
    is_protocol_violation,
    peer_address,
)
from resilience.units import Instant, Seconds
from resilience.wire.frames import text_frame

_defects = logging.getLogger("resilience.server")
"""For what should never be needed: the connection is closed with 1011, which says nothing about the cause."""


class Gateway:
    """Drives the connections of one server; each belongs to the hub of the event that its first message names.

    ``answer`` answers a request: with a page, a rejection or the completed handshake.
    """

    def __init__(  # noqa: PLR0913 - all that sockets meet
        self,
        registry: EventRegistry,
        config: ServerConfig,
        *,
        clock: RunClock,
        log: RecordSink,
        answer: Callable[[QuizConnection, Request], None],
        lag: Callable[[], Seconds] = float,
        host_key: str | None = None,
    ) -> None:
        self.connections: dict[int, QuizConnection] = {}
        self.peers: dict[int, WebSocketPeer] = {}
        self.handshake = HandshakePolicy(config.handshake(max_connections_by_open_files()))
        self._machines = ServerConnections(
            config.connection,
            self.handshake,
            locate=self._locate,
            host_key=host_key,
            max_transports=max_transports_by_open_files(),
        )
        self._registry, self._clock, self._log, self._lag, self._answer = registry, clock, log, lag, answer
        self._drain_settings = config.drain
        self._keys = itertools.count(1)
        self._timer: DeadlineTimer | None = None
        self._all_closed: asyncio.Event | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._is_carrying_out = self._is_over = False

    # a connection's life ----------------------------------------------------------------------------------------------

    def connection_opened(self, connection: QuizConnection) -> None:
        """A transport was opened."""
        peer = peer_address(connection.transport.get_extra_info("peername"))
        machine = connection.machine = self._machines.open(next(self._keys), self._clock.now(), peer)
        connection.input = MeteredInput(connection, machine.input, self._clock)
        self.connections[machine.key] = connection
        if self._is_over:
            machine.drain(self.handshake.draining_for or 0.0)
        self.carry_out_effects()

    def request_received(self, connection: QuizConnection, request: Request) -> None:
        """The head of a request has arrived."""
        try:
            self._answer(connection, request)
        except Exception:  # noqa: BLE001 - the peer gets an answer, the log the reason
            _defects.exception("a request could not be answered")
            text = "The server failed; its log says why.\n"
            if connection.is_open:
                connection.close(CloseCode.INTERNAL_ERROR)
            else:
                connection.respond(connection.reject(HTTPStatus.INTERNAL_SERVER_ERROR, text))

    def process_handshake(self, connection: QuizConnection, request: Request) -> HandshakeRejection | None:
        """Return the rejection of a handshake whose head has arrived, or ``None`` to complete it."""
        rejection = connection.machine.handshake_received(_judged(connection, request), self._clock.now(), self._lag())
        if self._machines.pending:
            self.carry_out_effects()
        return rejection

    def page_wait(self, connection: QuizConnection, request: Request, *, is_file: bool) -> Seconds:
        """The seconds that the sender of this request for a page has to wait before it gets one; 0 if it gets it.

        ``is_file``: it is a file of the pages for people.
        """
        return self.handshake.page_wait(_judged(connection, request), self._clock.now(), is_file=is_file)

    def handshake_completed(self, connection: QuizConnection) -> None:
        """The handshake was answered with 101."""
        self.peers[connection.machine.key] = WebSocketPeer(connection, self)
        connection.machine.handshake_completed()
        if self._machines.pending:
            self.carry_out_effects()

    def connection_closed(self, connection: QuizConnection, code: int | None) -> None:
        """A transport is gone; ``code`` is the close code received from the peer, if there was one."""
        machine = connection.machine
        del self.connections[machine.key]
        machine.transport_lost(self._clock.now(), is_violation=is_protocol_violation(connection))
        self.carry_out_effects()
        if machine.key in self.peers:
            machine.input_ended(code)
            self.carry_out_effects()
            del self.peers[machine.key]
        if self._all_closed is not None and not self.connections:
            self._all_closed.set()

    def close_slow_consumer(self, connection: QuizConnection) -> None:
        """A client reads less than it is sent."""
        connection.machine.slow_consumer()
        self.carry_out_effects()

    def message_sent(self, machine: ServerConnection, message: ServerMessage) -> None:
        """A room has sent this message to this connection alone."""
        if machine.state is ServerConnectionState.JOINING:  # in any other state it changes nothing
            machine.message_sent(message, self._clock.now())
            self.carry_out_effects()

    def established(self) -> int:
        """How many connections count towards the capacity: their handshake has arrived, and they are not closed."""
        return self._machines.transports.in_use

    async def drain(self) -> None:
        """Close every connection over the drain window, then those without a handshake; returns when all is ordered."""
        drain = Drain(list(self.peers), self._drain_settings, self._clock.now())
        self.handshake.draining_for = drain.retry_after
        self._log(Record(LogEventKind.SERVER_DRAINING, self._clock.now(), value=drain.window))
        while True:
            for key, retry_after in drain.due(self._clock.now(), self._is_waiting):
                if key in self.peers:
                    self.peers[key].connection.machine.drain(retry_after)
            self.carry_out_effects()
            if drain.is_over:
                break
            await asyncio.sleep(DRAIN_TICK_S)
        self._cut_off_unfinished()

    def close(self) -> None:
        """Cut off every connection without a handshake, also those that are still to be accepted.

        Their peers could otherwise hold the server's end up for as long as their first-message deadline.
        """
        self._is_over = True
        self._cut_off_unfinished()

    async def wait_closed(self) -> None:
        """Wait until every transport is gone; each close ends after its timeout."""
        self._all_closed = asyncio.Event()
        if self.connections:
            await self._all_closed.wait()

    def _cut_off_unfinished(self) -> None:
        for key, connection in self.connections.items():
            if key not in self.peers:
                connection.machine.drain(self.handshake.draining_for or 0.0)
        self.carry_out_effects()

    def stop(self) -> None:
        """Close no connection by the clock any more."""
        self._machines.stop()
        if self._timer is not None:
            self._timer.stop()

    # messages ---------------------------------------------------------------------------------------------------------

    def input_wait(self, machine: ServerConnection, now: Instant) -> Seconds:
        """Return, and record, how long the next byte of this connection has to wait."""
        wait = machine.input_wait(now)
        if wait:
            self.carry_out_effects()
        return wait

    def message_received(self, connection: QuizConnection, data: bytes) -> None:
        """A message has arrived; one that does not wait for the end of the handshake is dropped."""
        machine = connection.machine
        peer = self.peers.get(machine.key)
        if peer is None or machine.is_ended:
            return
        try:
            self._receive(machine, peer, data, self._clock.now())
        except Exception:  # noqa: BLE001 - the other connections live on
            _defects.exception("the handler of a connection failed")
            machine.close(CloseCode.INTERNAL_ERROR, "")
            self.carry_out_effects()

    def _receive(self, machine: ServerConnection, peer: WebSocketPeer, data: bytes, now: Instant) -> None:
        try:
            message = codec.decode_client(data)
        except RemoteProtocolError as error:
            machine.receive_malformed(error.field, error.rule, now)
        else:
            if machine.receive(message, now):
                hub = peer.hub
                if hub is None:
                    hub = peer.hub = self._registry.hubs[machine.event]
                hub.received(message, machine.key, peer)
        if self._machines.pending:
            self.carry_out_effects()

    # carrying out -----------------------------------------------------------------------------------------------------

    def carry_out_effects(self) -> None:
        """Carry out what the machines ask for, and set the timer to their next deadline.

        Called while effects are carried out, it leaves what was asked for meanwhile to that call: in order, afterwards.
        """
        if self._is_carrying_out:
            return
        self._is_carrying_out = True
        try:
            while effects := self._machines.effects():
                for effect in effects:
                    if isinstance(effect, Record):
                        self._log(effect)
                for effect in effects:
                    self._carry_out(effect)
        finally:
            self._is_carrying_out = False
        self._set_timer()

    def _carry_out(self, effect: ConnectionEffect) -> None:
        match effect:
            case SendToClient():
                if effect.connection in self.peers:
                    self.peers[effect.connection].send(text_frame(codec.encode(effect.message)))
            case Disconnect():
                self._close(effect)
            case AbortConnection():
                if effect.connection in self.connections:
                    self.connections[effect.connection].abort()
            case LeaveRoom():
                hub = self.peers[effect.connection].hub
                if hub is not None:
                    hub.lost(effect.connection, effect.cause)
            case SetMaxMessageSize() | AttachHost() | OpenEvent():
                self._serve_host(effect)

    def _serve_host(self, effect: SetMaxMessageSize | AttachHost | OpenEvent) -> None:
        peer = self.peers[effect.connection]
        match effect:
            case SetMaxMessageSize():
                peer.connection.limit_messages(effect.size)
            case AttachHost():
                hub = self._registry.hubs[effect.event]
                if hub is not peer.hub:
                    peer.hub = hub
                    hub.host(effect.connection, peer)
            case OpenEvent():
                task = asyncio.get_running_loop().create_task(self._open_event(effect, peer.connection.machine))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    def _close(self, effect: Disconnect) -> None:
        connection = self.connections.get(effect.connection)
        if connection is not None:
            connection.close(effect.code, effect.reason)

    async def _open_event(self, effect: OpenEvent, machine: ServerConnection) -> None:
        """Open an event, whatever becomes of its host meanwhile: what is stored must be served."""
        try:
            await self._registry.create(effect.event, effect.plan, by=effect.connection)
        except (UsageError, StoreError) as error:
            machine.event_not_opened(str(error))
        except Exception:  # noqa: BLE001 - its host waits for a reply before it can open another
            _defects.exception("an event could not be opened")
            machine.event_not_opened("the server failed; try again")
        else:
            machine.event_opened()
        self.carry_out_effects()

    def _set_timer(self) -> None:
        deadline = self._machines.next_deadline()
        if deadline is not None:
            if self._timer is None:
                self._timer = DeadlineTimer(self._clock, self._on_deadline)
            self._timer.set_deadline(deadline)

    def _on_deadline(self) -> None:
        assert self._timer is not None  # noqa: S101 - it called
        self._machines.handle_timeout(self._timer.fired())
        self.carry_out_effects()

    # asked by the machines --------------------------------------------------------------------------------------------

    def _locate(self, event: str) -> EventLocation:
        if event in self._registry.hubs:
            return EventLocation.HERE
        if event in self._registry.recovering:
            return EventLocation.RECOVERING
        return EventLocation.ELSEWHERE if event in self._registry.elsewhere else EventLocation.UNKNOWN

    def _is_waiting(self, key: int) -> bool:
        peer = self.peers.get(key)
        return peer is not None and peer.hub is not None and peer.hub.is_waiting(key)


def _judged(connection: QuizConnection, request: Request) -> HandshakeRequest:
    return handshake_request(connection.transport.get_extra_info("peername"), request)
