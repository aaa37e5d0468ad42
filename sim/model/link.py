"""One cohort's way to the server: behind one proxy process, with that proxy's quirks. Knows no machine, room or log.

What Toxiproxy does on the wire, and so this does too:

* down (``refuse``): the listener goes, every connection is closed; later dials are refused.
* a hole (``blackhole``): bytes of that direction vanish at the proxy, half way. Dials are taken, since the proxy
  itself accepts them, but no upgrade completes. The end of a connection passes, its close code does not, since
  that is bytes. Healing closes every connection, since bytes are missing.
* several faults at once add up: the link is usable when all are over, but each one's end closes what it must.

Each direction is one feed, so whatever goes that way stays in order; nothing arrives after the end of a connection.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from resilience.errors import InjectionError
from resilience.experiment.primitives import (
    CloseAll,
    Delay,
    Direction,
    Drop,
    Impose,
    Lift,
    LinkOperation,
    Refuse,
    ResetAll,
)
from resilience.policy.close_codes import CloseCode
from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.protocol.server.connection import ServerConnection
from resilience.units import Instant, Seconds

from .clock import NEVER, DelayLine, SimEnvironment
from .costs import ModelCosts

REFUSED, CLOSED = "refused", "closed"
"""Why a dial or a connection ended, as far as the network can tell."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The WebSocket handshake: the request upwards, the response downwards."""


@dataclass(frozen=True, slots=True)
class CloseSignal:
    """A connection's end, after all that was sent before it.

    ``code`` is that of the close frame, if there was one; ``status`` that of the response which rejects the handshake;
    ``retry_after`` the seconds that either of them gives.
    """

    code: int | None = None
    status: int | None = None
    retry_after: Seconds | None = None


UPGRADE, FIN = Upgrade(), CloseSignal()


class ClientEnd(Protocol):
    """Who dialled; ``actor`` is its name, and its address as the server sees it."""

    actor: str

    def opened(self, connection: ModelConnection) -> None:
        """The upgrade is complete."""

    def failed(self, connection: ModelConnection, cause: str) -> None:
        """The dial failed."""

    def lost(self, connection: ModelConnection, cause: str, code: int) -> None:
        """The open connection ended."""

    def receive(self, connection: ModelConnection, message: ServerMessage) -> None:
        """The server said something."""


class ServerEnd(Protocol):
    """Who was dialled."""

    def upgrade(self, connection: ModelConnection) -> None:
        """A handshake request arrived."""

    def lost(self, connection: ModelConnection, cause: str) -> None:
        """A connection ended, open or not."""

    def receive(self, connection: ModelConnection, message: ClientMessage) -> None:
        """A client said something."""


@dataclass(slots=True, eq=False)
class ModelConnection:
    """One dial and its connection. ``key`` is the server's number of it, 0 until it has accepted the upgrade.

    ``machine`` is the server's side of it; ``held`` the messages that its rate limit delays, first the oldest;
    ``status`` and ``retry_after`` are the HTTP status and the seconds of its end, as the client has seen it.
    An end that is *gone* has released the connection or received its end: nothing reaches it any more. ``severed``: by
    the proxy.
    """

    link: ModelLink
    client: ClientEnd
    dial: int
    key: int = 0
    opened: bool = False
    machine: ServerConnection | None = None
    held: deque[ClientMessage] | None = None
    status: int | None = None
    retry_after: Seconds | None = None
    client_gone: bool = False
    server_gone: bool = False
    severed: bool = False


