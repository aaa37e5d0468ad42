"""The network: listeners, connections, and dials that reach them directly or over a link. Owns no time and no bytes."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from resilience.errors import HarnessError
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

from .link import VirtualLink, throw
from .loop import PROCESS, VirtualLoop
from .pipe import (
    WINDOW_BYTES,
    ControlSignal,
    DeliveryScheduler,
    LatencySource,
    Obstruction,
    PacketDraw,
    Pipe,
    latency_of,
)
from .transport import VirtualTransport

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)

LATENCY_S: Seconds = 0.001
"""One way, unless a network or link says otherwise: a machine to itself through a proxy, generously."""

CLIENT_HOST = "127.0.0.1"
_FIRST_CLIENT_PORT = 32768
_CLIENT_PORTS = 28232
_FIRST_CHOSEN_PORT = 20000
_ANY_HOST = "0.0.0.0"  # noqa: S104 - nothing is really bound
_ANY_HOSTS = frozenset((None, "", _ANY_HOST, "::"))


class ListeningSocket(NamedTuple):
    """As much of a socket as code that prints where it listens asks for."""

    host: str
    port: int
    family: int = socket.AF_INET

    def getsockname(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port


class VirtualConnection:
    """Both ends of one connection and the pipes between them; ``number`` counts the dials of the network from 1."""

    __slots__ = ("client", "down", "is_over", "is_severed", "link", "number", "opened_at", "server", "up")

    def __init__(self, number: int, up: Pipe, down: Pipe, opened_at: Instant, link: VirtualLink | None) -> None:
        self.number, self.up, self.down, self.opened_at, self.link = number, up, down, opened_at, link
        self.client: VirtualTransport
        self.server: VirtualTransport
        self.is_severed = self.is_over = False

    def sever(self, mark: ControlSignal) -> None:
        """Take the connection away: both ends see the mark one latency from now, what is under way is lost."""
        self.is_severed = True
        self.up.sever(mark)
        self.down.sever(mark)

    def ended(self) -> bool:
        """Whether both ends are gone; then releases them."""
        if self.is_over or not (self.client.is_lost and self.server.is_lost):
            return self.is_over
        self.is_over = True
        self.up.dispose()
        self.down.dispose()
        del self.client, self.server
        return True


class VirtualServer(asyncio.AbstractServer):
    """A listener, as :class:`asyncio.Server`; ``wait_closed`` waits until every accepted connection has ended."""

    def __init__(
        self,
        network: VirtualNetwork,
        factory: Callable[[], asyncio.BaseProtocol],
        address: tuple[str, int],
        backlog: int,
    ) -> None:
        self._network, self.factory, self.address, self.backlog = network, factory, address, backlog
        self.context = _own_context()
        self.connections: dict[int, VirtualConnection] = {}
        self._serving = self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sockets(self) -> tuple[ListeningSocket, ...]:
        """Where it listens; empty once closed."""
        return () if self._closed else (ListeningSocket(*self.address),)

    def get_loop(self) -> VirtualLoop:
        """The loop it lives in."""
        return self._network.deliveries.loop

    def is_serving(self) -> bool:
        """Whether new connections are accepted."""
        return self._serving and not self._closed

    async def start_serving(self) -> None:
        """Accept connections from now on."""
        self._serving = True

    async def serve_forever(self) -> None:
        """Accept connections until cancelled, then close."""
        self._serving = True
        try:
            await self.get_loop().create_future()
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening; open connections stay."""
        if not self._closed:
            self._closed = True
            self._network.unregister(self)
            self._settle()

    def close_clients(self) -> None:
        """Close every accepted connection."""
        for connection in list(self.connections.values()):
            connection.server.close()

    def abort_clients(self) -> None:
        """Abort every accepted connection."""
        for connection in list(self.connections.values()):
            connection.server.abort()

    async def wait_closed(self) -> None:
        """Until it is closed and every connection it accepted has ended."""
        if not self._closed or self.connections:
            waiter: asyncio.Future[None] = self.get_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def crash(self, *, flush: bool = False) -> None:
        """Die: no listener, every connection gone, no word to their protocols but the loss.

        ``flush``: what they had sent arrives first, and then a FIN, as from the buffers of an idle system.
        """
        self.close()
        for connection in list(self.connections.values()):
            if flush:
                connection.server.close()
            else:
                connection.server.crash()

    def accept(self, connection: VirtualConnection) -> None:
        """Make the server's end talk; a protocol that cannot be made ends the connection."""
        if connection.server.is_closing():
            return
        try:
            connection.server.open(self.factory())
        except Exception as error:  # noqa: BLE001 - reported, as asyncio does with a failed accept
            message = "a connection could not be accepted"
            self.get_loop().call_exception_handler({"message": message, "exception": error})
            connection.server.abort()

    def left(self, number: int) -> None:
        """One connection's own end is gone."""
        self.connections.pop(number, None)
        self._settle()

    def _settle(self) -> None:
        if self._closed and not self.connections:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


