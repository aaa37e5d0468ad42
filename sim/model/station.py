"""Drives a station in SimPy's time: turns come, work is done, and a suspended process does neither."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from simpy.events import Event

from resilience.units import Seconds

from ..station import Station
from .clock import SimEnvironment

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