class ModelLink:
    """The link of one cohort; ``connections`` are those that pass the proxy now, in the order of their dials."""

    def __init__(self, clock: SimEnvironment, costs: ModelCosts, server: ServerEnd) -> None:
        self._clock, self._server = clock, server
        self._latency, self._half, self._connect = costs.latency, costs.latency / 2, costs.connect
        self._close_timeout = costs.close_timeout
        self._base_latency, self.extra_latency = costs.latency, 0.0
        self._delays: Counter[Seconds] = Counter()
        self._refusals = 0
        self._holes = {Direction.UP: 0, Direction.DOWN: 0}
        self._hole_since = {Direction.UP: NEVER, Direction.DOWN: NEVER}
        self.connections: dict[ModelConnection, None] = {}
        self._dials: DelayLine[ModelConnection] = DelayLine(clock, self._dialled)
        self._up: DelayLine[tuple[ModelConnection, ClientMessage | Upgrade | CloseSignal]] = DelayLine(
            clock, self._arrive_up
        )
        self._down: DelayLine[tuple[ModelConnection, ServerMessage | Upgrade | CloseSignal]] = DelayLine(
            clock, self._arrive_down
        )
        self._fins: DelayLine[ModelConnection] = DelayLine(clock, self._give_up_closing)

    # what a canary would see ------------------------------------------------------------------------------------------

    @property
    def refusing(self) -> bool:
        """Whether dials are refused now."""
        return self._refusals > 0

    def is_hole(self, direction: Direction) -> bool:
        """Whether bytes of this direction vanish now."""
        return all(self._holes[way] > 0 for way in direction.ways)

    @property
    def usable(self) -> bool:
        """Whether a dial would succeed now."""
        return not (self.refusing or self.extra_latency or any(self._holes.values()))

    def hold(self, client: ClientEnd) -> ModelConnection:
        """Open a connection that only faults can end: a canary's."""
        connection = ModelConnection(self, client, 0, opened=True)
        self.connections[connection] = None
        return connection

    def release(self, connection: ModelConnection) -> None:
        """Forget a connection that was held."""
        connection.client_gone = connection.server_gone = True
        self.connections.pop(connection, None)

    # what the ends do -------------------------------------------------------------------------------------------------

    def dial(self, client: ClientEnd, number: int) -> ModelConnection:
        """Open a connection; the client receives ``opened`` or ``failed``, or nothing as long as the dial hangs."""
        connection = ModelConnection(self, client, number)
        self._dials.put(self._clock.now + self._connect, connection)
        return connection

    def send_up(self, connection: ModelConnection, message: ClientMessage) -> None:
        """The client says something now."""
        self._up.put(self._clock.now + self._latency, (connection, message))

    def send_down(self, connection: ModelConnection, frame: ServerMessage | Upgrade, departs: Instant) -> None:
        """The server says something, which leaves it at ``departs``."""
        self._down.put(departs + self._latency, (connection, frame))

    def leave(self, connection: ModelConnection) -> None:
        """The client releases the connection now: it receives nothing more, the server its end."""
        connection.client_gone = True
        if not connection.server_gone and connection in self.connections:
            self._up.put(self._clock.now + self._latency, (connection, FIN))
        self._forget_if_over(connection)

    def end(
        self, connection: ModelConnection, code: int | None, departs: Instant, retry_after: Seconds | None = None
    ) -> None:
        """The server ends the connection with a close code, or without (an abort)."""
        self._send_end(connection, CloseSignal(code, retry_after=retry_after), departs)

    def reject(self, connection: ModelConnection, status: int, departs: Instant, retry_after: Seconds | None) -> None:
        """The server answers the handshake with this HTTP status and ends the connection."""
        self._send_end(connection, CloseSignal(None, status, retry_after), departs)

    def _send_end(self, connection: ModelConnection, signal: CloseSignal, departs: Instant) -> None:
        connection.server_gone = True
        if not connection.client_gone:
            self._down.put(departs + self._latency, (connection, signal))
        self._forget_if_over(connection)

    # what faults do ---------------------------------------------------------------------------------------------------

    def apply(self, operation: LinkOperation) -> None:
        """Carry out one operation, which takes no time. A reset ends connections as a close does, for both ends.

        Raises :class:`~resilience.errors.InjectionError` for a condition to lift that does not hold.
        """
        match operation:
            case CloseAll() | ResetAll():
                self.cut()
            case Impose(condition=Refuse()):
                self._refusals += 1
            case Lift(condition=Refuse()):
                self._require(self._refusals)
                self._refusals -= 1
            case Impose(condition=Delay(delay=delay)):
                self._delays[delay] += 1
                self._show_delays()
            case Lift(condition=Delay(delay=delay)):
                self._require(self._delays[delay])
                self._delays[delay] -= 1
                self._show_delays()
                self._drop_delayed()
                self.cut()
            case Impose(condition=Drop(direction=direction)):
                self.open_hole(direction)
            case Lift(condition=Drop(direction=direction)):
                self._require(min(self._holes[way] for way in direction.ways))
                self.close_hole(direction)

    def _show_delays(self) -> None:
        self.extra_latency = sum(self._delays.elements())
        self._latency = self._base_latency + self.extra_latency

    def _drop_delayed(self) -> None:
        """Drop what is under way for longer than the link now takes: it belongs to connections that are closed next."""
        self._up.drop_after(self._clock.now + self._latency)
        self._down.drop_after(self._clock.now + self._latency)

    def _require(self, count: int) -> None:
        if not count:
            raise InjectionError("the link has no such condition to lift")

    def repair(self) -> None:
        """Lift every condition, and close every connection with them."""
        self._refusals = 0
        self._delays.clear()
        self._show_delays()
        self._drop_delayed()
        self._holes = dict.fromkeys(self._holes, 0)
        self._hole_since = dict.fromkeys(self._hole_since, NEVER)
        self.cut()

    def upstream_died(self) -> None:
        """The server process is gone: each of its connections ends, after what it had sent; the rest is never sent."""
        self._down.drop_after(self._clock.now + self._latency)
        for connection in list(self.connections):
            if not connection.client_gone:
                self.end(connection, None, self._clock.now)

    def cut(self) -> None:
        """Close every connection, dials in flight included; both ends receive the end half a latency later."""
        severed, self.connections = self.connections, {}
        for connection in severed:
            connection.severed = True
        if severed:
            self._clock.at(self._clock.now + self._half, lambda _: self._tell_severed(severed))

    def open_hole(self, direction: Direction) -> None:
        """Let bytes of this direction vanish, until :meth:`close_hole`."""
        for way in direction.ways:
            self._holes[way] += 1
            self._hole_since[way] = min(self._hole_since[way], self._clock.now)

    def close_hole(self, direction: Direction) -> None:
        """End one hole, and with it every connection."""
        for way in direction.ways:
            self._holes[way] -= 1
            if not self._holes[way]:
                self._hole_since[way] = NEVER
        self.cut()

    # on the way -------------------------------------------------------------------------------------------------------

    def _dialled(self, connection: ModelConnection) -> None:
        if connection.client_gone:
            return
        if self._refusals:
            connection.client_gone = connection.server_gone = True
            connection.client.failed(connection, REFUSED)
            return
        self.connections[connection] = None
        self._up.put(self._clock.now + self._latency, (connection, UPGRADE))

    def _vanished(self, direction: Direction) -> bool:
        """Whether what arrives now met a hole at the proxy.

        A hole that is over need not be remembered: what it took belonged to connections that are closed by now.
        """
        return self._clock.now - self._half >= self._hole_since[direction]

    def _arrive_up(self, item: tuple[ModelConnection, ClientMessage | Upgrade | CloseSignal]) -> None:
        connection, frame = item
        if connection.severed or connection.server_gone:
            return
        if isinstance(frame, CloseSignal):
            connection.server_gone = True
            self._forget_if_over(connection)
            self._server.lost(connection, CLOSED)
        elif self._vanished(Direction.UP):
            return
        elif isinstance(frame, Upgrade):
            self._server.upgrade(connection)
        else:
            self._server.receive(connection, frame)

    def _arrive_down(self, item: tuple[ModelConnection, ServerMessage | Upgrade | CloseSignal]) -> None:
        connection, frame = item
        if connection.severed or connection.client_gone:
            return
        vanished = self._vanished(Direction.DOWN)
        if isinstance(frame, CloseSignal):
            self._arrive_close(connection, frame, vanished=vanished)
        elif vanished:
            return
        elif isinstance(frame, Upgrade):
            connection.opened = True
            connection.client.opened(connection)
        else:
            connection.client.receive(connection, frame)

    def _arrive_close(self, connection: ModelConnection, signal: CloseSignal, *, vanished: bool) -> None:
        if signal.code is None:
            is_rejected = signal.status is not None and not vanished
            connection.status = signal.status if is_rejected else None
            connection.retry_after = signal.retry_after if is_rejected else None
            self._tell_client(connection, f"status_{signal.status}" if is_rejected else CLOSED, CloseCode.ABNORMAL)
        elif vanished:
            self._fins.put(self._clock.now + self._close_timeout, connection)
        else:
            connection.retry_after = signal.retry_after
            self._tell_client(connection, f"close_{int(signal.code)}", signal.code)

    def _give_up_closing(self, connection: ModelConnection) -> None:
        if not (connection.severed or connection.client_gone):
            self._tell_client(connection, CLOSED, CloseCode.ABNORMAL)

    def _tell_severed(self, severed: Iterable[ModelConnection]) -> None:
        for connection in severed:
            if not connection.client_gone:
                self._tell_client(connection, CLOSED, CloseCode.ABNORMAL)
            if not connection.server_gone:
                connection.server_gone = True
                self._server.lost(connection, CLOSED)

    def _tell_client(self, connection: ModelConnection, cause: str, code: int) -> None:
        connection.client_gone = True
        self._forget_if_over(connection)
        if connection.opened:
            connection.client.lost(connection, cause, code)
        else:
            connection.client.failed(connection, cause)

    def _forget_if_over(self, connection: ModelConnection) -> None:
        if connection.client_gone and connection.server_gone:
            self.connections.pop(connection, None)
