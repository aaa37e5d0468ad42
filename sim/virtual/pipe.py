"""One direction of a connection: bytes in order, a window, a latency, and obstructions.

Knows time and order; not the ends of the connection, nor the fault behind an obstruction. Nothing here calls a protocol
from inside another protocol's call: a remote effect is seen one turn of the loop later at the earliest.

A pipe has at most one entry with the delivery scheduler, which has one timer per time, so that a broadcast to hundreds
of connections costs one timer. Packets that arrive at the same time are delivered in the order of the pipes' numbers,
whatever the order of writing: a sender that iterates over a set of connections therefore does not change the history.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from enum import Enum, IntFlag
from operator import attrgetter
from typing import Protocol

from resilience.units import Instant, Seconds

from .loop import VirtualLoop
from .shaping import Shaping

WINDOW_BYTES = 64 * 1024
"""Bytes that may be in flight or unread in one direction before the sender has to keep the rest."""

LatencySource = Seconds | Callable[[float], Seconds]
"""One way, seconds; or those seconds as a function of a uniform number in [0, 1), drawn for each packet."""

DelaySource = Callable[[float], Seconds]
"""Seconds as a function of a uniform number in [0, 1), drawn for each packet."""

_by_number = attrgetter("number")


PacketDraw = Callable[[int, int], float]
"""The uniform number in [0, 1) of a pipe's packet, by the numbers of both."""

_NO_LIMITS: Mapping[int, int] = {}


def latency_of(source: LatencySource, draw: PacketDraw, pipe: int, packet: int) -> Seconds:
    """How long this packet of this pipe takes, seconds."""
    return max(source(draw(pipe, packet)), 0.0) if callable(source) else source


class ControlSignal(Enum):
    """Control signals of a pipe."""

    FIN = "the sender is done"
    RST = "the connection is gone"


class Obstruction(IntFlag):
    """A reason why a pipe does not deliver; several may apply."""

    OPENING = 1  # the receiver's protocol is not connected yet
    FROZEN = 2  # nothing passes
    PAUSED = 4  # the receiver does not read: only a reset gets through
    STALLED = 8  # bytes wait; signals wait only behind bytes
    HOLE = 16  # bytes are dropped, signals pass
    SEVERED = 32  # the other end is gone: every write is answered with a reset
    SUSPENDED = 64  # the receiver's process stands still: everything waits in its system's buffers


_OPENING, _FROZEN, _PAUSED, _STALLED, _HOLE, _SEVERED, _SUSPENDED = (flag.value for flag in Obstruction)
_HOLDING = _OPENING | _FROZEN | _PAUSED | _STALLED | _SUSPENDED
_LOSING = _HOLE | _SEVERED


class End(Protocol):
    """What a pipe needs of the transport at either end."""

    inbound: Pipe
    is_lost: bool

    def feed(self, data: bytes) -> None:
        """Bytes arrived."""

    def feed_mark(self, mark: ControlSignal) -> None:
        """A control signal arrived."""

    def drained(self) -> None:
        """Part of the backlog was sent."""


class DeliveryScheduler:
    """Wakes pipes when their next packet arrives.

    ``order``: a number in [0, 1) for each batch and pipe by their numbers; pipes of one instant deliver in its order,
    without one in the order of their own numbers.
    """

    def __init__(self, loop: VirtualLoop, order: Callable[[int, int], float] | None = None) -> None:
        self.loop = loop
        self._order, self._shuffled_batches = order, 0
        self._batches: dict[Instant, list[Pipe]] = {}
        self._context = Context()

    def schedule(self, when: Instant, pipe: Pipe) -> None:
        """Have the pipe deliver at ``when``."""
        batch = self._batches.get(when)
        if batch is None:
            self._batches[when] = [pipe]
            self.loop.call_at(when, self._deliver, when, context=self._context)
        else:
            batch.append(pipe)

    def soon(self, callback: Callable[..., object], *args: object, context: Context | None = None) -> None:
        """Run a callback in the next turn, in this context, or in an empty one."""
        self.loop.call_soon(callback, *args, context=context or self._context)

    def _deliver(self, when: Instant) -> None:
        batch = self._batches.pop(when)
        if len(batch) > 1:
            batch.sort(key=_by_number)
            if self._order is not None:
                self._shuffle(batch, self._order)
        for pipe in batch:
            pipe.deliver(when)

    def _shuffle(self, batch: list[Pipe], order: Callable[[int, int], float]) -> None:
        self._shuffled_batches += 1
        number = self._shuffled_batches
        batch.sort(key=lambda pipe: order(number, pipe.number))


