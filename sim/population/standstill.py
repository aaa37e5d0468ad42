"""When the process of a server stands still (SIGSTOP), and what that moves: reading, work, deadlines. Pure.

Meanwhile its system takes connections and bytes, and nothing is answered. When the process continues it reads what has
arrived, in order; then its timers ring, and it gives the time back to every peer (:func:`extended`). How late it is
depends in production on its first deadline that has passed; a server of many participants has one at every moment, so
here the whole standstill counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from resilience.policy.elementwise import greater
from resilience.policy.failure_detectors import LAG_TOLERANCE_S, extended
from resilience.units import Instant, Seconds

from ..profiles.timelines import TICK_S, OutageTimelines

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Standstill(NamedTuple):
    """One of them, ``start`` < ``end``; instants on the grid."""

    start: Instant
    end: Instant

    @property
    def lag(self) -> Seconds:
        """What the server gives back to its peers."""
        length = self.end - self.start
        return length if length > LAG_TOLERANCE_S else 0.0

    def extend(self, deadline: Instant, longest: Seconds) -> Instant:
        """A peer's ``deadline`` that had not passed before; it acts on none before the end. Of arrays as well."""
        return greater(extended(deadline, self.lag, self.end, longest=longest) if self.lag else deadline, self.end)


class Standstills:
    """All of one server, in order and apart."""

    __slots__ = ("_each", "_ends", "_starts", "_stood")

    def __init__(self, each: Sequence[tuple[Instant, Instant]] = ()) -> None:
        self._each = [Standstill(*one) for one in each]
        self._starts = [one.start for one in self._each]
        self._ends = [one.end for one in self._each]
        self._stood = [0.0]
        for one in self._each:
            self._stood.append(self._stood[-1] + (one.end - one.start))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._each)

    @property
    def pairs(self) -> tuple[tuple[Instant, Instant], ...]:
        """Start and end of each, as :class:`~sim.population.population.Population` keeps them."""
        return tuple((one.start, one.end) for one in self._each)

    def __iter__(self) -> Iterator[Standstill]:
        """In order."""
        return iter(self._each)

    def reads_at(self, at: Instant) -> Instant:
        """When the process reads what arrives at this instant."""
        last = bisect_right(self._starts, at) - 1
        return self._ends[last] if last >= 0 and at < self._ends[last] else at

    def read_instants(self, at: Floats) -> Floats:
        """The same of many instants."""
        for one in self._each:
            at = np.where((at >= one.start) & (at < one.end), one.end, at)
        return at

    def worked(self, at: Instant) -> Instant:
        """How long the process has run until this instant."""
        last = bisect_right(self._starts, at) - 1
        return at if last < 0 else min(at, self._starts[last]) - self._stood[last] + max(at - self._ends[last], 0.0)

    def instant_of(self, worked: Instant) -> Instant:
        """When the process has run for so long."""
        for number, start in enumerate(self._starts):
            if worked <= start - self._stood[number]:
                return worked + self._stood[number]
        return worked + self._stood[-1]

    def overlap(self, first: Instant, last: Instant) -> bool:
        """Whether the process stands still at some time between these instants."""
        return any(one.start <= last and first <= one.end for one in self._each)

    def meet(self, start: Floats, end: Floats, frozen: Flags) -> Flags:
        """Which of these outages meet a standstill but are not just that one; ``frozen`` are those of its kind."""
        met = np.zeros(len(start), np.bool_)
        for one in self._each:
            met |= (start <= one.end) & (end >= one.start) & ~(frozen & (start == one.start) & (end == one.end))
        return met

    def follow_soon(self, start: Floats, within: Seconds) -> Flags:
        """Which of these outages begin in a standstill, or less than ``within`` seconds after its end."""
        met = np.zeros(len(start), np.bool_)
        for one in self._each:
            met |= (start >= one.start) & (start < one.end + within)
        return met

    def extend_all(self, deadlines: Floats, longest: Seconds) -> Floats:
        """The ``deadlines`` of peers that are never heard again, as all standstills extend them; infinite for none."""
        deadlines = deadlines.copy()
        for one in self._each:
            ahead = np.isfinite(deadlines) & (deadlines >= one.start)
            deadlines[ahead] = cast("Callable[..., Floats]", one.extend)(deadlines[ahead], longest)
        return deadlines


NO_STANDSTILLS = Standstills()


# a standstill as an outage of every participant -----------------------------------------------------------------------


class Pieces(NamedTuple):
    """What is left of a standstill, for each of its parts: ``who`` it strikes, and from when to when."""

    who: npt.NDArray[np.int64]
    start: Floats
    end: Floats


def around_outages(timelines: OutageTimelines, start: Instant, end: Instant) -> Pieces:
    """A standstill of all participants, cut around their other outages, a tick apart.

    An outage keeps its own bounds and its kind, as the link, the client or the server does what it says meanwhile too.
    """
    rows = np.flatnonzero((timelines.end >= start) & (timelines.start <= end))
    everyone, who = np.arange(timelines.participants), timelines.owner[rows]
    owner = np.concatenate([everyone, who])
    starts = np.concatenate([np.full(len(everyone), start), timelines.end[rows] + TICK_S])
    ends = np.concatenate([timelines.start[rows] - TICK_S, np.full(len(everyone), end)])
    first = np.argsort(owner, kind="stable")  # the start of the standstill comes first of each one's, its end last
    last = np.argsort(np.concatenate([who, everyone]), kind="stable")
    owner, starts, ends = owner[first], starts[first], ends[last]
    left = starts < ends
    return Pieces(owner[left], starts[left], ends[left])
