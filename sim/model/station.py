"""Drives a station in SimPy's time: turns come, work is done, and a suspended process does neither.

The processors of a :class:`StationDriver` are its own; a :class:`ThreadStation` is one thread of those that share the
machine's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from simpy.events import Event

from resilience.units import Seconds

from ..station import Station
from .clock import SimEnvironment
from .threads import ModelThread

J = TypeVar("J")


class StationDriver(Generic[J]):
    """The station of one server process after another.

    ``wanted`` is asked of a job in its turn, ``done`` is called after its service.
    """

    def __init__(
        self,
        clock: SimEnvironment,
        make: Callable[[], Station[J]],
        *,
        wanted: Callable[[J], bool],
        done: Callable[[J], None],
    ) -> None:
        self._clock, self._make = clock, make
        self._wanted, self._done = wanted, done
        self._station = make()
        self._is_paused = False
        self._finished: list[J] = []

    @property
    def work(self) -> Seconds:
        """The seconds until a processor were free, had all jobs that wait now been served."""
        return self._station.work

    @property
    def has_room(self) -> bool:
        """Whether a job that arrives now finds a free processor or a place to wait."""
        return self._station.has_room(self._clock.now)

    def enter(self, job: J, service: Seconds) -> None:
        """A job arrives, for which there is room."""
        self._station.enter(job, service)
        self._serve()

    def pause(self) -> None:
        """Begin no job and finish none until :meth:`resume`."""
        self._is_paused = True

    def resume(self) -> None:
        """Finish at once what would have been finished meanwhile, and serve again."""
        self._is_paused = False
        finished, self._finished = self._finished, []
        for job in finished:
            self._done(job)
        self._serve()

    def clear(self) -> None:
        """The process is gone, and with it all its work; the next one begins with none."""
        self._station, self._finished, self._is_paused = self._make(), [], False

    def _serve(self) -> None:
        if not self._is_paused:
            for job, end in self._station.begin(self._clock.now, self._wanted):
                self._clock.at(end, partial(self._finish, self._station, job))

    def _finish(self, station: Station[J], job: J, _: Event) -> None:
        if station is not self._station:
            return
        if self._is_paused:
            self._finished.append(job)
            return
        self._done(job)
        self._serve()


class ThreadStation(Generic[J]):
    """The same for a server that is one thread; a job takes longer than its service where processors are short.

    Jobs that are ``late`` wait until no other one is left: an event loop accepts one connection in each of its turns,
    in which it reads all that has arrived over others.
    """

    def __init__(
        self, thread: ModelThread, backlog: int, *, late: Callable[[J], bool], done: Callable[[J], None]
    ) -> None:
        self._thread, self._backlog = thread, backlog
        self._late, self._done = late, done
        self._work: Seconds = 0.0
        self._late_ones = 0

    @property
    def work(self) -> Seconds:
        """The work of all jobs that are not done, seconds at full speed."""
        return self._work

    @property
    def has_room(self) -> bool:
        """Whether a late job that arrives now finds a place to wait."""
        return not self._backlog or self._late_ones <= self._backlog

    def enter(self, job: J, service: Seconds) -> None:
        """A job arrives, for which there is room."""
        late = self._late(job)
        self._work += service
        self._late_ones += late
        self._thread.do(service, partial(self._finish, job, service, late), later=late)

    def pause(self) -> None:
        """Stand still until :meth:`resume`."""
        self._thread.hold()

    def resume(self) -> None:
        """Continue."""
        self._thread.release()

    def clear(self) -> None:
        """The process is gone, and with it all its work; the next one begins with none."""
        self._thread.clear()
        self._work, self._late_ones = 0.0, 0

    def _finish(self, job: J, service: Seconds, late: int) -> None:
        self._late_ones -= late
        self._work = max(self._work - service, 0.0)
        self._done(job)
