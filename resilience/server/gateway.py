"""Carries out the life of the server's sockets: frames to messages, messages to machines and rooms, effects to sockets.

What happens to a connection is decided by :mod:`resilience.protocol.server.connection`. Nothing here waits for a
peer's half of a closing handshake: a close is a task of its own, and the WebSocket library ends it after its timeout.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection as WebSocketServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.protocol import OPEN, SEND_EOF, Event

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
from resilience.server.hub import Hub, framed
from resilience.server.input import MeteredInput
from resilience.server.limits import max_connections_by_open_files, max_transports_by_open_files
from resilience.units import Instant, Seconds

_VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.TOO_BIG})

BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 49\r\n\r\nthis server reads HTTP/1.1 requests without body\n"
)
"""The answer to bytes that are no HTTP request, and to requests with a body."""

_defects = logging.getLogger("resilience.server")
"""For what should never be needed: the library would close the connection with 1011 and log nothing."""


class QuizConnection(WebSocketServerConnection):
    """A connection of the ``websockets`` library that reports to the gateway from its transport's first moment."""

    __slots__ = ("_frames", "_gateway", "input", "machine")  # in addition to a dict that all connections share

    machine: ServerConnection
    input: MeteredInput

    def __init__(self, gateway: Gateway, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*arguments, **options)
        self._gateway = gateway
        self._frames = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Report the transport's opening; from now on the library's queue and the meter share its reading."""
        super().connection_made(transport)
        self._gateway.connection_opened(self)
        self.recv_messages.pause, self.recv_messages.resume = self.input.pause, self.input.resume

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self.input.receive(data)

    def parse(self, data: bytes) -> int:
        """Let the library parse bytes; returns how many frames ended in them, or whether the handshake did."""
        self._frames = 0
        super().data_received(data)
        return self._frames

    def send_data(self) -> None:
        """Send what the library wants sent; answer what it would end without an answer, because it is no request."""
        failed = self.protocol.handshake_exc
        if failed is not None and not isinstance(failed.__cause__, EOFError) and self.protocol.writes == [SEND_EOF]:
            self.transport.write(BAD_REQUEST)
        super().send_data()

    def process_event(self, event: Event) -> None:
        """Count what was parsed."""
        self._frames += 1
        super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the transport's end."""
        self.input.stop()
        try:
            self._gateway.connection_closed(self)
        finally:
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Report a slow consumer: the write buffer is full, of messages or of the library's replies to pings."""
        super().pause_writing()
        self.loop.call_soon(self._close_if_still_slow)

    def _close_if_still_slow(self) -> None:
        if self.paused:
            self._gateway.close_slow_consumer(self)


class WebSocketPeer:
    """A :class:`~resilience.server.hub.Peer` over one ``websockets`` connection; ``hub`` drives its event's room."""

    __slots__ = ("_gateway", "connection", "hub")

    def __init__(self, connection: QuizConnection, gateway: Gateway) -> None:
        self.connection, self._gateway = connection, gateway
        self.hub: Hub | None = None

    def send(self, frame: bytes) -> None:
        """Queue a whole frame.

        A server's frames are the same for all receivers, so they are made once and written past the library's own
        framing, which knows of no other sender on these connections.
        """
        if self.connection.protocol.state is OPEN:
            self.connection.transport.write(frame)

    def close(self, code: int, reason: str) -> None:
        """Close with this code; later messages of this connection are ignored."""
        self.connection.machine.close(code, reason)
        self._gateway.carry_out_effects()

    def message_sent(self, message: ServerMessage) -> None:
        """The room has sent this message to this connection alone."""
        self._gateway.message_sent(self.connection.machine, message)


