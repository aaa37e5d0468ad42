"""Where a plan looks for its answer: the parts of the time to return, and the numbers of processes that follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.config import ServerConfig
from resilience.policy.backoff import CLASSIC, WINDOW
from resilience.policy.return_window import ReturnWindow, return_window
from sim.planning.estimates import (
    fewest_processes,
    longest_wait,
    numbers_above,
    numbers_to_try,
    time_to_return,
)
from sim.planning.plan_words import limiting_words
from sim.planning.triggers import MOST_PROCESSES, CapacityPlan, PlanTarget, Trigger, TriggerKind


def plan_for(longest_downtime: float = 60.0, **changes: object) -> CapacityPlan:
    """A million participants, 50,000 on one process."""
    trigger = Trigger(TriggerKind.REGION, duration=5.0)
    return CapacityPlan("plan", 1_000_000, PlanTarget(longest_downtime), (trigger,), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("elapsed, wait", [(0.0, 1.0), (0.9, 1.0), (1.0, 2.0), (6.9, 4.0), (7.0, 8.0), (500.0, 30.0)])
def test_the_classic_ladder_is_climbed_by_its_delays(elapsed: float, wait: float) -> None:
    """1, 2, 4, 8, 16, 30 s: an attempt at 1, 3, 7, 15 s, and no more after the tenth."""
    assert longest_wait(CLASSIC, ReturnWindow(1.0, 0.3, 3.0), elapsed) == wait


def test_the_announced_ladder_is_climbed_by_short_delays() -> None:
    """The first attempt at a quarter of the spread, 1 s; then after 5/8 of 4 s, of 6 s, of 9 s."""
    window = ReturnWindow(4.0, 4.0, 9.0)
    waits = [longest_wait(WINDOW, window, elapsed) for elapsed in (0.0, 1.0, 3.5, 7.2, 7.25, 12.8)]
    assert waits == [4.0, 4.0, 6.0, 6.0, 9.0, 9.0]


def test_the_parts_of_a_region_are_its_outage_its_ladder_and_its_work() -> None:
    """Forty processes are left with 25,000 each."""
    plan = plan_for()
    parts = time_to_return(plan, plan.triggers[0], 41)
    assert (parts.outage, parts.queue) == (5.0, 25_000 / 3000)
    assert parts.ladder == longest_wait(WINDOW, return_window(25_000, 3000.0), 5.0)
    assert parts.total == 5.0 + max(parts.ladder, parts.queue)


@given(st.sampled_from(TriggerKind), st.floats(6.0, 120.0), st.sampled_from([0, 1000, 30_000]))
def test_the_fewest_processes_hold_by_arithmetic(kind: TriggerKind, longest: float, event_size: int) -> None:
    plan, trigger = plan_for(longest, event_size=event_size), Trigger(kind, duration=5.0)
    found = fewest_processes(plan, trigger)
    assert plan.least_processes <= found <= MOST_PROCESSES
    fewest = time_to_return(plan, trigger, plan.least_processes).total
    assert time_to_return(plan, trigger, found).total <= max(longest, fewest)
    numbers = numbers_to_try(plan, trigger)
    assert found in numbers
    assert list(numbers) == sorted(set(numbers))
    assert plan.on_one(numbers[0] - 1) <= plan.connections_per_process
    assert len(numbers) >= 6


def test_whole_events_decide_the_least_number() -> None:
    """Of 34 events with 30,000 each one fits a process of 50,000 connections."""
    assert plan_for(event_size=30_000).least_processes == 35
    assert plan_for(event_size=25_000).least_processes == plan_for().least_processes == 21


def test_each_trigger_has_numbers_of_its_own() -> None:
    """An access point asks for no more processes than the connections do, a region for those that let all in."""
    plan, kinds = plan_for(12.0), (TriggerKind.ACCESS_POINT, TriggerKind.REGION)
    few, many = (numbers_to_try(plan, Trigger(kind, duration=5.0)) for kind in kinds)
    assert max(few) < max(many)
    assert numbers_to_try(plan_for(processes=(90, 50, 90)), plan.triggers[0]) == (50, 90)


def test_more_processes_are_tried_where_they_shorten_the_time() -> None:
    plan = plan_for(20.0)
    assert numbers_above(plan, plan.triggers[0], (21, 40)) == (60, 80, 120, 200)
    assert numbers_above(plan, plan.triggers[0], (21, MOST_PROCESSES)) == ()
    assert numbers_above(plan, Trigger(TriggerKind.ACCESS_POINT, duration=5.0), (900, 5000)) == ()
    chosen = plan_for(20.0, processes=(50, 90))
    assert numbers_above(chosen, chosen.triggers[0], (50, 90)) == ()


def test_the_limit_is_named_with_the_setting_that_moves_it() -> None:
    slow = plan_for(30.0, server=ServerConfig(join_capacity=100.0))
    (said,) = limiting_words(slow, slow.triggers[0], 21, None)
    assert "50,000 participants return to one process, which lets in server.join_capacity = 100 a second" in said
    plan = plan_for(8.0)
    said, holds = limiting_words(plan, Trigger(TriggerKind.ACCESS_POINT, duration=5.0), 21, 23.0)
    assert "the outage takes 5 s, and a client that failed during it waits up to " in said
    assert "target.longest_downtime is 8 s" in said
    assert holds == "They hold target.longest_downtime = 23."
