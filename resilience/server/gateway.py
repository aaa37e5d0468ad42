"""One socket's life at the server: first message in time, readable messages, an end without a traceback.

Never awaits a close handshake with a peer that may be dead: an end is ordered and left to itself.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import logging
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.protocol import OPEN

from resilience.config import ServerConfig
from resilience.errors import RemoteProtocolError, StoreError, UsageError
from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.policy.rate_limits import TokenBucket
from resilience.protocol import codec
from resilience.protocol.effects import Record
from resilience.protocol.messages import (
    ClientMessage,
    CreateEvent,
    Error,
    ErrorCode,
    Host,
    Hosting,
    HostResult,
    Join,
    Probe,
    ProbeReply,
    Resume,
    ServerMessage,
)
from resilience.runtime import RecordSink, RunClock
from resilience.server.door import HandshakePolicy, HandshakeRejection
from resilience.server.event_registry import EventRegistry
from resilience.server.hub import Hub, framed
from resilience.server.timeouts import TimeoutQueue
from resilience.units import Seconds

HOST_MESSAGE_BYTES = 1_048_576
"""What a host that has shown its key may say at once: all questions of an event."""

MOVED_RETRY_AFTER_S: Seconds = 5.0

_VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.TOO_BIG})

_defects = logging.getLogger("resilience.server")
"""What should never be needed: the library would close the connection with 1011 and say nothing."""

FirstMessage = Join | Resume | Host
Act = Callable[[ClientMessage], None]


class QuizConnection(ServerConnection):
    """A connection from its first moment, before any handshake: counted, waited for, perhaps sent away again.

    ``address`` is whom the limits of one address count for; ``retry_after`` is set for a browser that is let in only to
    be told when to come again; ``was_ended`` when this server itself told it to go.
    """

    __slots__ = ("_gateway", "address", "key", "retry_after", "was_ended")  # beyond a dict that all connections share

    def __init__(self, gateway: Gateway, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the library's own
        super().__init__(*arguments, **options)
        self.key, self.address, self.was_ended = 0, "", False
        self.retry_after: Seconds | None = None
        self._gateway = gateway

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is at the door."""
        super().connection_made(transport)
        self._gateway.connection_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, whatever it was."""
        self._gateway.connection_closed(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for this peer than may: what it is told, or the library's own replies to its pings."""
        super().pause_writing()
        self.loop.call_soon(self._close_if_still_slow)

    def _close_if_still_slow(self) -> None:
        if self.paused:
            self._gateway.too_slow(self)


class WebSocketPeer:
    """A :class:`~resilience.server.hub.Peer` over one ``websockets`` connection."""

    __slots__ = ("_closing", "_on_resume_rejected", "cause", "connection", "hub", "key")

    def __init__(
        self, connection: QuizConnection, closing: set[asyncio.Task[None]], refused: Callable[[WebSocketPeer], None]
    ) -> None:
        self.connection, self.key, self.cause = connection, connection.key, "closed"
        self.hub: Hub | None = None
        self._closing, self._on_resume_rejected = closing, refused

    def send(self, frame: bytes) -> None:
        """Queue a whole frame.

        A server's frames are the same for everybody, so they are made once and written past the library's own framing,
        which knows of no other sender on these connections.
        """
        if self.connection.protocol.state is OPEN:
            self.connection.transport.write(frame)

    def send_message(self, message: ServerMessage) -> None:
        """Send a message that no room has to do with."""
        self.send(framed(codec.encode(message)))

    def close(self, code: int, reason: str) -> None:
        """Close with this code; one that went silent is cut off at once. Nothing that it says counts any more."""
        self.connection.was_ended = True
        if code == CloseCode.SILENT:
            self.connection.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self.connection.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def on_resume_rejected(self) -> None:
        """What it presented opens nothing."""
        self._on_resume_rejected(self)


