"""A run of minutes is announced with what is faster; a short one is not."""

from __future__ import annotations

import msgspec
import pytest

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults import ServerKillFault, StallFault
from resilience.experiment.loader import load
from sim.run_costs import COSTS, announcement, warning

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


def test_faults_cost_their_returns_and_a_longer_run_its_seconds() -> None:
    """Each in proportion: three windows for each cohort of the demo, and one join."""
    cost, calm = COSTS[Lane.VIRTUAL], msgspec.structs.replace(DEMO, faults=(), expectations=())
    longer = msgspec.structs.replace(calm, duration=2 * calm.duration)
    assert cost.cpu_s(DEMO) - cost.cpu_s(calm) == pytest.approx(3 * DEMO.clients * cost.connecting_s)
    assert cost.cpu_s(longer) - cost.cpu_s(calm) == pytest.approx(DEMO.clients * DEMO.duration * cost.second_s)
    assert cost.cpu_s(LARGE) == pytest.approx(100 * cost.cpu_s(DEMO))


def test_a_fault_costs_the_returns_of_those_that_it_strikes() -> None:
    """Three times a carrier fails for half of two cohorts of 30; a server that is killed strikes all."""
    cost, outage = COSTS[Lane.VIRTUAL], load("carrier-outage")
    calm = msgspec.structs.replace(outage, faults=(), expectations=())
    killed = msgspec.structs.replace(outage, faults=(*outage.faults, ServerKillFault(at=18.0, duration=1.0)))
    assert cost.cpu_s(outage) - cost.cpu_s(calm) == pytest.approx(90 * cost.connecting_s)
    assert cost.cpu_s(killed) - cost.cpu_s(calm) == pytest.approx(150 * cost.connecting_s)


@pytest.mark.parametrize("lane", [*COSTS, Lane.POPULATION], ids=str)
def test_a_short_run_is_not_announced(lane: Lane) -> None:
    assert announcement(DEMO, lane) is None


def test_a_crowd_that_the_server_does_not_admit_in_time_is_named_with_what_to_set() -> None:
    """Before the run, which would take minutes and inject nothing."""
    said = warning(LARGE, Lane.MODEL) or ""
    assert "at most 21,000 of 30,000 clients can join within 7 s because of server.join_capacity" in said
    assert "server.address_rate and server.address_burst (1000 connections per second of one address, 20,000" in said
    assert "set server.join_capacity=5304, server.address_rate=2447, costs.processors=2, or a longer" in said
    more = msgspec.structs.replace(LARGE.server, join_capacity=1e4, address_rate=1e4)
    assert warning(msgspec.structs.replace(LARGE, server=more), Lane.VIRTUAL) is None
    assert "because of costs (costs.processors=1: 4,167" in (
        warning(msgspec.structs.replace(LARGE, server=more), Lane.MODEL) or ""
    )
    assert warning(DEMO, Lane.VIRTUAL) is None
    assert warning(LARGE, Lane.POPULATION) is None


def test_the_settings_that_a_warning_names_lift_it() -> None:
    """All of them together; as long as one is left out there is a warning."""
    tight = (
        "server.join_capacity=5",
        "server.address_rate=1",
        "server.address_burst=9",
        "server.max_participants=9",
        "server.max_connections=8",
        "costs.handshake=0.3",
    )
    said = warning(load("demo", tight), Lane.MODEL) or ""
    remedies = said.partition(": set ")[2].partition(", or a longer")[0].split(", ")
    assert [remedy.partition("=")[0] for remedy in remedies] == [
        "server.join_capacity",
        "server.address_rate",
        "server.max_participants",
        "server.max_connections",
        "costs.processors",
    ]
    for count in range(len(remedies)):
        assert warning(load("demo", (*tight, *remedies[:count])), Lane.MODEL) is not None
    assert warning(load("demo", (*tight, *remedies)), Lane.MODEL) is None
