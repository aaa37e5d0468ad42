"""A station: jobs in order of arrival, a few slots, one service time. Knows nothing of what a job is.

Its own slot pool, since ``simpy.Resource`` takes time in proportion to its queue to withdraw one request: here nobody
withdraws; a job that nobody wants any more is noticed when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from resilience.units import Seconds

from .clock import DelayLine, SimEnvironment

J = TypeVar("J")


class Station(Generic[J]):
    """``slots`` jobs at once, each for ``service`` seconds, then ``done``.

    ``wanted`` is asked when a job's turn comes: one that is not wanted is skipped and costs nothing. To model wasted
    work, want everything and let ``done`` find out.
    """

    def __init__(
        self,
        clock: SimEnvironment,
        slots: int,
        service: Seconds,
        *,
        wanted: Callable[[J], bool],
        done: Callable[[J], None],
    ) -> None:
        self._clock, self._service, self._slots = clock, service, slots
        self._wanted, self._done = wanted, done
        self._free = slots
        self._queue: deque[J] = deque()
        self._in_service: DelayLine[J] = DelayLine(clock, self._finish)

    @property
    def backlog(self) -> Seconds:
        """The seconds of work that wait for a slot, were all of it wanted."""
        return len(self._queue) * self._service / self._slots

    def enter(self, job: J) -> None:
        """A job arrives."""
        self._queue.append(job)
        self._serve()

    def _serve(self) -> None:
        while self._free and self._queue:
            job = self._queue.popleft()
            if self._wanted(job):
                self._free -= 1
                self._in_service.put(self._clock.now + self._service, job)

    def _finish(self, job: J) -> None:
        self._free += 1
        self._done(job)
        self._serve()
