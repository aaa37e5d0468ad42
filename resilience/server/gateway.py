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
from resilience.events import LogEventKind
from resilience.policy.rate import TokenBucket
from resilience.policy.retry import CloseCode
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
from resilience.server.directory import Directory
from resilience.server.door import Door, Refusal
from resilience.server.hub import Hub, framed
from resilience.server.patience import Patience
from resilience.units import Seconds

HOST_MESSAGE_BYTES = 1_048_576
"""What a host that has shown its key may say at once: all questions of an event."""

ELSEWHERE: Seconds = 5.0

_VIOLATIONS = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.TOO_BIG})

_defects = logging.getLogger("resilience.server")
"""What should never be needed: the library would close the connection with 1011 and say nothing."""

FirstMessage = Join | Resume | Host
Act = Callable[[ClientMessage], None]


class Visit(ServerConnection):
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
        self._gateway.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, whatever it was."""
        self._gateway.left(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for this peer than may: what it is told, or the library's own replies to its pings."""
        super().pause_writing()
        self.loop.call_soon(self._cut_off)

    def _cut_off(self) -> None:
        if self.paused:
            self._gateway.too_slow(self)


class Socket:
    """A :class:`~resilience.server.hub.Peer` over one ``websockets`` connection."""

    __slots__ = ("_closing", "_refused", "cause", "connection", "hub", "key")

    def __init__(self, connection: Visit, closing: set[asyncio.Task[None]], refused: Callable[[Socket], None]) -> None:
        self.connection, self.key, self.cause = connection, connection.key, "closed"
        self.hub: Hub | None = None
        self._closing, self._refused = closing, refused

    def send(self, frame: bytes) -> None:
        """Queue a whole frame.

        A server's frames are the same for everybody, so they are made once and written past the library's own framing,
        which knows of no other sender on these connections.
        """
        if self.connection.protocol.state is OPEN:
            self.connection.transport.write(frame)

    def say(self, message: ServerMessage) -> None:
        """Send a message that no room has to do with."""
        self.send(framed(codec.encode(message)))

    def end(self, code: int, reason: str) -> None:
        """Close with this code; one that went silent is cut off at once. Nothing that it says counts any more."""
        self.connection.was_ended = True
        if code == CloseCode.SILENT:
            self.connection.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self.connection.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def refused(self) -> None:
        """What it presented opens nothing."""
        self._refused(self)


