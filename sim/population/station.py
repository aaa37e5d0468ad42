"""The way into one server of a population: production admission in front of the station of both modelled lanes.

Requests must come in order of time. Knows neither clients nor links; both tiers of this lane use it. Nothing can delay
a request later, so it is decided as soon as it arrives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from resilience.policy.backoff import MAX_RETRY_AFTER_S, MIN_RETRY_AFTER_S, clamp_retry_after
from resilience.units import Instant, Seconds

from ..profiles.timelines import TICK_S
from ..station import ServiceTimes
from .crowds import ArrayAdmission, ArrayStation, ExpectedJoins
from .population import Floats
from .rules import StationRules, tick
from .standstill import NO_STANDSTILLS, Standstills

_LEAST_RUN = 3
"""Fewer requests that each find the server idle are decided one by one."""

_LEAST_CROWD, _MOST_CROWD = 256, 1 << 14
"""So many requests are decided as one array; fewer of them one by one, or as a run, which is quicker."""


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
    UNFINISHED = 4
    """Its server ends before its response leaves: no response. Its value is the instant of that end."""


class Arrivals:
    """Requests in order of their ``instants``, and the outcome of the first of them, as far as they have entered.

    ``at``, ``deadlines``: when each arrives and when its client leaves, the latter as an array ``until``.
    ``services``: the service time of each; ``None``: the mean of all. ``answers``, ``values``: of those that have
    entered. ``runs``: for each, up to which one (exclusive) those after it find the server idle if it does; ``done``:
    when it is served then; empty if not known, or not worth it.
    """

    __slots__ = ("answers", "at", "deadlines", "done", "instants", "runs", "services", "until", "values")

    def __init__(self, instants: Floats, deadlines: Floats, services: Sequence[Seconds] | None = None) -> None:
        self.instants, self.until, self.services = instants, deadlines, services
        self.at, self.deadlines = list[float](instants.tolist()), list[float](deadlines.tolist())
        self.answers, self.values = list[int](), list[float]()
        self.runs, self.done = list[int](), list[float]()

    def find_runs(self, service: Seconds, pause: Seconds, deadlines: Floats) -> None:
        """Find which requests arrive so long as ``pause`` after the one before, and are served in time if alone."""
        done = self.instants + service
        alone = (np.diff(self.instants, prepend=-np.inf) >= pause) & (done < deadlines)
        ends = np.flatnonzero(~alone)
        if 2 * len(ends) < len(alone):
            self.runs = np.append(ends, len(alone))[np.searchsorted(ends, np.arange(len(alone)), side="right")].tolist()
            self.done = done.tolist()


class JoinStation:
    """One server's way in. ``served`` counts requests that were served; ``longest_wait`` of them is in seconds.

    ``load``: int64 of shape (seconds, 5), how many requests of each second of the run got each :class:`StationAnswer`.
    ``ends``: the instants, in order, at which the server's process ends; its successor begins with an empty queue.
    ``standstills``: when it stands still, and works on nothing: what arrives meanwhile is admitted, or not, at the end.
    """

    def __init__(
        self,
        rules: StationRules,
        duration: Instant,
        ends: Sequence[Instant] = (),
        standstills: Standstills = NO_STANDSTILLS,
    ) -> None:
        self._rules, self._ends = rules, [*ends, math.inf]
        self._standstills = standstills or None
        self._begin_process()
        self._takes_crowds = rules.slots == 1 and not rules.backlog and not standstills
        self._times, self._mean = ServiceTimes(rules.distribution, rules.sigma), rules.service
        self._pause = max(rules.service, math.ceil(1 / (rules.joins_per_s * TICK_S)) * TICK_S) + TICK_S
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
        answer, value = self._decide(now, deadline, self._mean if service is None else service)
        self.load[int(now), answer] += 1
        return answer, value

    def expect(self, instants: Floats, deadlines: Floats, services: Sequence[Seconds] | None = None) -> Arrivals:
        """Requests that are known beforehand: float64 of one shape, ``instants`` in order; see :class:`Arrivals`."""
        arrivals = Arrivals(instants, deadlines, services)
        if services is None:
            arrivals.find_runs(self._mean, self._pause, deadlines)
        return arrivals

    def enter_many(self, arrivals: Arrivals, past: int, soonest: Seconds) -> bool:
        """The next requests arrive, before the one of number ``past``; returns whether all of them are served in time.

        If not, only those have entered that no return could precede. A client whose response leaves at its deadline or
        later has left; that client comes back ``soonest`` seconds after its request at the earliest, one that is
        rejected after its retry time, and all others without a response after ``soonest`` seconds.
        """
        at, deadlines, services = arrivals.at, arrivals.deadlines, arrivals.services
        answers, values, decide, mean = arrivals.answers, arrivals.values, self._decide, self._mean
        index, horizon, runs = len(answers), math.inf, arrivals.runs
        crowd = index if self._takes_crowds and services is None else past
        while index < past:
            now = at[index]
            if now >= horizon:
                break
            if index >= crowd and past - index >= _LEAST_CROWD:
                horizon = self._crowd(arrivals, past, horizon)
                if len(answers) - index < _LEAST_CROWD:
                    crowd = len(answers) + _LEAST_CROWD
                index = len(answers)
                continue
            if runs and horizon == math.inf and (stop := self._run(arrivals, index, past)) > index:
                answers.extend([StationAnswer.SERVED] * (stop - index))
                values.extend(arrivals.done[index:stop])
                index = stop
                continue
            until = deadlines[index]
            answer, value = decide(now, until, mean if services is None else services[index])
            answers.append(answer)
            values.append(value)
            index += 1
            if answer is StationAnswer.REJECTED:
                horizon = min(horizon, now + (value if self._standstills is None else min(value, soonest)))
            elif answer is not StationAnswer.SERVED or value >= until:
                horizon = min(horizon, now + soonest)
        return horizon == math.inf

    def count(self, arrivals: Arrivals) -> None:
        """Add all that have entered to the load, once."""
        answers = np.array(arrivals.answers, np.int64)
        np.add.at(self.load, (arrivals.instants[: len(answers)].astype(np.int64), answers), 1)

    def _begin_process(self) -> None:
        rules = self._rules
        self._admission = ArrayAdmission(rules.joins_per_s, rules.admission_seconds)
        self._station = ArrayStation(rules.slots, rules.backlog, wasted_work=rules.wasted_work)

    def _end_processes(self, now: Instant) -> None:
        """Begin the process that is there now, if the last one has ended."""
        while now >= self._ends[0]:
            del self._ends[0]
            self._begin_process()

    def _decide(self, now: Instant, until: Instant, service: Seconds) -> tuple[StationAnswer, float]:
        if now >= self._ends[0]:
            self._end_processes(now)
        still = self._standstills  # the station's time stands still with its process, that of the admission does not
        worked = now if still is None else still.worked(now)
        if self._station.is_full(worked):
            return StationAnswer.DROPPED, 0.0
        advice = clamp_retry_after(self._admission.try_admit(now if still is None else still.reads_at(now)))
        if advice is not None:
            return StationAnswer.REJECTED, advice
        if still is None:
            value = self._station.settle(now, until, service)
        else:
            value = still.instant_of(self._station.settle(worked, still.worked(until), service))
        if value == math.inf:
            return StationAnswer.SKIPPED, value
        if value >= self._ends[0]:
            return StationAnswer.UNFINISHED, self._ends[0]
        self.served += 1
        wait = value - service - now
        if wait > self.longest_wait:  # noqa: PLR1730 - a call of max() for each request
            self.longest_wait = wait
        return StationAnswer.SERVED, value

    def _run(self, arrivals: Arrivals, first: int, past: int) -> int:
        """Serve a run of requests each of which finds the server idle; returns the first that is not among them.

        An idle server remembers nothing, so the last one of the run leaves it as all of them do.
        """
        stop, now = min(arrivals.runs[first], past), arrivals.at[first]
        if stop - first < _LEAST_RUN or arrivals.done[first] >= arrivals.deadlines[first]:
            return first
        self._end_processes(now)
        if arrivals.done[stop - 1] >= self._ends[0]:
            return first
        still, worked = self._standstills, now
        if still is not None:
            if still.overlap(now, arrivals.done[stop - 1]):
                return first
            worked = still.worked(now)
        if self._admission.backlog(now) or not self._station.is_idle(worked):
            return first
        last = stop - 1
        self._decide(arrivals.at[last], arrivals.deadlines[last], self._mean)
        self.served += last - first
        return stop

    def _crowd(self, arrivals: Arrivals, past: int, horizon: Instant) -> Instant:
        """Decide the next requests while the server is busy, none as late as ``horizon``; returns the new horizon.

        That is when the first of those that are rejected may be back. What is served too late is not decided here. A
        server that stands still takes no crowds: its station's time is not that of its admission then.
        """
        first = len(arrivals.answers)
        chosen = slice(first, min(past, first + _MOST_CROWD))
        instants, ends = arrivals.instants[chosen], self._ends[0]
        joins = self._admission.expect(instants)
        admitted = joins.admitted
        values = np.clip(joins.retry, MIN_RETRY_AFTER_S, MAX_RETRY_AFTER_S)
        served = np.flatnonzero(admitted)
        done = self._station.expect(instants[served], self._mean)
        values[served] = np.inf
        values[served[: len(done)]] = done
        instants = instants[: len(values)]
        back = np.where(admitted, np.inf, instants + values)
        horizons = np.minimum.accumulate(np.append(horizon, back))
        last = np.minimum(arrivals.until[chosen][: len(values)], ends)
        stops = (instants >= np.minimum(horizons[:-1], ends)) | (admitted & (values >= last))
        count = int(np.argmax(stops)) if stops.any() else len(stops)
        if not count:
            return horizon
        self._take(arrivals, joins, values[:count])
        return float(horizons[count])

    def _take(self, arrivals: Arrivals, joins: ExpectedJoins, values: Floats) -> None:
        """These requests of a crowd have come."""
        admitted = joins.admitted[: len(values)]
        self._admission.take(joins, len(values))
        ends = values[admitted]
        if len(ends):
            first = len(arrivals.answers)
            waits = ends - self._mean - arrivals.instants[first : first + len(values)][admitted]
            self._station.take(float(ends[-1]))
            self.served += len(ends)
            self.longest_wait = max(self.longest_wait, float(waits.max()))
        arrivals.answers.extend(np.where(admitted, StationAnswer.SERVED, StationAnswer.REJECTED).tolist())
        arrivals.values.extend(values.tolist())
