"""SimPy as this lane uses it: calls at absolute times, delay lines, lazy timers. Knows nothing of links or machines.

SimPy slows down with the size of its pending set, not with the number of events: items with one common delay queue in a
:class:`DelayLine`, which keeps one event in SimPy's heap, and a deadline that moves later never touches the heap
(:class:`LazyTimer`).
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import simpy
from simpy.core import StopSimulation
from simpy.events import NORMAL, URGENT, Event, EventPriority

from resilience.errors import HarnessError
from resilience.units import Instant, Seconds

T = TypeVar("T")

NEVER: Instant = float("inf")


class _Call(Event):
    """An event that has already succeeded and calls its action at its time (cf. ``simpy.Timeout``)."""

    def __init__(self, clock: SimEnvironment, action: Callable[[Event], None]) -> None:
        self.env, self.callbacks = clock, [action]
        self._ok, self._value = True, None


class SimEnvironment(simpy.Environment):
    """SimPy's environment with *absolute* times, so that a deadline fires at exactly its own value."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.coroutines: list[Coroutine[Any, Any, Any]] = []
        """The running processes; the caller of the environment closes them if it stops early."""

    def at(self, when: Instant, action: Callable[[Event], None]) -> None:
        """Call ``action`` at ``when``, or at once if that has passed; calls at one time in the order of scheduling."""
        self._push(when, NORMAL, _Call(self, action))

    def moment(self, when: Instant) -> Event:
        """Return an event at ``when`` that comes before all calls of that time; a process may wait for it."""
        event = _Call(self, _nothing)
        self._push(when, URGENT, event)
        return event

    def run_until(self, when: Instant) -> None:
        """Run everything before ``when``, and nothing at it."""
        if when > self.now:
            end = _Call(self, StopSimulation.callback)
            self._push(when, URGENT, end)
            self.run()

    @property
    def pending(self) -> int:
        """The number of events in SimPy's heap."""
        return len(self._queue)

    def _push(self, when: Instant, priority: EventPriority, event: Event) -> None:
        heapq.heappush(self._queue, (max(when, self._now), priority, next(self._eid), event))


def _nothing(_: Event) -> None:
    """A moment that only those who wait for it notice."""


class DelayLine(Generic[T]):
    """Items in order of time, each passed to ``deliver`` at its time. One SimPy event, for any number of items."""

    __slots__ = ("_armed", "_clock", "_items", "deliver")

    def __init__(self, clock: SimEnvironment, deliver: Callable[[T], None]) -> None:
        self._clock, self.deliver = clock, deliver
        self._items: deque[tuple[Instant, T]] = deque()
        self._armed = False

    def put(self, when: Instant, item: T) -> None:
        """Deliver ``item`` at ``when``; :class:`~resilience.errors.HarnessError` if the last one is due later."""
        if self._items and when < self._items[-1][0]:
            raise HarnessError(
                f"a delay line received {when!r} after {self._items[-1][0]!r}: items must come in order of time"
            )
        self._items.append((when, item))
        if not self._armed:
            self._arm()

    def insert(self, when: Instant, item: T) -> None:
        """Deliver ``item`` at ``when``, before those that are due later and after those that are not."""
        self._items.insert(bisect_right(self._items, when, key=_due), (when, item))
        if self._items[0][1] is item:
            self._arm()

    def advance(self, by: Seconds, *, not_before: Instant) -> None:
        """Have every item come ``by`` seconds earlier, but none earlier than at ``not_before``; none comes later."""
        self._items = deque((min(due, max(due - by, not_before)), item) for due, item in self._items)
        if self._items:
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
            self.deliver(items.popleft()[1])
        self._armed = False
        if items:
            self._arm()


def _due(entry: tuple[Instant, object]) -> Instant:
    return entry[0]


class LazyTimer:
    """Fires at the latest deadline set, or earlier and then again: its owner must check whether anything is due.

    Calls in SimPy's heap are kept and reused, earliest last, so that a client whose deadlines alternate (a dial's
    timeout, a delay, a dial's timeout) has two of them there and not one for each change.
    """

    __slots__ = ("_callback", "_calls", "_clock")

    def __init__(self, clock: SimEnvironment, ring: Callable[[], None]) -> None:
        self._clock, self._callback = clock, ring
        self._calls: list[Instant] = []

    def set(self, deadline: Instant | None) -> None:
        """Fire by ``deadline``; only a deadline earlier than every scheduled call adds one."""
        if deadline is not None and (not self._calls or deadline < self._calls[-1]):
            self._calls.append(deadline)
            self._clock.at(deadline, self._fire)

    def _fire(self, _: Event) -> None:
        self._calls.pop()
        self._callback()
