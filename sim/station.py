"""The station at which work waits for a server: some processors, one queue in order of arrival. Pure; time is given.

It has a finite backlog, service times of any distribution, and clients that leave at their timeout. Both lanes with a
modelled server use it. The model lane does not know beforehand when a client leaves, and goes from turn to turn
(:meth:`Station.enter`, :meth:`Station.begin`). The population lane knows each client's deadline when its request
arrives, and so when it is done (:meth:`Station.settle`). Both decide the same; a station is used in one way only.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

from resilience.experiment.costs import ModelCosts, ServiceDistribution
from resilience.units import Instant, Seconds

J = TypeVar("J")

_LEAST_U = 2.0**-54
"""Instead of 0, which the inverse of the normal distribution function cannot take."""


@dataclass(frozen=True)
class ServiceTimes:
    """How service times spread around a mean; ``sigma`` is that of a lognormal one's logarithm."""

    distribution: ServiceDistribution = ServiceDistribution.DETERMINISTIC
    sigma: float = 1.0

    @classmethod
    def of(cls, costs: ModelCosts) -> ServiceTimes:
        """Those of an experiment."""
        return cls(costs.service, costs.service_sigma)

    @property
    def vary(self) -> bool:
        """Whether a service time depends on a random number."""
        return self.distribution is not ServiceDistribution.DETERMINISTIC

    def draw(self, mean: Seconds, u: float) -> Seconds:
        """The service time of this mean for a uniform number in [0, 1), by the inverse of the distribution function."""
        match self.distribution:
            case ServiceDistribution.EXPONENTIAL:
                return -mean * math.log1p(-u)
            case ServiceDistribution.LOGNORMAL:
                normal = NormalDist().inv_cdf(max(u, _LEAST_U))
                return mean * math.exp(self.sigma * normal - self.sigma**2 / 2)
            case _:
                return mean


class Station(Generic[J]):
    """``processors`` requests at once; ``backlog`` may wait for their turn, 0 for no limit.

    A request whose client has left costs its full service if ``wasted_work``, else it is skipped in its turn; it keeps
    its place in the backlog until then, as in a listening socket's queue. Instants must not decrease.
    """

    def __init__(self, processors: int, backlog: int = 0, *, wasted_work: bool = True) -> None:
        self._free: list[Instant] = [-math.inf] * processors
        self._backlog, self._wasted_work = backlog, wasted_work
        self._waiting: deque[tuple[J, Seconds]] = deque()
        self._places: list[Instant] = []
        self._work: Seconds = 0.0

    # from turn to turn ------------------------------------------------------------------------------------------------

    @property
    def work(self) -> Seconds:
        """The seconds until a processor were free, had all requests that wait now been served."""
        return self._work / len(self._free)

    def has_room(self, now: Instant) -> bool:
        """Whether a request that arrives now finds a free processor or a place to wait."""
        return not self._backlog or len(self._waiting) < self._backlog or (not self._waiting and self._free[0] <= now)

    def enter(self, job: J, service: Seconds) -> None:
        """A request arrives, for which there is room; :meth:`begin` says when its turn has come."""
        self._waiting.append((job, service))
        self._work += service

    def begin(self, now: Instant, wanted: Callable[[J], bool]) -> Iterator[tuple[J, Instant]]:
        """Begin what waits while a processor is free: each request and the instant at which it will be done.

        Must be called when one enters, and when one is done. ``wanted`` says of a request whether its client is there.
        """
        waiting, free = self._waiting, self._free
        while waiting and free[0] <= now:
            job, service = waiting.popleft()
            self._work = self._work - service if waiting else 0.0
            if self._wasted_work or wanted(job):
                heapq.heapreplace(free, now + service)
                yield job, now + service

    # all at once ------------------------------------------------------------------------------------------------------

    def is_full(self, now: Instant) -> bool:
        """Whether a request that arrives now finds all processors and all places of the backlog taken."""
        places = self._places
        if not self._backlog:
            return False
        while places and places[0] <= now:
            heapq.heappop(places)
        return len(places) >= len(self._free) + self._backlog

    def is_idle(self, now: Instant) -> bool:
        """Whether all processors are free, so that a request which arrives now is begun at once."""
        return max(self._free) <= now

    def settle(self, now: Instant, deadline: Instant, service: Seconds) -> Instant:
        """A request arrives, for which there is room, and is decided: returns the instant at which it is done.

        Its client leaves at ``deadline``. Infinite for a request that is skipped because its turn comes no earlier.
        """
        free = self._free
        turn = max(free[0], now)
        if turn >= deadline and not self._wasted_work:
            end, leaves = math.inf, turn
        else:
            end = leaves = turn + service
            heapq.heapreplace(free, end)
        if self._backlog:
            heapq.heappush(self._places, leaves)
        return end