class Gateway:
    """Turns sockets into calls on the hubs, by the event that their first message names."""

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
        self.handshake = HandshakePolicy(config, clock=clock, log=log, lag=lag, count=lambda: len(self.connections))
        self._registry, self._config, self._clock, self._log = registry, config, clock, log
        self._host_key = host_key
        self._first_message_timeouts = TimeoutQueue(
            clock, config.first_message_deadline, self._on_first_message_timeout
        )
        self._keys = itertools.count(1)
        self._closing: set[asyncio.Task[None]] = set()

    def connection_opened(self, connection: QuizConnection) -> None:
        """A connection was opened: it has until the deadline to shake hands and say who it is."""
        connection.key = next(self._keys)
        self.connections[connection.key] = connection
        self._first_message_timeouts.start(connection.key)

    def connection_closed(self, connection: QuizConnection) -> None:
        """A connection is gone."""
        self._first_message_timeouts.cancel(connection.key)
        del self.connections[connection.key]
        if is_protocol_violation(connection):
            self._log(Record(LogEventKind.CONNECTION_REFUSED, self._clock.now(), cause="protocol"))

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection, its hands shaken, until it ends."""
        assert isinstance(connection, QuizConnection)  # noqa: S101 - made by this gateway
        if connection.request is not None:
            connection.request.headers.clear()  # the library's parser keeps the request for as long as the connection
        connection.response = None
        key = connection.key
        peer = self.peers[key] = WebSocketPeer(connection, self._closing, self._on_resume_rejected)
        try:
            await self._serve(peer)
        except ConnectionClosed as closed:
            if closed.rcvd and peer.cause == "closed":
                peer.cause = f"close_{closed.rcvd.code}"
        except Exception:
            _defects.exception("the handler of a connection failed")
            raise
        finally:
            del self.peers[key]
            if peer.hub is not None:
                peer.hub.lost(key, peer.cause)

    def process_handshake(self, connection: ServerConnection, request: Request) -> HandshakeRejection | None:
        """A handshake's head has arrived: whether to go on with it."""
        peer = connection.remote_address
        host = str(peer[0]) if isinstance(peer, tuple) and peer else "unknown"
        address = self.handshake.address_of(request.headers, host)
        if isinstance(connection, QuizConnection):
            connection.address = address
        return self.handshake.check(request.headers, address)

    # the first message ------------------------------------------------------------------------------------------------

    async def _serve(self, peer: WebSocketPeer) -> None:
        wait = peer.connection.retry_after
        if wait is not None:
            await peer.connection.close(CloseCode.OVERLOADED, f"retry_after={wait:.3f}")
            return
        first = await self._first(peer)
        if first is None:
            await self._refuse(peer, CloseCode.STRIKES, "too many useless messages", "strikes")
        elif isinstance(first, Host):
            await self._serve_host(peer, first)
        else:
            await self._serve_participant(peer, first)

    async def _first(self, peer: WebSocketPeer) -> FirstMessage | None:
        for _ in range(self._config.strike_limit):
            message = self._decode(await self._next(peer), peer)
            if isinstance(message, FirstMessage):
                self._first_message_timeouts.cancel(peer.key)
                return message
            if message is not None:
                self._send_error(peer, ErrorCode.UNEXPECTED, "type", "the first message must be join or resume")
        return None

    def _on_first_message_timeout(self, key: int) -> None:
        """Somebody has not said who it is in time."""
        self._log(Record(LogEventKind.CONNECTION_REFUSED, self._clock.now(), cause="late"))
        if key in self.peers:
            self.peers[key].close(CloseCode.FIRST_MESSAGE_LATE, "say join or resume first")
        else:
            self.connections[key].transport.abort()

    def too_slow(self, connection: QuizConnection) -> None:
        """A peer reads less than it is sent: it is cut off, and may resume."""
        if connection.key in self.peers:
            self.peers[connection.key].cause = "slow"
        connection.transport.abort()

    def stop(self) -> None:
        """Wait for nobody's first message any more."""
        self._first_message_timeouts.stop()

    async def _refuse(self, peer: WebSocketPeer, code: CloseCode, reason: str, cause: str) -> None:
        self._log(Record(LogEventKind.CONNECTION_REFUSED, self._clock.now(), cause=cause))
        await peer.connection.close(code, reason)

    def _on_resume_rejected(self, peer: WebSocketPeer) -> None:
        """A token opened nothing: its holder has the deadline again to say who it is, unless it has tried too often."""
        wait = self.handshake.record_failure(peer.connection.address)
        if wait:
            self._log(Record(LogEventKind.JOIN_SHED, self._clock.now(), cause="address", value=wait))
            peer.close(CloseCode.OVERLOADED, f"retry_after={wait:.3f}")
        else:
            self._first_message_timeouts.start(peer.key)

    # participants -----------------------------------------------------------------------------------------------------

    async def _serve_participant(self, peer: WebSocketPeer, first: Join | Resume) -> None:
        hub = self._registry.hubs.get(first.event)
        if hub is not None:
            peer.hub = hub
            hub.received(first, peer.key, peer)
            await self._read(peer, lambda message: self._on_participant_message(peer, hub, message))
        elif first.event in self._registry.elsewhere:
            reason = f"retry_after={MOVED_RETRY_AFTER_S:.1f} the event is moving to another server"
            await peer.connection.close(CloseCode.TRY_AGAIN_LATER, reason)
        else:
            await self._refuse(peer, CloseCode.EVENT_UNKNOWN, "there is no such event here", "event")

    def _on_participant_message(self, peer: WebSocketPeer, hub: Hub, message: ClientMessage) -> None:
        if isinstance(message, Join | Resume):
            self._first_message_timeouts.cancel(peer.key)
        hub.received(message, peer.key, peer)

    async def _read(self, peer: WebSocketPeer, act: Act) -> None:
        bucket = TokenBucket(self._config.message_rate, self._config.message_burst)
        strikes = 0
        while True:
            data = await (self._next(peer) if peer.hub is not None else self._next_of_idle(peer))
            await self._apply_rate_limit(bucket)
            message = self._decode(data, peer)
            if message is not None:
                act(message)
                continue
            strikes += 1
            if strikes >= self._config.strike_limit:
                self.handshake.record_failure(peer.connection.address)
                await self._refuse(peer, CloseCode.STRIKES, "too many unreadable messages", "strikes")
                return

    async def _next(self, peer: WebSocketPeer) -> bytes:
        """What this peer says next; what it says once it was told to go is not heard."""
        while True:
            data = await peer.connection.recv(decode=False)
            if not peer.connection.was_ended:
                return data

    async def _next_of_idle(self, peer: WebSocketPeer) -> bytes:
        """The same of a host whose event is not there yet, so that no room notices its silence."""
        try:
            async with asyncio.timeout(self._config.grace_period):
                return await self._next(peer)
        except TimeoutError:
            peer.close(CloseCode.SILENT, "no sign of life")
            return await self._next(peer)

    async def _apply_rate_limit(self, bucket: TokenBucket) -> None:
        """Read on only when this connection may speak again: nothing is lost, and TCP holds back the rest."""
        wait = bucket.take(self._clock.now())
        if wait:
            self._log(Record(LogEventKind.MESSAGE_DELAYED, self._clock.now(), value=wait))
            await asyncio.sleep(wait)

    # hosts ------------------------------------------------------------------------------------------------------------

    async def _serve_host(self, peer: WebSocketPeer, first: Host) -> None:
        if self._host_key is None or not hmac.compare_digest(first.key.encode(), self._host_key.encode()):
            self.handshake.record_failure(peer.connection.address)
            why = "this server takes no hosts" if self._host_key is None else "the host key is wrong"
            await self._refuse(peer, CloseCode.KEY_REFUSED, why, "key")
            return
        peer.connection.protocol.max_message_size = HOST_MESSAGE_BYTES
        if not self._attach_host(peer, first.event):
            peer.send_message(Hosting(first.event))
        creating: asyncio.Queue[CreateEvent] = asyncio.Queue()
        creator = asyncio.get_running_loop().create_task(self._create(peer, first.event, creating))
        try:
            await self._read(peer, lambda message: self._on_host_message(peer, message, creating))
        finally:
            creator.cancel()

    def _attach_host(self, peer: WebSocketPeer, event: str) -> bool:
        hub = self._registry.hubs.get(event)
        if hub is None:
            return False
        if hub is not peer.hub:
            peer.hub = hub
            hub.host(peer.key, peer)
        return True

    def _on_host_message(
        self, peer: WebSocketPeer, message: ClientMessage, creating: asyncio.Queue[CreateEvent]
    ) -> None:
        if isinstance(message, CreateEvent):
            creating.put_nowait(message)
        elif peer.hub is not None:
            peer.hub.received(message, peer.key, peer)
        elif isinstance(message, Probe):
            peer.send_message(ProbeReply(message.id))
        else:
            self._send_error(peer, ErrorCode.UNEXPECTED, "type", "create the event first")

    async def _create(self, peer: WebSocketPeer, event: str, orders: asyncio.Queue[CreateEvent]) -> None:
        """Carry out a host's creations, one after the other."""
        while True:
            order = await orders.get()
            try:
                await self._registry.create(event, order.plan, by=peer.key)
            except (UsageError, StoreError) as error:
                peer.send_message(HostResult("create", "refused", 0, str(error)))
                continue
            peer.send_message(HostResult("create", "done", 0))
            self._attach_host(peer, event)

    # what cannot be used ----------------------------------------------------------------------------------------------

    def _decode(self, data: bytes | str, peer: WebSocketPeer) -> ClientMessage | None:
        try:
            return codec.decode_client(data)
        except RemoteProtocolError as error:
            self._send_error(peer, ErrorCode.MALFORMED, error.field, error.rule)
            return None

    def _send_error(self, peer: WebSocketPeer, code: ErrorCode, field: str, rule: str) -> None:
        self._log(Record(LogEventKind.MESSAGE_REFUSED, self._clock.now(), cause=code))
        peer.send_message(Error(code, field, rule))


def is_protocol_violation(connection: QuizConnection) -> bool:
    """Whether the library ended it for what its peer sent: no handshake, no frame, or more than may be said at once."""
    failed = connection.protocol.handshake_exc
    if failed is not None:
        return not isinstance(failed.__cause__, EOFError)  # who is gone in the middle of a handshake broke nothing
    sent, is_echo = connection.protocol.close_sent, connection.protocol.close_rcvd_then_sent
    return sent is not None and sent.code in _VIOLATIONS and not is_echo and not connection.was_ended
