"""The virtual network: listeners, and links to them that can be broken as Toxiproxy breaks them. Owns no time.

A link stands for one Toxiproxy process in front of one server. Its quirks are kept: ending a blackhole closes every
connection, a close passes through a blackhole, a dial during one succeeds and is never answered, a link whose server is
down accepts and then closes. All switches may be thrown twice.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from resilience.draws import uniform
from resilience.errors import PortInUseError
from resilience.units import Seconds

from .transport import Flow, Hold, VirtualTransport

if TYPE_CHECKING:
    from .loop import VirtualLoop

LATENCY: Seconds = 0.0005
"""One way, about what loopback through a proxy takes."""

FIRST_CLIENT_PORT = 40_000


class Listener:
    """What ``create_server`` returns; the parts of :class:`asyncio.Server` that servers use."""

    def __init__(self, network: VirtualNetwork, loop: VirtualLoop, factory: Any, port: int, backlog: int) -> None:  # noqa: ANN401, PLR0913, PLR0917, E501
        self._network, self._loop, self.factory = network, loop, factory
        self.port, self.backlog = port, backlog
        self.sockets: tuple[Any, ...] = ()

    def close(self) -> None:
        """Listen no more; open connections stay."""
        self._network.forget(self)

    async def wait_closed(self) -> None:
        """Nothing lingers."""

    async def start_serving(self) -> None:
        """It does already."""

    def is_serving(self) -> bool:
        """Whether new connections are taken."""
        return self._network.listener(self.port) is self

    def get_loop(self) -> VirtualLoop:
        """The loop."""
        return self._loop


class Connection:
    """Both ends of one connection."""

    def __init__(
        self, number: int, client: VirtualTransport, server: VirtualTransport, flows: tuple[Flow, Flow]
    ) -> None:
        self.number, self.client, self.server = number, client, server
        self.up, self.down = flows

    def sever(self, error: type[Exception] | None = None) -> None:
        """Take the connection away at both ends; what is under way is lost."""
        for flow in (self.up, self.down):
            flow.clear()
            flow.hold, flow.hole = Hold.NOTHING, False
        for end in (self.client, self.server):
            end.sever(error() if error else None)

    @property
    def is_over(self) -> bool:
        """Whether both ends have heard of the end."""
        return self.client.is_lost and self.server.is_lost


class Link:
    """A way to a server that can be broken. ``latency`` is one way, seconds, plus ``jitter`` times a seeded draw."""

    def __init__(self, network: VirtualNetwork, name: str, port: int, upstream: int, latency: Seconds) -> None:  # noqa: PLR0913, PLR0917, E501
        self.name, self.port, self.upstream = name, port, upstream
        self.latency, self.jitter, self.slow_accept = latency, 0.0, 0.0
        self.is_refusing = False
        self._network = network
        self._holes = (False, False)
        self._hold = Hold.NOTHING
        self._thawed: asyncio.Event | None = None
        self._connections: dict[int, Connection] = {}

    @property
    def connections(self) -> list[Connection]:
        """Those that are not over, oldest first."""
        for number in [number for number, connection in self._connections.items() if connection.is_over]:
            del self._connections[number]
        return list(self._connections.values())

    def cut(self) -> None:
        """Close every connection once."""
        for connection in self.connections:
            connection.sever()
        self._connections.clear()

    def reset(self) -> None:
        """Reset every connection once: both ends see an error."""
        for connection in self.connections:
            connection.sever(ConnectionResetError)
        self._connections.clear()

    def refuse(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Close every connection and refuse new ones, until switched off."""
        if on and not self.is_refusing:
            self.cut()
        self.is_refusing = on

    def blackhole(self, *, up: bool, down: bool) -> None:
        """Throw bytes away in these directions; switching off closes every connection, since bytes are missing."""
        was_hole, self._holes = any(self._holes), (up, down)
        if was_hole and not (up or down):
            self.cut()
        for connection in self.connections:
            self._apply(connection)

    def stall(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Keep bytes back; all arrive, in order, when switched off."""
        self._keep(Hold.DATA if on else Hold.NOTHING)

    def freeze(self, on: bool) -> None:  # noqa: FBT001 - a switch
        """Keep everything back, ends and new connections too; all goes on, in order, when switched off."""
        if on and self._thawed is None:
            self._thawed = asyncio.Event()
        elif not on and self._thawed is not None:
            self._thawed.set()
            self._thawed = None
        self._keep(Hold.EVERYTHING if on else Hold.NOTHING)

    def _keep(self, hold: Hold) -> None:
        self._hold = hold
        for connection in self.connections:
            self._apply(connection)

    def _apply(self, connection: Connection) -> None:
        connection.up.hole, connection.down.hole = self._holes
        for flow in (connection.up, connection.down):
            flow.hold = self._hold
            flow.wake()

    async def open(self, loop: VirtualLoop, factory: Any, number: int) -> tuple[VirtualTransport, Any]:  # noqa: ANN401
        """Connect through this link."""
        latency = self.latency + self.jitter * uniform(self._network.seed, "latency", number)
        await asyncio.sleep(2 * latency + self.slow_accept)
        if self._thawed is not None:
            await self._thawed.wait()
        if self.is_refusing:
            raise ConnectionRefusedError(f"link {self.name} is down")
        listener = self._network.listener(self.upstream)
        made = _connect(loop, factory, listener.factory if listener else asyncio.Protocol, number, latency, self.port)
        self._connections[number] = made
        self._apply(made)
        if listener is None:
            made.sever()
        return made.client, made.client.get_protocol()


class VirtualNetwork:
    """All listeners and links of one run, by port. ``seed`` moves latencies where a link has jitter."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._listeners: dict[int, Listener] = {}
        self._links: dict[int, Link] = {}
        self._numbers = itertools.count(1)
        self._direct: dict[int, dict[int, Connection]] = {}

    def link(self, name: str, *, port: int, upstream: tuple[str, int], latency: Seconds = LATENCY) -> Link:
        """A link that listens on ``port`` and leads to ``upstream``."""
        if port in self._links or port in self._listeners:
            raise PortInUseError(name, port)
        self._links[port] = Link(self, name, port, upstream[1], latency)
        return self._links[port]

    def listen(self, loop: VirtualLoop, factory: Any, host: str, port: int, backlog: int) -> Listener:  # noqa: ANN401, PLR0913, PLR0917, E501
        """Listen; ``OSError`` as the system's when the port is taken."""
        if port in self._listeners or port in self._links:
            raise OSError(98, f"address already in use: {host}:{port}")
        self._listeners[port] = Listener(self, loop, factory, port, backlog)
        return self._listeners[port]

    def listener(self, port: int) -> Listener | None:
        """Who listens there."""
        return self._listeners.get(port)

    def forget(self, listener: Listener) -> None:
        """Nobody listens there any more."""
        if self._listeners.get(listener.port) is listener:
            del self._listeners[listener.port]

    def crash(self, port: int) -> None:
        """The server on this port dies: nobody listens, every connection of it is reset."""
        self._listeners.pop(port, None)
        for link in self._links.values():
            if link.upstream == port:
                link.reset()
        for connection in self._direct.pop(port, {}).values():
            if not connection.is_over:
                connection.sever(ConnectionResetError)

    async def connect(self, loop: VirtualLoop, factory: Any, host: str, port: int) -> tuple[VirtualTransport, Any]:  # noqa: ANN401, E501
        """Connect through the link on this port, or straight to the listener there."""
        number = next(self._numbers)
        link = self._links.get(port)
        if link is not None:
            return await link.open(loop, factory, number)
        await asyncio.sleep(2 * LATENCY)
        listener = self._listeners.get(port)
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens on {host}:{port}")
        made = _connect(loop, factory, listener.factory, number, LATENCY, port)
        self._direct.setdefault(port, {})[number] = made
        return made.client, made.client.get_protocol()


def _connect(loop: VirtualLoop, dialling: Any, accepting: Any, number: int, latency: Seconds, port: int) -> Connection:  # noqa: ANN401, PLR0913, PLR0917, E501
    up, down = Flow(loop, latency), Flow(loop, latency)
    names = ("127.0.0.1", FIRST_CLIENT_PORT + number), ("127.0.0.1", port)
    server = VirtualTransport(loop, accepting(), down, up, (names[1], names[0]))
    client = VirtualTransport(loop, dialling(), up, down, names)
    server.get_protocol().connection_made(server)
    client.get_protocol().connection_made(client)
    return Connection(number, client, server, (up, down))