class Gateway:
    """Turns sockets into calls on the hubs, by the event that their first message names."""

    def __init__(  # noqa: PLR0913 - all that sockets meet
        self,
        directory: Directory,
        config: ServerConfig,
        *,
        clock: RunClock,
        log: RecordSink,
        lag: Callable[[], Seconds] = float,
        host_key: str | None = None,
    ) -> None:
        self.visits: dict[int, Visit] = {}
        self.sockets: dict[int, Socket] = {}
        self.door = Door(config, clock=clock, log=log, lag=lag, count=lambda: len(self.visits))
        self._directory, self._config, self._clock, self._log = directory, config, clock, log
        self._host_key = host_key
        self._patience = Patience(clock, config.first_message_deadline, self._show_out)
        self._keys = itertools.count(1)
        self._closing: set[asyncio.Task[None]] = set()

    def arrived(self, visit: Visit) -> None:
        """A connection was opened: it has until the deadline to shake hands and say who it is."""
        visit.key = next(self._keys)
        self.visits[visit.key] = visit
        self._patience.begin(visit.key)

    def left(self, visit: Visit) -> None:
        """A connection is gone."""
        self._patience.done(visit.key)
        del self.visits[visit.key]
        if broke_protocol(visit):
            self._log(Record(LogEventKind.CONNECTION_REFUSED, self._clock.now(), cause="protocol"))

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection, its hands shaken, until it ends."""
        assert isinstance(connection, Visit)  # noqa: S101 - made by this gateway
        if connection.request is not None:
            connection.request.headers.clear()  # the library's parser keeps the request for as long as the connection
        connection.response = None
        key = connection.key
        socket = self.sockets[key] = Socket(connection, self._closing, self._refused)
        try:
            await self._serve(socket)
        except ConnectionClosed as closed:
            if closed.rcvd and socket.cause == "closed":
                socket.cause = f"close_{closed.rcvd.code}"
        except Exception:
            _defects.exception("the handler of a connection failed")
            raise
        finally:
            del self.sockets[key]
            if socket.hub is not None:
                socket.hub.lost(key, socket.cause)

    def knock(self, connection: ServerConnection, request: Request) -> Refusal | None:
        """A handshake's head has arrived: whether to go on with it."""
        peer = connection.remote_address
        host = str(peer[0]) if isinstance(peer, tuple) and peer else "unknown"
        address = self.door.address_of(request.headers, host)
        if isinstance(connection, Visit):
            connection.address = address
        return self.door.look(request.headers, address)

    # the first message ------------------------------------------------------------------------------------------------

    async def _serve(self, socket: Socket) -> None:
        wait = socket.connection.retry_after
        if wait is not None:
            await socket.connection.close(CloseCode.OVERLOADED, f"retry_after={wait:.3f}")
            return
        first = await self._first(socket)
        if first is None:
            await self._turn_away(socket, CloseCode.STRIKES, "too many useless messages", "strikes")
        elif isinstance(first, Host):
            await self._serve_host(socket, first)
        else:
            await self._serve_participant(socket, first)

    async def _first(self, socket: Socket) -> FirstMessage | None:
        for _ in range(self._config.strike_limit):
            message = self._decode(await self._next(socket), socket)
            if isinstance(message, FirstMessage):
                self._patience.done(socket.key)
                return message
            if message is not None:
                self._complain(socket, ErrorCode.UNEXPECTED, "type", "the first message must be join or resume")
        return None

    def _show_out(self, key: int) -> None:
        """Somebody has not said who it is in time."""
        self._log(Record(LogEventKind.CONNECTION_REFUSED, self._clock.now(), cause="late"))
        if key in self.sockets:
            self.sockets[key].end(CloseCode.FIRST_MESSAGE_LATE, "say join or resume first")
        else:
            self.visits[key].transport.abort()

    def too_slow(self, visit: Visit) -> None:
        """A peer reads less than it is sent: it is cut off, and may resume."""
        if visit.key in self.sockets:
            self.sockets[visit.key].cause = "slow"
        visit.transport.abort()

    def stop(self) -> None:
        """Wait for nobody's first message any more."""
        self._patience.stop()

    async def _turn_away(self, socket: Socket, code: CloseCode, reason: str, cause: str) -> None:
        self._log(Record(LogEventKind.CONNECTION_REFUSED, self._clock.now(), cause=cause))
        await socket.connection.close(code, reason)

    def _refused(self, socket: Socket) -> None:
        """A token opened nothing: its holder has the deadline again to say who it is, unless it has tried too often."""
        wait = self.door.failed(socket.connection.address)
        if wait:
            self._log(Record(LogEventKind.JOIN_SHED, self._clock.now(), cause="address", value=wait))
            socket.end(CloseCode.OVERLOADED, f"retry_after={wait:.3f}")
        else:
            self._patience.begin(socket.key)

    # participants -----------------------------------------------------------------------------------------------------

    async def _serve_participant(self, socket: Socket, first: Join | Resume) -> None:
        hub = self._directory.hubs.get(first.event)
        if hub is not None:
            socket.hub = hub
            hub.received(first, socket.key, socket)
            await self._read(socket, lambda message: self._hear_participant(socket, hub, message))
        elif first.event in self._directory.elsewhere:
            reason = f"retry_after={ELSEWHERE:.1f} the event is moving to another server"
            await socket.connection.close(CloseCode.TRY_AGAIN_LATER, reason)
        else:
            await self._turn_away(socket, CloseCode.EVENT_UNKNOWN, "there is no such event here", "event")

    def _hear_participant(self, socket: Socket, hub: Hub, message: ClientMessage) -> None:
        if isinstance(message, Join | Resume):
            self._patience.done(socket.key)
        hub.received(message, socket.key, socket)

    async def _read(self, socket: Socket, act: Act) -> None:
        bucket = TokenBucket(self._config.message_rate, self._config.message_burst)
        strikes = 0
        while True:
            data = await (self._next(socket) if socket.hub is not None else self._next_of_idle(socket))
            await self._hold_back(bucket)
            message = self._decode(data, socket)
            if message is not None:
                act(message)
                continue
            strikes += 1
            if strikes >= self._config.strike_limit:
                self.door.failed(socket.connection.address)
                await self._turn_away(socket, CloseCode.STRIKES, "too many unreadable messages", "strikes")
                return

    async def _next(self, socket: Socket) -> bytes:
        """What this peer says next; what it says once it was told to go is not heard."""
        while True:
            data = await socket.connection.recv(decode=False)
            if not socket.connection.was_ended:
                return data

    async def _next_of_idle(self, socket: Socket) -> bytes:
        """The same of a host whose event is not there yet, so that no room notices its silence."""
        try:
            async with asyncio.timeout(self._config.grace_period):
                return await self._next(socket)
        except TimeoutError:
            socket.end(CloseCode.SILENT, "no sign of life")
            return await self._next(socket)

    async def _hold_back(self, bucket: TokenBucket) -> None:
        """Read on only when this connection may speak again: nothing is lost, and TCP holds back the rest."""
        wait = bucket.take(self._clock.now())
        if wait:
            self._log(Record(LogEventKind.MESSAGE_DELAYED, self._clock.now(), value=wait))
            await asyncio.sleep(wait)

    # hosts ------------------------------------------------------------------------------------------------------------

    async def _serve_host(self, socket: Socket, first: Host) -> None:
        if self._host_key is None or not hmac.compare_digest(first.key.encode(), self._host_key.encode()):
            self.door.failed(socket.connection.address)
            why = "this server takes no hosts" if self._host_key is None else "the host key is wrong"
            await self._turn_away(socket, CloseCode.KEY_REFUSED, why, "key")
            return
        socket.connection.protocol.max_message_size = HOST_MESSAGE_BYTES
        if not self._attach_host(socket, first.event):
            socket.say(Hosting(first.event))
        creating: asyncio.Queue[CreateEvent] = asyncio.Queue()
        creator = asyncio.get_running_loop().create_task(self._create(socket, first.event, creating))
        try:
            await self._read(socket, lambda message: self._hear_host(socket, message, creating))
        finally:
            creator.cancel()

    def _attach_host(self, socket: Socket, event: str) -> bool:
        hub = self._directory.hubs.get(event)
        if hub is None:
            return False
        if hub is not socket.hub:
            socket.hub = hub
            hub.host(socket.key, socket)
        return True

    def _hear_host(self, socket: Socket, message: ClientMessage, creating: asyncio.Queue[CreateEvent]) -> None:
        if isinstance(message, CreateEvent):
            creating.put_nowait(message)
        elif socket.hub is not None:
            socket.hub.received(message, socket.key, socket)
        elif isinstance(message, Probe):
            socket.say(ProbeReply(message.id))
        else:
            self._complain(socket, ErrorCode.UNEXPECTED, "type", "create the event first")

    async def _create(self, socket: Socket, event: str, orders: asyncio.Queue[CreateEvent]) -> None:
        """Carry out a host's creations, one after the other."""
        while True:
            order = await orders.get()
            try:
                await self._directory.create(event, order.plan, by=socket.key)
            except (UsageError, StoreError) as error:
                socket.say(HostResult("create", "refused", 0, str(error)))
                continue
            socket.say(HostResult("create", "done", 0))
            self._attach_host(socket, event)

    # what cannot be used ----------------------------------------------------------------------------------------------

    def _decode(self, data: bytes | str, socket: Socket) -> ClientMessage | None:
        try:
            return codec.decode_client(data)
        except RemoteProtocolError as error:
            self._complain(socket, ErrorCode.MALFORMED, error.field, error.rule)
            return None

    def _complain(self, socket: Socket, code: ErrorCode, field: str, rule: str) -> None:
        self._log(Record(LogEventKind.MESSAGE_REFUSED, self._clock.now(), cause=code))
        socket.say(Error(code, field, rule))


def broke_protocol(visit: Visit) -> bool:
    """Whether the library ended it for what its peer sent: no handshake, no frame, or more than may be said at once."""
    failed = visit.protocol.handshake_exc
    if failed is not None:
        return not isinstance(failed.__cause__, EOFError)  # who is gone in the middle of a handshake broke nothing
    sent, is_echo = visit.protocol.close_sent, visit.protocol.close_rcvd_then_sent
    return sent is not None and sent.code in _VIOLATIONS and not is_echo and not visit.was_ended
