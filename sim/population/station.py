"""The way into one server of a population: production admission in front of the station of both modelled lanes.

Requests must come in order of time. Knows neither clients nor links; both tiers of this lane use it. Nothing can delay
a request later, so it is decided as soon as it arrives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from resilience.policy.admission import AdmissionController
from resilience.policy.backoff import clamp_retry_after
from resilience.units import Instant, Seconds

from ..station import ServiceTimes, Station
from .rules import StationRules, tick


class StationAnswer(IntEnum):
    """The outcome of a request."""

    SERVED = 0
    """Its value is the instant at which its response leaves."""
    REJECTED = 1
    """Its value is the retry time, seconds."""
    DROPPED = 2
    """The backlog is full: no response."""
    SKIPPED = 3
    """Its turn came after its client had left: no response, and no work. Its value is infinite."""


class Batch(NamedTuple):
    """The outcome of the first requests of a sequence. ``all_served``: all of it, each of them in time."""

    answers: list[int]
    values: list[float]
    all_served: bool


class JoinStation:
    """One server's way in. ``served`` counts requests that were served; ``longest_wait`` of them is in seconds.

    ``load``: int64 of shape (seconds, 4), how many requests of each second of the run got each :class:`StationAnswer`.
    """

    def __init__(self, rules: StationRules, duration: Instant) -> None:
        self._admission = AdmissionController(rules.joins_per_s, rules.admission_seconds)
        self._station: Station[None] = Station(rules.slots, rules.backlog, wasted_work=rules.wasted_work)
        self._times, self._mean = ServiceTimes(rules.distribution, rules.sigma), rules.service
        self.served = 0
        self.longest_wait: Seconds = 0.0
        self.load = np.zeros((math.ceil(duration), len(StationAnswer)), np.int64)

    @property
    def services_vary(self) -> bool:
        """Whether :meth:`services` needs numbers."""
        return self._times.vary

    def services(self, numbers: Sequence[float]) -> list[Seconds]:
        """The service times for these uniform numbers, on the grid."""
        return [tick(self._times.draw(self._mean, number)) for number in numbers]

    def enter(self, now: Instant, deadline: Instant, service: Seconds | None = None) -> tuple[StationAnswer, float]:
        """One request arrives, whose client leaves at ``deadline``."""
        batch = self.enter_many([now], [deadline], float("inf"), None if service is None else [service])
        return StationAnswer(batch.answers[0]), batch.values[0]

    def enter_many(
        self,
        arrivals: Sequence[Instant],
        deadlines: Sequence[Instant],
        soonest: Seconds,
        services: Sequence[Seconds] | None = None,
    ) -> Batch:
        """Requests arrive, in order of time, until one of them could be followed by another that is not listed.

        A client whose response leaves at its deadline or later has left; that client comes back ``soonest`` seconds
        after its request at the earliest, one that is rejected after its retry time, one that is dropped after
        ``soonest`` seconds. So a request that arrives later than the first of these instants is not taken.
        ``services``: the service time of each; the mean of all without them.
        """
        settle, is_full, admit = self._station.settle, self._station.is_full, self._admission.try_admit
        answers, values = list[int](), list[float]()
        horizon, longest, served = float("inf"), self.longest_wait, self.served
        times = [self._mean] * len(arrivals) if services is None else services
        for now, until, service in zip(arrivals, deadlines, times, strict=True):
            if now >= horizon:
                break
            if is_full(now):
                answer, value, returns = StationAnswer.DROPPED, 0.0, now + soonest
            elif (advice := clamp_retry_after(admit(now))) is not None:
                answer, value, returns = StationAnswer.REJECTED, advice, now + advice
            elif math.isinf(value := settle(now, until, service)):
                answer, returns = StationAnswer.SKIPPED, now + soonest
            else:
                served += 1
                longest = max(longest, value - service - now)
                answer, returns = StationAnswer.SERVED, now + soonest if value >= until else horizon
            answers.append(answer)
            values.append(value)
            horizon = min(horizon, returns)
        self.served, self.longest_wait = served, longest
        seconds = np.array(arrivals[: len(answers)]).astype(np.int64)
        np.add.at(self.load, (seconds, np.array(answers, np.int64)), 1)
        return Batch(answers, values, math.isinf(horizon))
