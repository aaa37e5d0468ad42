"""Processors that several threads share, each of which does one piece of work after another. Pure; time is given.

All threads that have work progress alike: each at full speed while there is a processor for every one of them, else at
``count / threads`` of it (egalitarian processor sharing: Kleinrock 1976, volume 2, section 4.4), as the fair scheduler
of an operating system has it in the mean. Within a thread the work is done in the order of its arrival, but for what is
to be done *later*: that waits until nothing else is left.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import Generic, TypeVar

from resilience.units import Instant, Seconds

J = TypeVar("J")


class _Thread(Generic[J]):
    """What one thread does now, with the seconds that are left of it while it is held, and what waits."""

    __slots__ = ("held", "job", "later", "left", "waiting", "works")

    def __init__(self) -> None:
        self.works = self.held = False
        self.job: J | None = None
        self.left: Seconds = 0.0
        self.waiting: deque[tuple[J, Seconds]] = deque()
        self.later: deque[tuple[J, Seconds]] = deque()


class SharedProcessors(Generic[J]):
    """``count`` processors, or one for each thread where that is 0; ``threads`` are numbers from 0.

    A piece of work is any value; :meth:`finish` returns it. Instants must not decrease. ``next_end``: when the next
    piece of work is done if none is added; infinite without work.
    """

    def __init__(self, count: int, threads: int = 0) -> None:
        self.next_end: Instant = math.inf
        self._count = count
        self._at: Instant = 0.0
        self._given: Seconds = 0.0
        """The work that each thread was given that has had some ever since all were idle."""
        self._ends: list[tuple[Seconds, int]] = []
        self._threads: list[_Thread[J]] = [_Thread() for _ in range(threads)]

    def add_thread(self) -> int:
        """The number of one more thread."""
        self._threads.append(_Thread())
        return len(self._threads) - 1

    def is_idle(self, thread: int) -> bool:
        """Whether a thread has nothing to do."""
        return not self._threads[thread].works

    def add(self, thread: int, job: J, work: Seconds, now: Instant, *, later: bool = False) -> None:
        """A thread has one more piece of work."""
        mine = self._threads[thread]
        if mine.works:
            (mine.later if later else mine.waiting).append((job, work))
            return
        mine.works, mine.job, mine.left = True, job, work
        if not mine.held:
            self._advance(now)
            heapq.heappush(self._ends, (self._given + work, thread))
            self._look_ahead()

    def finish(self) -> J:
        """The next piece of work is done, at :attr:`next_end`: returns it."""
        end, thread = self._ends[0]
        self._at, self._given = self.next_end, max(end, self._given)
        mine = self._threads[thread]
        done, waiting = mine.job, mine.waiting or mine.later
        if waiting:
            mine.job, mine.left = waiting.popleft()
            heapq.heapreplace(self._ends, (self._given + mine.left, thread))
        else:
            mine.works, mine.job = False, None
            heapq.heappop(self._ends)
        self._look_ahead()
        assert done is not None  # noqa: S101 - a thread in the heap does something
        return done

    def hold(self, thread: int, now: Instant) -> None:
        """A thread stands still until :meth:`release`."""
        mine = self._threads[thread]
        if not mine.held and mine.works:
            self._advance(now)
            mine.left = next(end for end, number in self._ends if number == thread) - self._given
            self._drop(thread)
        mine.held = True

    def release(self, thread: int, now: Instant) -> None:
        """A thread that was held continues with its work."""
        mine = self._threads[thread]
        if mine.held and mine.works:
            self._advance(now)
            heapq.heappush(self._ends, (self._given + mine.left, thread))
            self._look_ahead()
        mine.held = False

    def clear(self, thread: int, now: Instant) -> None:
        """A thread drops all its work, what it does now as well, and is held no longer."""
        self._advance(now)
        self._threads[thread] = _Thread()
        self._drop(thread)

    def _drop(self, thread: int) -> None:
        self._ends = [each for each in self._ends if each[1] != thread]
        heapq.heapify(self._ends)
        self._look_ahead()

    @property
    def _speed(self) -> float:
        return min(1.0, self._count / len(self._ends)) if self._count else 1.0

    def _advance(self, now: Instant) -> None:
        if self._ends:
            self._given += (now - self._at) * self._speed
        else:
            self._given = 0.0
        self._at = now

    def _look_ahead(self) -> None:
        ends = self._ends
        self.next_end = self._at + max(ends[0][0] - self._given, 0.0) / self._speed if ends else math.inf
