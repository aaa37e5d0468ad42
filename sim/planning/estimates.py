"""How long the participants of a trigger take to return, by arithmetic, and which numbers of processes are worth a run.

Pure. The simulation decides; this says where to look, and which part of the time is the outage's, the ladder's and the
queue's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from resilience.policy.backoff import BackoffPolicy
from resilience.policy.return_window import ReturnWindow, return_window
from resilience.units import Seconds

from .triggers import MOST_PROCESSES, CapacityPlan, Trigger, crowd_of

_AROUND = (0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)
_ABOVE = (1.5, 2.0, 3.0, 5.0)
_STEP = 0.02
"""Numbers of processes so far apart, relative to their size, are tried by arithmetic."""
_SHORT = 0.25
"""The uniform number of a short delay; one in four is shorter."""
_MOST_ATTEMPTS = 1000
"""Attempts after which a ladder is taken to have reached its cap."""
_WORTH_S: Seconds = 0.5
"""More processes are worth a run if they shorten the time by so much."""


class TimeToReturn(NamedTuple):
    """The parts of the time until all are back, seconds.

    ``outage``: of the trigger; ``ladder``: until the next attempt after it is due, at most; ``queue``: until the server
    has served everyone once, at its joins per second.
    """

    outage: Seconds
    ladder: Seconds
    queue: Seconds

    @property
    def total(self) -> Seconds:
        """Attempts come while the queue is served, so the longer of the two counts."""
        return self.outage + max(self.ladder, self.queue)


def time_to_return(plan: CapacityPlan, trigger: Trigger, processes: int) -> TimeToReturn:
    """The parts at the busiest of the processes that are left when one of so many is lost."""
    crowd, server = crowd_of(plan, trigger, processes), plan.server
    window = return_window(crowd.connected, server.join_capacity, server.max_return_spread)
    wait = longest_wait(plan.client.backoff, window, trigger.length)
    return TimeToReturn(trigger.length, wait, crowd.struck / server.join_capacity)


def longest_wait(policy: BackoffPolicy, window: ReturnWindow, elapsed: Seconds) -> Seconds:
    """The longest delay that a client may have begun by ``elapsed`` seconds after its loss, if all attempts failed.

    Those whose delays were short are the furthest up their ladder: it climbs by the quarter of the jitter, and takes
    the longest delay of the last rung.
    """
    now, longest, previous = 0.0, 0.0, None
    for attempt in range(1, _MOST_ATTEMPTS):
        if now > elapsed or policy.exhausted(attempt, now):
            break
        longest = policy.delay(attempt, now, 1.0, window, previous)
        previous = policy.delay(attempt, now, _SHORT, window, previous)
        now += previous
    return longest


def fewest_processes(plan: CapacityPlan, trigger: Trigger) -> int:
    """The fewest processes at which everyone is back in time by arithmetic; where none are, those that come closest."""
    best, shortest, number = plan.least_processes, math.inf, plan.least_processes
    while number <= MOST_PROCESSES:
        total = time_to_return(plan, trigger, number).total
        if total <= plan.target.longest_downtime:
            return number
        if total < shortest:
            best, shortest = number, total
        number += math.ceil(number * _STEP)
    return best


def numbers_to_try(plan: CapacityPlan, trigger: Trigger) -> tuple[int, ...]:
    """The numbers of processes, in order: those of the plan, or some around what the trigger needs by arithmetic."""
    if plan.processes:
        return tuple(sorted(set(plan.processes)))
    least, middle = plan.least_processes, fewest_processes(plan, trigger)
    return _between(least, [least, *(round(middle * factor) for factor in _AROUND)])


def numbers_above(plan: CapacityPlan, trigger: Trigger, tried: tuple[int, ...]) -> tuple[int, ...]:
    """Further numbers where none of those tried holds; none if the plan names its own, or more would hardly help."""
    most = tried[-1]
    higher = [number for number in _between(most, [round(most * factor) for factor in _ABOVE]) if number > most]
    if plan.processes or not higher:
        return ()
    gains = time_to_return(plan, trigger, most).total - time_to_return(plan, trigger, higher[-1]).total
    return tuple(higher) if gains > _WORTH_S else ()


def _between(least: int, numbers: list[int]) -> tuple[int, ...]:
    return tuple(sorted({min(max(number, least), MOST_PROCESSES) for number in numbers}))