class Gateway:
    """Drives the connections of one server; each belongs to the hub of the event that its first message names."""

    def __init__(  # noqa: PLR0913 - all that sockets meet
        self,
        registry: EventRegistry,
        config: ServerConfig,
        *,
        clock: RunClock,
        log: RecordSink,
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
        self._registry, self._clock, self._log, self._lag = registry, clock, log, lag
        self._drain_settings = config.drain
        self._keys = itertools.count(1)
        self._timer: DeadlineTimer | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_carrying_out = self._is_over = False

    # a connection's life ----------------------------------------------------------------------------------------------

    def connection_opened(self, connection: QuizConnection) -> None:
        """A transport was opened."""
        peer = peer_address(connection.remote_address)
        machine = connection.machine = self._machines.open(next(self._keys), self._clock.now(), peer)
        connection.input = MeteredInput(
            connection.transport,
            machine.input,
            self._clock,
            connection.parse,
            functools.partial(self._input_wait, machine),
        )
        self.connections[machine.key] = connection
        if self._is_over:
            machine.drain(self.handshake.draining_for or 0.0)
        self.carry_out_effects()

    def process_handshake(self, connection: QuizConnection, request: Request) -> HandshakeRejection | None:
        """Return the rejection of a handshake whose head has arrived, or ``None`` to complete it."""
        rejection = connection.machine.handshake_received(
            handshake_request(connection.remote_address, request), self._clock.now(), self._lag()
        )
        self.carry_out_effects()
        return rejection

    def page_wait(self, connection: QuizConnection, request: Request, *, is_file: bool) -> Seconds:
        """The seconds that the sender of this request for a page has to wait before it gets one; 0 if it gets it.

        ``is_file``: it is a file of the pages for people.
        """
        asked = handshake_request(connection.remote_address, request)
        return self.handshake.page_wait(asked, self._clock.now(), is_file=is_file)

    async def handle(self, connection: WebSocketServerConnection) -> None:
        """Serve one connection whose handshake is complete, until no message of it can come any more."""
        assert isinstance(connection, QuizConnection)  # noqa: S101 - made by this gateway
        if connection.request is not None:
            connection.request.headers.clear()  # the library's parser keeps the request for as long as the connection
        connection.response = None
        key, code = connection.machine.key, None
        peer = self.peers[key] = WebSocketPeer(connection, self)
        try:
            connection.machine.handshake_completed()
            self.carry_out_effects()
            await self._read(connection, peer)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
        except Exception:
            _defects.exception("the handler of a connection failed")
            raise
        finally:
            try:
                connection.machine.input_ended(code)
                self.carry_out_effects()
            finally:
                self._forget(key)

    def connection_closed(self, connection: QuizConnection) -> None:
        """A transport is gone."""
        del self.connections[connection.machine.key]
        connection.machine.transport_lost(self._clock.now(), is_violation=is_protocol_violation(connection))
        self.carry_out_effects()

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

    def _input_wait(self, machine: ServerConnection, now: Instant) -> Seconds:
        wait = machine.input_wait(now)
        if wait:
            self.carry_out_effects()
        return wait

    async def _read(self, connection: QuizConnection, peer: WebSocketPeer) -> None:
        machine, clock = connection.machine, self._clock
        while True:
            data = await connection.recv(decode=False)
            if not machine.is_ended:
                self._receive(machine, peer, data, clock.now())

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
                    self.peers[effect.connection].send(framed(codec.encode(effect.message)))
            case Disconnect():
                self._close(effect)
            case AbortConnection():
                if effect.connection in self.connections:
                    self.connections[effect.connection].transport.abort()
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
                peer.connection.protocol.max_message_size = effect.size
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
            task = asyncio.get_running_loop().create_task(connection.close(effect.code, effect.reason))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

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

    def _forget(self, key: int) -> None:
        del self.peers[key]

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


def peer_address(remote_address: object) -> str:
    """The network address of the other end; ``remote_address`` as in ``websockets``."""
    return str(remote_address[0]) if isinstance(remote_address, tuple) and remote_address else "unknown"


def handshake_request(remote_address: object, request: Request) -> HandshakeRequest:
    """The parts of a request's head that the policy judges; ``remote_address`` as in ``websockets``."""
    headers = request.headers
    return HandshakeRequest(
        peer_address(remote_address),
        tuple(headers.get_all("Origin")),
        tuple(headers.get_all("Host")),
        tuple(headers.get_all("X-Forwarded-For")),
    )


def is_protocol_violation(connection: QuizConnection) -> bool:
    """Whether the library ended it because of the peer: no handshake, a wrong frame, or a message that is too long."""
    failed = connection.protocol.handshake_exc
    if failed is not None:
        return not isinstance(failed.__cause__, EOFError)  # a peer that goes during the handshake broke no rule
    sent, is_echo = connection.protocol.close_sent, connection.protocol.close_rcvd_then_sent
    return sent is not None and sent.code in _VIOLATIONS and not is_echo
