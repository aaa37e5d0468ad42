"""The way into one server: production admission, a finite backlog, a few slots, one service time, in order of arrival.

Requests must come in order of time. Knows neither clients nor links; both tiers of this lane use it. The ``Station`` of
the model lane is another: its jobs are events, and it can stand still while its server is suspended. This one computes
when a request is done as soon as it arrives, as nothing can delay it later, and so takes arrays.
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

from .rules import StationRules


class StationAnswer(IntEnum):
    """The outcome of a request."""

    SERVED = 0
    """Its value is the instant at which its response leaves."""
    REJECTED = 1
    """Its value is the retry time, seconds."""
    DROPPED = 2
    """The backlog is full: no response."""


class Batch(NamedTuple):
    """The outcome of the first requests of a sequence. ``all_served``: all of it, each of them in time."""

    answers: list[int]
    values: list[float]
    all_served: bool


class JoinStation:
    """One server's way in. ``served`` counts requests; ``longest_wait`` is in seconds.

    ``load``: int64 of shape (seconds, 3), how many requests of each second of the run got each :class:`StationAnswer`.
    """

    def __init__(self, rules: StationRules, duration: Instant) -> None:
        self._admission = AdmissionController(rules.joins_per_s, rules.admission_seconds)
        self._slots, self._service, self._backlog = rules.slots, rules.service, rules.backlog
        self._departures: list[Instant] = [float("-inf")] * (rules.slots + rules.backlog)
        self.served = 0
        self.longest_wait: Seconds = 0.0
        self.load = np.zeros((math.ceil(duration), len(StationAnswer)), np.int64)

    def enter(self, now: Instant) -> tuple[StationAnswer, float]:
        """One request arrives."""
        batch = self.enter_many([now], [float("inf")], float("inf"))
        return StationAnswer(batch.answers[0]), batch.values[0]

    def enter_many(self, arrivals: Sequence[Instant], deadlines: Sequence[Instant], soonest: Seconds) -> Batch:
        """Requests arrive, in order of time, until one of them could be followed by another that is not listed.

        A client whose response leaves at its deadline or later has left; that client comes back ``soonest`` seconds
        after its request at the earliest, one that is rejected after its retry time, one that is dropped after
        ``soonest`` seconds. So a request that arrives later than the first of these instants is not taken.
        """
        departures, places, slots, service = self._departures, len(self._departures), self._slots, self._service
        limited, admit, number = self._backlog > 0, self._admission.try_admit, self.served
        answers, values = list[int](), list[float]()
        horizon, longest = float("inf"), self.longest_wait
        for now, until in zip(arrivals, deadlines, strict=True):
            if now >= horizon:
                break
            if limited and departures[number % places] > now:
                answer, value, returns = StationAnswer.DROPPED, 0.0, now + soonest
            elif (advice := clamp_retry_after(admit(now))) is not None:
                answer, value, returns = StationAnswer.REJECTED, advice, now + advice
            else:
                free = departures[(number - slots) % places]
                value = departures[number % places] = max(now, free) + service
                number += 1
                longest = max(longest, free - now)
                answer, returns = StationAnswer.SERVED, now + soonest if value >= until else horizon
            answers.append(answer)
            values.append(value)
            horizon = min(horizon, returns)
        self.served, self.longest_wait = number, longest
        seconds = np.array(arrivals[: len(answers)]).astype(np.int64)
        np.add.at(self.load, (seconds, np.array(answers, np.int64)), 1)
        return Batch(answers, values, math.isinf(horizon))
