"""SimPy as this lane uses it: calls at absolute times, sorted feeds, lazy alarms. Knows nothing of links or machines.

The pending set is SimPy's enemy, not the number of events: whatever shares one delay queues in a :class:`DelayLine`,
which keeps one event in SimPy's heap, and a deadline that moves later never touches the heap (:class:`LazyTimer`).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import simpy
from simpy.core import StopSimulation
from simpy.events import NORMAL, URGENT, Event, EventPriority

from resilience.errors import HarnessError
from resilience.units import Instant

T = TypeVar("T")

NEVER: Instant = float("inf")


class _Call(Event):
    """An event that has already succeeded and does one thing when its time comes (cf. ``simpy.Timeout``)."""

    def __init__(self, clock: SimEnvironment, action: Callable[[Event], None]) -> None:
        self.env, self.callbacks = clock, [action]
        self._ok, self._value = True, None


class SimEnvironment(simpy.Environment):
    """SimPy's environment with *absolute* times, so that a deadline comes at exactly its own value."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.coroutines: list[Coroutine[Any, Any, Any]] = []
        """Those that run as processes: whoever runs the environment closes them when it stops early."""

    def at(self, when: Instant, action: Callable[[Event], None]) -> None:
        """Call ``action`` at ``when``, at once if that has passed. Calls of one instant come in the order of asking."""
        self._push(when, NORMAL, _Call(self, action))

    def moment(self, when: Instant) -> Event:
        """Return an event at ``when`` that comes before all calls of that instant; a process may wait for it."""
        event = _Call(self, _nothing)
        self._push(when, URGENT, event)
        return event

    def run_until(self, when: Instant) -> None:
        """Let everything before ``when`` happen, and nothing at it."""
        if when > self.now:
            end = _Call(self, StopSimulation.callback)
            self._push(when, URGENT, end)
            self.run()

    @property
    def pending(self) -> int:
        """How many events wait in SimPy's heap."""
        return len(self._queue)

    def _push(self, when: Instant, priority: EventPriority, event: Event) -> None:
        heapq.heappush(self._queue, (max(when, self._now), priority, next(self._eid), event))


def _nothing(_: Event) -> None:
    """A moment that only those who wait for it notice."""


class DelayLine(Generic[T]):
    """Items that come in order of time, each handed to ``deliver`` at its time. One SimPy event, however many wait."""

    __slots__ = ("_armed", "_clock", "_deliver", "_items")

    def __init__(self, clock: SimEnvironment, deliver: Callable[[T], None]) -> None:
        self._clock, self._deliver = clock, deliver
        self._items: deque[tuple[Instant, T]] = deque()
        self._armed = False

    def put(self, when: Instant, item: T) -> None:
        """Deliver ``item`` at ``when``; :class:`~resilience.errors.HarnessError` if the last one is due later."""
        if self._items and when < self._items[-1][0]:
            raise HarnessError(f"a feed got {when!r} after {self._items[-1][0]!r}: items must come in order of time")
        self._items.append((when, item))
        if not self._armed:
            self._arm()

    def drop_after(self, when: Instant) -> None:
        """Drop every item that is due later than ``when``."""
        while self._items and self._items[-1][0] > when:
            self._items.pop()

    def _arm(self) -> None:
        self._armed = True
        self._clock.at(self._items[0][0], self._fire)

    def _fire(self, _: Event) -> None:
        items, now = self._items, self._clock.now
        while items and items[0][0] <= now:
            self._deliver(items.popleft()[1])
        self._armed = False
        if items:
            self._arm()


class LazyTimer:
    """Rings by the deadline set last, or earlier and then again: its owner must look whether anything is due.

    Calls already in SimPy's heap are kept and used again, earliest last, so that a client whose deadlines jump to and
    fro (a dial's timeout, a delay, a dial's timeout) has two of them there and not one for each jump.
    """

    __slots__ = ("_callback", "_calls", "_clock")

    def __init__(self, clock: SimEnvironment, ring: Callable[[], None]) -> None:
        self._clock, self._callback = clock, ring
        self._calls: list[Instant] = []

    def set(self, deadline: Instant | None) -> None:
        """Be sure to ring by ``deadline``; only one that is earlier than every call under way costs anything."""
        if deadline is not None and (not self._calls or deadline < self._calls[-1]):
            self._calls.append(deadline)
            self._clock.at(deadline, self._fire)

    def _fire(self, _: Event) -> None:
        self._calls.pop()
        self._callback()
