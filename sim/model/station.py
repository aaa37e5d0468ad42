"""A station: jobs in order of arrival, a few slots, one service time. Knows nothing of the jobs' content.

It has its own slot pool, because ``simpy.Resource`` takes time in proportion to its queue to withdraw one request. Here
no request is withdrawn; an unwanted job is skipped in its turn.
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

    ``wanted`` is called in a job's turn: an unwanted job is skipped and costs nothing. To model wasted work, want every
    job and handle it in ``done``.
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
        self._is_paused = False
        self._finished: list[J] = []

    @property
    def backlog(self) -> Seconds:
        """The seconds of work that wait for a slot, were all of it wanted."""
        return len(self._queue) * self._service / self._slots

    def enter(self, job: J) -> None:
        """A job arrives."""
        self._queue.append(job)
        self._serve()

    def pause(self) -> None:
        """Begin no job and finish none until :meth:`resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Finish at once what would have been finished meanwhile, and serve again."""
        self._is_paused = False
        finished, self._finished = self._finished, []
        for job in finished:
            self._finish(job)
        self._serve()

    def _serve(self) -> None:
        while not self._is_paused and self._free and self._queue:
            job = self._queue.popleft()
            if self._wanted(job):
                self._free -= 1
                self._in_service.put(self._clock.now + self._service, job)

    def _finish(self, job: J) -> None:
        if self._is_paused:
            self._finished.append(job)
            return
        self._free += 1
        self._done(job)
        self._serve()
