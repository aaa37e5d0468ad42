"""The way into a server: closed forms, and batches that end where one of their requests could come back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.admission import SLOT_SHARE
from sim.population.rules import StationRules
from sim.population.station import JoinStation, StationAnswer

INFINITE = float("inf")
OPEN = StationRules(joins_per_s=1e6, admission_seconds=1e6, slots=2, service=1.0)


def station(rules: StationRules = OPEN) -> JoinStation:
    """A station for a run of a hundred seconds."""
    return JoinStation(rules, 100.0)


def test_requests_are_served_in_order_by_the_first_free_slot() -> None:
    """Five at once at two slots: two each second. A later one finds a free slot."""
    batch = station().enter_many([0.0] * 5 + [10.25], [INFINITE] * 6, 1.0)
    assert batch.values == [1.0, 1.0, 2.0, 2.0, 3.0, 11.25]
    assert batch.all_served


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40), st.integers(1, 4))
def test_departures_are_those_of_the_recursion_of_kiefer_and_wolfowitz(gaps: list[float], slots: int) -> None:
    """The wait of a request is the least remaining work of a slot, in a queue of any number of slots."""
    arrivals = [float(at) for at in itertools.accumulate(gaps) if at < 100.0]
    rules = StationRules(1e6, 1e6, slots, 2.0)
    batch = station(rules).enter_many(arrivals, [INFINITE] * len(arrivals), 1.0)
    free, expected = [0.0] * slots, []
    for at in arrivals:
        free.sort()
        free[0] = max(free[0], at) + 2.0
        expected.append(free[0])
    assert batch.values == expected


def test_a_full_backlog_drops() -> None:
    batch = station(StationRules(1e6, 1e6, 1, 1.0, backlog=2)).enter_many([0.0] * 4 + [1.5], [INFINITE] * 5, 2.0)
    assert batch.answers == [StationAnswer.SERVED] * 3 + [StationAnswer.DROPPED, StationAnswer.SERVED]


def test_a_storm_on_a_quota_takes_the_crowd_over_the_quota() -> None:
    """A crowd of 5,000 at 500 a second: two seconds' worth are let in, the slots of all others are at nine tenths."""
    rules = StationRules(joins_per_s=500.0, admission_seconds=2.0, slots=1, service=1 / 500)
    gate = station(rules)
    answers = [gate.enter(0.0, INFINITE) for _ in range(5000)]
    admitted = [value for answer, value in answers if answer is StationAnswer.SERVED]
    slots = [value for answer, value in answers if answer is StationAnswer.REJECTED]
    assert len(admitted) == pytest.approx(2.0 * 500, abs=2)
    assert slots[-1] == pytest.approx(2.0 + len(slots) / (500 * SLOT_SHARE), rel=0.01)


@pytest.mark.parametrize(
    "rules, until, taken",
    [
        (OPEN, INFINITE, 5),
        (StationRules(1e6, 1e6, 1, 0.01), 0.005, 2),  # the first client has left: back after half a second
        (StationRules(1.0, 0.0, 1, 0.01), INFINITE, 4),  # the second is rejected, until its slot
    ],
)
def test_a_batch_ends_where_one_of_its_requests_could_come_back(rules: StationRules, until: float, taken: int) -> None:
    gate = station(rules)
    batch = gate.enter_many([0.0, 0.25, 1.0, 2.0, 3.0], [until] * 5, 0.5)
    assert len(batch.values) == taken
    assert gate.load.sum() == taken


def test_the_load_counts_each_second() -> None:
    gate = station()
    gate.enter_many([0.0, 0.5, 7.0], [INFINITE] * 3, 1.0)
    assert np.flatnonzero(gate.load[:, StationAnswer.SERVED]).tolist() == [0, 7]
    assert gate.load[0, StationAnswer.SERVED] == 2