class _Dial(Generic[ProtocolT]):
    """A dial under way. ``client`` is its end once the other end has accepted it, and ``protocol`` that end's."""

    __slots__ = ("address", "client", "draw", "factory", "is_over", "latencies", "link", "number", "protocol")

    protocol: ProtocolT

    def __init__(  # noqa: PLR0913, PLR0917 - all that a dial is
        self,
        number: int,
        factory: Callable[[], ProtocolT],
        address: tuple[str, int],
        link: VirtualLink | None,
        latencies: tuple[LatencySource, LatencySource],
        draw: PacketDraw,
        is_over: asyncio.Future[None],
    ) -> None:
        self.number, self.factory, self.address = number, factory, address
        self.link, self.latencies, self.draw = link, latencies, draw
        self.is_over = is_over
        self.client: VirtualTransport | None = None


def _open_dialled(dial: _Dial[Any], client: VirtualTransport) -> None:
    """Connect the protocol of an accepted dial, unless the client has given it up."""
    if dial.is_over.done():
        return
    try:
        dial.protocol = dial.factory()
        client.open(dial.protocol)
    except Exception as error:  # noqa: BLE001 - it is the dialler's
        dial.is_over.set_exception(error)
    else:
        dial.is_over.set_result(None)


class VirtualNetwork:
    """Every listener, link and connection of one run. Serves one loop.

    Args:
        seed: of the latencies that are drawn; each packet's is addressed by its link, connection and number.
        latency_s: one way, for direct connections, and for links that say nothing else.
        window: bytes that may be under way or unread in one direction.
        shuffled: whether packets that arrive at one instant are delivered in a seeded order.

    """

    deliveries: DeliveryScheduler

    def __init__(
        self,
        seed: int,
        *,
        latency_s: LatencySource = LATENCY_S,
        window: int = WINDOW_BYTES,
        shuffled: bool = False,
    ) -> None:
        self.seed, self.latency_s, self.window = seed, latency_s, window
        self._order = partial(uniform, seed, "order") if shuffled else None
        self._draw: PacketDraw = partial(uniform, seed, "")
        self.links: dict[str, VirtualLink] = {}
        self._by_address: dict[tuple[str, int], VirtualServer | VirtualLink] = {}
        self._servers: list[VirtualServer] = []
        self._live: dict[int, VirtualConnection] = {}
        self._dials: Iterator[int] = itertools.count(1)

    @property
    def connections(self) -> list[VirtualConnection]:
        """All live ones, oldest first, through links or not."""
        return [self._live[number] for number in sorted(self._live)]

    def attach(self, loop: VirtualLoop) -> None:
        """Serve this loop; raises :class:`HarnessError` the second time."""
        if hasattr(self, "deliveries"):
            raise HarnessError("a virtual network serves one loop; make another for another")
        self.deliveries = DeliveryScheduler(loop, self._order)

    def link(  # noqa: PLR0913 - all that a link is
        self,
        name: str,
        *,
        port: int,
        upstream: tuple[str, int],
        host: str | None = None,
        latency_s: LatencySource | None = None,
        resets_cross: bool = False,
    ) -> VirtualLink:
        """Open a link; ``host`` none: reached under every name. Raises ``OSError`` (``EADDRINUSE``)."""
        if name in self.links:
            raise HarnessError(f"there is a link named {name} already")
        latency = self.latency_s if latency_s is None else latency_s
        link = VirtualLink(self, name, port, upstream, latency_s=latency, resets_cross=resets_cross)
        self._bind(_address(host, port), link)
        self.links[name] = link
        return link

    async def listen(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int, backlog: int, *, start: bool
    ) -> VirtualServer:
        """Open a listener; port 0: the first free one. Raises ``OSError`` (``EADDRINUSE``)."""
        address = _address(host, port or self._free_port())
        server = VirtualServer(self, factory, address, backlog)
        self._bind(address, server)
        self._servers.append(server)
        if start:
            await server.start_serving()
        return server

    def unregister(self, server: VirtualServer) -> None:
        """Remove a listener."""
        if self._by_address.get(server.address) is server:
            del self._by_address[server.address]

    def crash(self, port: int, *, flush: bool = False) -> None:
        """Kill the server on this port: its listener goes, its connections with a reset, at once and for good.

        ``flush``: what it had sent arrives first, and then a FIN.
        """
        for server in self._servers:
            if server.address[1] == port:
                server.crash(flush=flush)

    def suspend(self, process: str) -> None:
        """Let nothing that arrives reach this process; what it sent before still arrives."""
        self._hold(process, on=True)

    def resume(self, process: str) -> None:
        """Let everything that waits for this process reach it now, in order."""
        self._hold(process, on=False)

    def _hold(self, process: str, *, on: bool) -> None:
        for connection in self.connections:
            for end in (connection.client, connection.server):
                if end.process == process:
                    throw(end.inbound, Obstruction.SUSPENDED, on=on)

    async def dial(self, factory: Callable[[], ProtocolT], host: str, port: int) -> tuple[VirtualTransport, ProtocolT]:
        """Connect in one round trip; raises ``ConnectionRefusedError`` after one latency."""
        dial = self._begin_dial(factory, (host, port))
        try:
            await dial.is_over
        except BaseException:
            if dial.client is not None:
                dial.client.abort()
            raise
        if dial.client is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {(host, port)}")
        return dial.client, dial.protocol

    def _begin_dial(self, factory: Callable[[], ProtocolT], address: tuple[str, int]) -> _Dial[ProtocolT]:
        number, server, loop = next(self._dials), self._server_at(*address), self.deliveries.loop
        link = server if isinstance(server, VirtualLink) else None
        latencies = (self.latency_s, self.latency_s) if link is None else link.latencies
        draw = self._draw if link is None else link.draw
        dial = _Dial(number, factory, address, link, latencies, draw, loop.create_future())
        loop.call_later(latency_of(latencies[0], draw, 2 * number, 1), self._dial_arrived, dial)
        return dial

    def _dial_arrived(self, dial: _Dial[Any]) -> None:
        delay = 0.0 if dial.link is None else dial.link.accept_delay_s
        if delay > 0.0 and self._is_welcome(dial):
            self.deliveries.loop.call_later(delay, self._accept_dial, dial)
        else:
            self._accept_dial(dial)

    def _accept_dial(self, dial: _Dial[Any]) -> None:
        if not self._is_welcome(dial):
            if not dial.is_over.done():
                dial.is_over.set_result(None)
            return
        number, (up_latency, down_latency), draw = dial.number, dial.latencies, dial.draw
        up = Pipe(self.deliveries, 2 * number, up_latency, draw, self.window, packets=1)
        down = Pipe(self.deliveries, 2 * number + 1, down_latency, draw, self.window)
        loop = self.deliveries.loop
        dial.client = self._take(VirtualConnection(number, up, down, loop.now, dial.link), dial.address)
        loop.call_later(down.draw_latency(), _open_dialled, dial, dial.client)

    def _is_welcome(self, dial: _Dial[Any]) -> bool:
        """Whether the address accepts a dial that the client has not given up."""
        server = self._server_at(*dial.address)
        if dial.is_over.done() or server is None:
            return False
        return not server.is_refusing if isinstance(server, VirtualLink) else server.is_serving()

    def establish(self, connection: VirtualConnection, upstream: tuple[str, int]) -> None:
        """Let the dial reach the server; where none listens the client's end sees EOF."""
        server = self._server_at(*upstream)
        if connection.is_severed or not isinstance(server, VirtualServer) or not server.is_serving():
            connection.sever(ControlSignal.FIN)
            connection.server.is_lost = True
            self._left(connection)
        else:
            connection.server.on_lost(partial(self._server_left, connection, server))
            server.connections[connection.number] = connection
            connection.server.belong_to(server.context)
            self.deliveries.soon(server.accept, connection, context=server.context)

    def _take(self, connection: VirtualConnection, address: tuple[str, int]) -> VirtualTransport:
        link = connection.link
        near = (CLIENT_HOST, _FIRST_CLIENT_PORT + connection.number % _CLIENT_PORTS)
        mark = ControlSignal.RST if link is None or link.resets_cross else ControlSignal.FIN
        up, down, upstream = connection.up, connection.down, address if link is None else link.upstream
        client = VirtualTransport(self.deliveries, down, up, sockname=near, peername=address, abort_mark=mark)
        server = VirtualTransport(self.deliveries, up, down, sockname=upstream, peername=near, abort_mark=mark)
        connection.client, connection.server = client, server
        client.belong_to(_own_context())
        client.on_lost(partial(self._left, connection))
        self._live[connection.number] = connection
        if link is None or link.on_accepted(connection):
            self.establish(connection, upstream)
        return client

    def _server_left(self, connection: VirtualConnection, server: VirtualServer) -> None:
        server.left(connection.number)
        self._left(connection)

    def _left(self, connection: VirtualConnection) -> None:
        if connection.ended():
            self._live.pop(connection.number, None)
            if connection.link is not None:
                connection.link.left(connection.number)

    def _server_at(self, host: str, port: int) -> VirtualServer | VirtualLink | None:
        return self._by_address.get((host, port)) or self._by_address.get((_ANY_HOST, port))

    def _bind(self, address: tuple[str, int], server: VirtualServer | VirtualLink) -> None:
        host, port = address
        taken = [at for at in self._by_address if at[1] == port and (host in {_ANY_HOST, at[0]} or at[0] == _ANY_HOST)]
        if taken:
            raise OSError(errno.EADDRINUSE, f"address {address} is already in use")
        self._by_address[address] = server

    def _free_port(self) -> int:
        taken = {port for _, port in self._by_address}
        return next(port for port in itertools.count(_FIRST_CHOSEN_PORT) if port not in taken)


def _own_context() -> Context | None:
    """The context of the process that runs now, if it is one that can be suspended."""
    return None if PROCESS.get() is None else copy_context()


def _address(host: str | None, port: int) -> tuple[str, int]:
    return (_ANY_HOST, port) if host is None or host in _ANY_HOSTS else (host, port)