class Pipe:
    """One direction of a connection: in order, each packet after the latency, never more than a window in flight.

    ``number`` orders deliveries at the same time. ``draw(number, n)`` is the uniform number of its n-th packet, of
    which the network has drawn those up to ``packets``. The window opens again as soon as the receiver has the bytes,
    without a way back.

    ``delay``: how much later bytes arrive, a signal only behind them; ``shaping``: how bytes leave the proxy, if not at
    once; ``close_delay``: how much later a close of the sender arrives, seconds; ``limits``: for each limit by its
    number, how many bytes may still pass until ``on_limit``.
    """

    __slots__ = (
        "_backlog",
        "_blocks",
        "_booked",
        "_busy_until",
        "_deliveries",
        "_draw",
        "_last",
        "_loop",
        "_packets",
        "_queue",
        "_under_way",
        "backlog_size",
        "close_delay",
        "delay",
        "latency",
        "limits",
        "number",
        "on_limit",
        "shaping",
        "sink",
        "source",
        "window",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - all that a direction is
        self,
        deliveries: DeliveryScheduler,
        number: int,
        latency: LatencySource,
        draw: PacketDraw,
        window: int = WINDOW_BYTES,
        packets: int = 0,
    ) -> None:
        self._deliveries, self._loop = deliveries, deliveries.loop
        self.number, self.latency, self._draw, self.window = number, latency, draw, window
        self._queue: deque[tuple[Instant, bytes | ControlSignal]] | None = None
        self._backlog: deque[bytes | ControlSignal] | None = None
        self.backlog_size = self._under_way = 0
        self._blocks = _OPENING
        self._booked = math.inf
        self._last = -math.inf
        self._packets = packets
        self._busy_until = -math.inf
        self.delay: DelaySource | None = None
        self.close_delay: Seconds = 0.0
        self.shaping: Shaping | None = None
        self.limits: Mapping[int, int] = _NO_LIMITS
        self.on_limit: Callable[[], None] = _nothing
        self.source: End
        self.sink: End

    # The sender's side.

    def send(self, data: bytes) -> None:
        """Send bytes, or append them to the backlog if the window is full."""
        size = len(data)
        if self._blocks & _LOSING:
            if self._blocks & _SEVERED:
                self._send_reset_back()
        elif self.limits:
            self._send_limited(data)
        elif self._backlog is not None or self._under_way + size > self.window:
            self.backlog_size += size
            self._backlog = backlog = deque() if self._backlog is None else self._backlog
            backlog.extend(data[at : at + self.window] for at in range(0, size, self.window))
            self._admit(backlog)
        else:
            self._under_way += size
            if self.shaping is None:
                self._post_at(self._loop.now, data)
            else:
                self._post(data)

    def _send_limited(self, data: bytes) -> None:
        """Send no more than the limits allow; behind the last byte comes a FIN, and nothing more."""
        room = min(self.limits.values())
        self.limits, limits = _NO_LIMITS, {number: left - len(data) for number, left in self.limits.items()}
        self.send(data[:room])
        if room > len(data):
            self.limits = limits
            return
        self.finish()
        self._blocks |= _SEVERED
        self.on_limit()

    def finish(self) -> None:
        """Send a FIN behind all bytes."""
        if self._backlog is not None:
            self._backlog.append(ControlSignal.FIN)
        elif not self._blocks & _SEVERED:
            self._post(ControlSignal.FIN, self.close_delay)

    def discard(self, mark: ControlSignal) -> None:
        """Drop all bytes that have not arrived; only the signal still arrives."""
        if not self._blocks & _SEVERED:
            self._purge()
            self._post(mark, self.close_delay)

    def sever(self, mark: ControlSignal) -> None:
        """Cut the pipe: its end sees the signal one latency from now, and the sender's bytes are lost."""
        if not self._blocks & _SEVERED:
            self._purge()
            self._post(mark)
        self._blocks |= _SEVERED
        self._deliveries.soon(self.source.drained)

    def draw_latency(self) -> Seconds:
        """The latency of the next packet, seconds."""
        latency = self.latency
        self._packets += 1
        return latency_of(latency, self._draw, self.number, self._packets)

    def hasten(self) -> None:
        """Have everything under way arrive one latency from now at the latest: the proxy no longer holds it back."""
        latest = self._loop.now + self.draw_latency()
        if self._queue is not None:
            self._queue = deque((min(arrival, latest), item) for arrival, item in self._queue)
        self._last, self._busy_until = min(self._last, latest), -math.inf
        self._reschedule()

    def _post(self, item: bytes | ControlSignal, later: Seconds = 0.0) -> None:
        if self.shaping is None:
            self._post_at(self._loop.now + later, item)
        elif isinstance(item, bytes):
            for leaves, piece in self.shaping.leave(item, max(self._busy_until, self._loop.now)):
                self._busy_until = leaves
                self._post_at(leaves, piece)
        else:
            self._post_at(max(self._busy_until, self._loop.now) + later, item)

    def _post_at(self, leaves: Instant, item: bytes | ControlSignal) -> None:
        latency = self.latency
        arrival = leaves + (latency if isinstance(latency, float) else self.draw_latency())
        if self.delay is not None and isinstance(item, bytes):
            self._packets += 1
            arrival += self.delay(self._draw(self.number, self._packets))
        if arrival < self._last:  # noqa: PLR1730 - max() is slow, and this is the hot path
            arrival = self._last
        self._last = arrival
        if self._queue is None:
            self._queue = deque(((arrival, item),))
        else:
            self._queue.append((arrival, item))
        if arrival < self._booked:
            self._schedule(arrival)

    def _admit(self, backlog: deque[bytes | ControlSignal]) -> None:
        while backlog:
            item = backlog.popleft()
            if isinstance(item, bytes):
                room = self.window - self._under_way
                if len(item) > room:
                    backlog.appendleft(item[room:])
                    item = item[:room]
                if not item:
                    break
                self._under_way += len(item)
                self.backlog_size -= len(item)
            self._post(item)
        if not backlog:
            self._backlog = None

    def _purge(self) -> None:
        self._backlog = self._queue = None
        self._under_way = self.backlog_size = 0
        self._last = -math.inf

    def _send_reset_back(self) -> None:
        back = self.source.inbound
        if not back.resets():
            back._post(ControlSignal.RST, back.close_delay)  # noqa: SLF001 - the other direction of this connection

    def resets(self) -> bool:
        """Whether a reset is in flight."""
        return any(item is ControlSignal.RST for _, item in self._queue or ())

    # Obstructions.

    def block(self, why: Obstruction) -> None:
        """Add an obstruction; a black hole also drops the bytes in flight."""
        if why is Obstruction.HOLE and not self._blocks & _HOLE:
            self._drop_in_flight()
        self._blocks |= why.value

    def unblock(self, why: Obstruction) -> None:
        """Remove the obstruction; packets that waited for it alone are delivered now."""
        if self._blocks & why.value:
            self._blocks &= ~why.value
            self._reschedule()

    def _drop_in_flight(self) -> None:
        under_way = [entry for entry in self._queue or () if isinstance(entry[1], ControlSignal)]
        kept = [item for item in self._backlog or () if isinstance(item, ControlSignal)]
        self._purge()
        self._queue = deque(under_way) if under_way else None
        for mark in kept:
            self._post(mark)
        self._reschedule()
        self._deliveries.soon(self.source.drained)

    # The receiver's side.

    def deliver(self, now: Instant) -> None:
        """Deliver what has arrived: all bytes up to the first signal, or the signal."""
        if self._booked <= now:
            self._booked = math.inf
        queue = self._queue
        if queue is None or (self._blocks & _HOLDING and self._held(queue[0][1])):
            return
        if queue[0][0] > now:
            self._reschedule()
            return
        item = queue.popleft()[1]
        if queue and queue[0][0] <= now and isinstance(item, bytes):
            item = self._gather(item, queue, now)
        if not queue:
            self._queue = None
        if isinstance(item, bytes):
            self._hand_over(item)
        else:
            self.sink.feed_mark(item)
        if self._queue is not None:
            self._reschedule()

    def _hand_over(self, data: bytes) -> None:
        if self.sink.is_lost:
            self._blocks |= _SEVERED
            self._purge()
            self._send_reset_back()
            return
        self._under_way -= len(data)
        self.sink.feed(data)
        if self._backlog is not None:
            self._admit(self._backlog)
            self.source.drained()

    @staticmethod
    def _gather(first: bytes, queue: deque[tuple[Instant, bytes | ControlSignal]], now: Instant) -> bytes:
        parts = [first]
        while queue and queue[0][0] <= now:
            item = queue[0][1]
            if isinstance(item, ControlSignal):
                break
            parts.append(item)
            queue.popleft()
        return b"".join(parts)

    def _held(self, item: bytes | ControlSignal) -> bool:
        blocks = self._blocks
        if blocks & (_OPENING | _FROZEN | _SUSPENDED):
            return True
        if item is ControlSignal.RST:
            return False
        return bool(blocks & _PAUSED) or (bool(blocks & _STALLED) and isinstance(item, bytes))

    def _reschedule(self) -> None:
        if self._queue is not None:
            arrival = max(self._queue[0][0], self._loop.now)
            if arrival < self._booked:
                self._schedule(arrival)

    def _schedule(self, arrival: Instant) -> None:
        self._booked = arrival
        self._deliveries.schedule(arrival, self)

    def dispose(self) -> None:
        """Both ends are gone; drop the references to them."""
        self._purge()
        self.on_limit = _nothing
        del self.source, self.sink


def _nothing() -> None:
    """Does nothing where no limit was set."""
