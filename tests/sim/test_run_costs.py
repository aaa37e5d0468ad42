"""A run of minutes is announced with what is faster; a short one is not."""

from __future__ import annotations

import msgspec
import pytest

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults import StallFault
from resilience.experiment.loader import load
from sim.run_costs import COSTS, announcement

DEMO = load("demo")
LARGE = load("demo", scale=100)
STALLED = msgspec.structs.replace(LARGE, faults=(StallFault(at=20.0, duration=5.0, cohorts=(LARGE.cohorts[0].name,)),))


@pytest.mark.parametrize("lane", list(COSTS), ids=str)
def test_a_large_run_is_announced_with_its_size_and_the_obstacle_of_the_faster_lane(lane: Lane) -> None:
    said = announcement(STALLED, lane)
    assert said is not None
    assert f"demo: 30,000 clients for 78 s take the lane {lane} about " in said
    assert "cannot carry out stall (faults[0])" in said


def test_the_faster_lane_is_named_where_it_can_carry_the_experiment() -> None:
    cuts = msgspec.structs.replace(LARGE, faults=DEMO.faults[:2], expectations=())
    assert (announcement(cuts, Lane.MODEL) or "").endswith("--lane population takes seconds")


@pytest.mark.parametrize("lane", [*COSTS, Lane.POPULATION], ids=str)
def test_a_short_run_is_not_announced(lane: Lane) -> None:
    assert announcement(DEMO, lane) is None
