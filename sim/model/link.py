"""One cohort's way to the server: behind one proxy process, with that proxy's quirks. Knows no machine, room or log.

What Toxiproxy does on the wire, and so this does too:

* down (``refuse``): the listener goes, every connection is closed; later dials are refused.
* a hole (``blackhole``): bytes of that direction vanish at the proxy, half way. Dials are taken, since the proxy
  itself accepts them, but no upgrade completes. The end of a connection passes, its close code does not, since
  that is bytes. Healing closes every connection, since bytes are missing.
* a stall: bytes of that direction wait at the proxy, and a close behind them; a freeze holds closes and dials as well,
  and what is ordered of the link meanwhile is carried out when it ends. Then all that waited goes through, in order.
* a delay may have a spread: each message draws its own, and none overtakes another one of its connection.
* a proxy dials the server for one client after another, each of which keeps it busy for `costs.relay`.
* several faults at once add up: the link is usable when all are over, but each one's end closes what it must.

Each direction is one feed, so whatever goes that way stays in order; nothing arrives after the end of a connection.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from resilience.errors import InjectionError
from resilience.experiment.costs import ModelCosts
from resilience.experiment.primitives import (
    CloseAll,
    Condition,
    Delay,
    Direction,
    Drop,
    Freeze,
    Hold,
    Impose,
    Lift,
    LinkOperation,
    Refuse,
    ResetAll,
)
from resilience.policy.close_codes import CloseCode
from resilience.protocol.messages import ClientMessage, ServerMessage
from resilience.units import Instant, Seconds

from .clock import NEVER, DelayLine, SimEnvironment
from .connection import CLOSED, FIN, REFUSED, UPGRADE, ClientEnd, CloseSignal, ModelConnection, ServerEnd, Upgrade
from .threads import ModelThread
from .waiting import WaitingRoom

T = TypeVar("T")

UpItem = tuple[ModelConnection, ClientMessage | Upgrade | CloseSignal]
DownItem = tuple[ModelConnection, ServerMessage | Upgrade | CloseSignal]


def _middle(_: int) -> float:
    """The number of a delay without spread."""
    return 0.5


class ModelLink:
    """The link of one cohort; ``connections`` are those that pass the proxy now, in the order of their dials.

    ``draw(n)`` is the uniform number of the n-th message whose delay has a spread. ``thread``: the proxy's.
    """

    def __init__(
        self,
        clock: SimEnvironment,
        costs: ModelCosts,
        server: ServerEnd,
        draw: Callable[[int], float] = _middle,
        *,
        thread: ModelThread,
    ) -> None:
        self._clock, self._server, self._draw = clock, server, draw
        self._latency, self._half, self._connect = costs.latency, costs.latency / 2, costs.connect
        self._close_timeout = costs.close_timeout
        self._base_latency, self.extra_latency = costs.latency, 0.0
        self._held: Counter[Condition] = Counter()
        self._spread, self._delayed_until, self._draws = 0.0, -NEVER, itertools.count(1)
        self._deferred: list[LinkOperation] = []
        self._holes = {Direction.UP: 0, Direction.DOWN: 0}
        self._hole_since = {Direction.UP: NEVER, Direction.DOWN: NEVER}
        self.connections: dict[ModelConnection, None] = {}
        self._dials: DelayLine[ModelConnection] = DelayLine(clock, self._dialled)
        self._relay, self._thread = costs.relay, thread
        self._up: DelayLine[UpItem] = DelayLine(clock, self._arrive_up)
        self._down: DelayLine[DownItem] = DelayLine(clock, self._arrive_down)
        self._fins: DelayLine[ModelConnection] = DelayLine(clock, self._give_up_closing)
        self._waiting_up: WaitingRoom[UpItem] = WaitingRoom(clock, self._half, self._deliver_up)
        self._waiting_down: WaitingRoom[DownItem] = WaitingRoom(clock, self._half, self._deliver_down)
        self._waiting: dict[Direction, WaitingRoom[UpItem] | WaitingRoom[DownItem]] = {
            Direction.UP: self._waiting_up,
            Direction.DOWN: self._waiting_down,
        }

    # what a canary would see ------------------------------------------------------------------------------------------

    @property
    def refusing(self) -> bool:
        """Whether dials are refused now."""
        return self._held[Refuse()] > 0

    def is_silent(self, direction: Direction) -> bool:
        """Whether bytes of this direction vanish or wait now."""
        return all(self._holes[way] > 0 or self._waiting[way].is_closed for way in direction.ways)

    @property
    def usable(self) -> bool:
        """Whether a dial would succeed now."""
        return not (self.refusing or self.extra_latency or any(map(self.is_silent, self._holes)))

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

    def dial(self, connection: ModelConnection) -> None:
        """Open a connection; its client receives ``opened`` or ``failed``, or nothing as long as the dial hangs."""
        self._dials.put(self._clock.now + self._connect, connection)

    def send_up(self, connection: ModelConnection, message: ClientMessage) -> None:
        """The client says something now."""
        self._put_up(connection, message)

    def send_down(self, connection: ModelConnection, frame: ServerMessage | Upgrade, departs: Instant) -> None:
        """The server says something, which leaves it at ``departs``."""
        self._put_down(connection, frame, departs)

    def leave(self, connection: ModelConnection) -> None:
        """The client releases the connection now: it receives nothing more, the server its end."""
        connection.client_gone = True
        if not connection.server_gone and connection in self.connections:
            self._put_up(connection, FIN)
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
            self._put_down(connection, signal, departs)
        self._forget_if_over(connection)

    # what faults do ---------------------------------------------------------------------------------------------------

    def apply(self, operation: LinkOperation) -> None:
        """Carry out one operation, which takes no time. A reset ends connections as a close does, for both ends.

        Raises :class:`~resilience.errors.InjectionError` for a condition to lift that does not hold, and for one that a
        model without bytes cannot carry.
        """
        if self._held[Freeze()] and operation not in {Impose(Freeze()), Lift(Freeze())}:
            self._deferred.append(operation)
            return
        match operation:
            case CloseAll() | ResetAll():
                self.cut()
            case Impose(condition=condition):
                self._change(condition, 1)
            case Lift(condition=condition):
                if not self._held[condition]:
                    raise InjectionError(f"the link has no such condition to lift: {condition}")
                self._change(condition, -1)

    def _change(self, condition: Condition, by: int) -> None:
        """One more or one less of this condition holds."""
        match condition:
            case Refuse():
                self._held[condition] += by
            case Drop(direction=direction):
                self._held[condition] += by
                (self.open_hole if by > 0 else self.close_hole)(direction)
            case Delay():
                self._held[condition] += by
                self._show_delays()
                if by < 0:
                    self._bring_forward(condition.delay)
            case Hold(direction=direction):
                self._held[condition] += by
                self._stall(direction, by)
            case Freeze():
                self._held[condition] += by
                self._freeze(by)
            case _:
                raise InjectionError(f"the model carries messages, not bytes: it cannot carry out {condition}")

    def _show_delays(self) -> None:
        delays = [each for each in self._held.elements() if isinstance(each, Delay)]
        self.extra_latency = sum(each.delay for each in delays)
        self._spread = sum(each.spread for each in delays)
        self._latency = self._base_latency + self.extra_latency

    def _bring_forward(self, by: Seconds) -> None:
        """What a delay held back continues at once."""
        soon = self._clock.now + self._half
        self._up.advance(by, not_before=soon)
        self._down.advance(by, not_before=soon)
        for connection in self.connections:
            connection.due_up = min(connection.due_up, max(connection.due_up - by, soon))
            connection.due_down = min(connection.due_down, max(connection.due_down - by, soon))

    def _stall(self, direction: Direction, by: int) -> None:
        for way in direction.ways:
            self._waiting[way].stalls += by
            self._waiting[way].show()

    def _freeze(self, by: int) -> None:
        for room in self._waiting.values():
            room.freezes += by
            room.show()
        if not self._held[Freeze()]:
            deferred, self._deferred = self._deferred, []
            for operation in deferred:
                self.apply(operation)

    def _drop_delayed(self) -> None:
        """Drop what is under way for longer than the link now takes: it belongs to connections that are closed next."""
        self._up.drop_after(self._clock.now + self._latency)
        self._down.drop_after(self._clock.now + self._latency)

    def repair(self) -> None:
        """Lift every condition, and close every connection with them."""
        self._held.clear()
        self._deferred.clear()
        for room in self._waiting.values():
            room.stalls = room.freezes = 0
            room.show()
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

    def _put_up(self, connection: ModelConnection, item: ClientMessage | Upgrade | CloseSignal) -> None:
        due = self._clock.now + self._latency
        if self.extra_latency or due < self._delayed_until:
            due = connection.due_up = self._delayed(due, item, connection.due_up)
            self._up.insert(due, (connection, item))
        else:
            self._up.put(due, (connection, item))

    def _put_down(
        self, connection: ModelConnection, item: ServerMessage | Upgrade | CloseSignal, departs: Instant
    ) -> None:
        due = departs + self._latency
        if self.extra_latency or due < self._delayed_until:
            due = connection.due_down = self._delayed(due, item, connection.due_down)
            self._down.insert(due, (connection, item))
        else:
            self._down.put(due, (connection, item))

    def _delayed(self, due: Instant, item: object, last: Instant) -> Instant:
        """When an item arrives that is due with the mean delay: a bare close waits only behind what was sent before."""
        if isinstance(item, CloseSignal) and item.is_bare:
            found = max(due - self.extra_latency, last)
        else:
            found = max(due + self._spread * (2.0 * self._draw(next(self._draws)) - 1.0), last)
        self._delayed_until = max(self._delayed_until, found)
        return found

    def _dialled(self, connection: ModelConnection) -> None:
        if connection.client_gone:
            return
        if self.refusing:
            connection.client_gone = connection.server_gone = True
            connection.client.failed(connection, REFUSED)
            return
        self.connections[connection] = None
        if self._relay and self._server.is_up:
            self._thread.do(self._relay, partial(self._request, connection))
        else:
            self._request(connection)

    def _request(self, connection: ModelConnection) -> None:
        """The proxy has reached the server, and passes the request on."""
        if not connection.client_gone:
            self._put_up(connection, UPGRADE)

    def _vanished(self, direction: Direction) -> bool:
        """Whether what arrives now met a hole at the proxy.

        A hole that is over need not be remembered: what it took belonged to connections that are closed by now.
        """
        return self._clock.now - self._half >= self._hole_since[direction]

    def _arrive_up(self, item: UpItem) -> None:
        connection, frame = item
        is_close = isinstance(frame, CloseSignal)
        if not self._waiting_up.takes(item, is_close=is_close, same=lambda other: other[0] is connection):
            self._deliver_up(item)

    def _deliver_up(self, item: UpItem) -> None:
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

    def _arrive_down(self, item: DownItem) -> None:
        connection, frame = item
        is_close = isinstance(frame, CloseSignal) and frame.is_bare
        if not self._waiting_down.takes(item, is_close=is_close, same=lambda other: other[0] is connection):
            self._deliver_down(item)

    def _deliver_down(self, item: DownItem) -> None:
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
