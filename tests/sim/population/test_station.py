"""The way into a server: closed forms, and batches that end where one of their requests could come back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.admission import SLOT_SHARE
from sim.population.rules import StationRules
from sim.population.station import Arrivals, JoinStation, StationAnswer

INFINITE = float("inf")
OPEN = StationRules(joins_per_s=1e6, admission_seconds=1e6, slots=2, service=1.0)


def station(rules: StationRules = OPEN, ends: tuple[float, ...] = ()) -> JoinStation:
    """A station for a run of a hundred seconds."""
    return JoinStation(rules, 100.0, ends)


def enter_all(
    gate: JoinStation, at: list[float], until: float = INFINITE, soonest: float = 1.0, pieces: int = 1
) -> tuple[Arrivals, bool]:
    """All that can enter, in so many pieces, and whether all of them were served in time."""
    arrivals = gate.expect(np.array(at), np.full(len(at), until))
    served = True
    for piece in range(1, pieces + 1):
        served = served and gate.enter_many(arrivals, len(at) * piece // pieces, soonest)
    gate.count(arrivals)
    return arrivals, served


def test_requests_are_served_in_order_by_the_first_free_slot() -> None:
    """Five at once at two slots: two each second. A later one finds a free slot."""
    arrivals, all_served = enter_all(station(), [0.0] * 5 + [10.25])
    assert arrivals.values == [1.0, 1.0, 2.0, 2.0, 3.0, 11.25]
    assert all_served


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40), st.integers(1, 4))
def test_departures_are_those_of_the_recursion_of_kiefer_and_wolfowitz(gaps: list[float], slots: int) -> None:
    """The wait of a request is the least remaining work of a slot, in a queue of any number of slots."""
    arrivals = [float(at) for at in itertools.accumulate(gaps) if at < 100.0]
    rules = StationRules(1e6, 1e6, slots, 2.0)
    batch, _ = enter_all(station(rules), arrivals)
    free, expected = [0.0] * slots, []
    for at in arrivals:
        free.sort()
        free[0] = max(free[0], at) + 2.0
        expected.append(free[0])
    assert batch.values == expected


def test_a_full_backlog_drops() -> None:
    rules = StationRules(1e6, 1e6, 1, 1.0, backlog=2)
    batch, _ = enter_all(station(rules), [0.0] * 4 + [1.5], soonest=2.0)
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
    batch, all_served = enter_all(gate, [0.0, 0.25, 1.0, 2.0, 3.0], until, 0.5)
    assert all_served is (taken == 5)
    assert len(batch.values) == taken
    assert gate.load.sum() == taken


def test_the_load_counts_each_second() -> None:
    gate = station()
    enter_all(gate, [0.0, 0.5, 7.0])
    assert np.flatnonzero(gate.load[:, StationAnswer.SERVED]).tolist() == [0, 7]
    assert gate.load[0, StationAnswer.SERVED] == 2


@given(
    gaps=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.5, 4.0]), min_size=1, max_size=60),
    slots=st.integers(1, 3),
    backlog=st.sampled_from([0, 1]),
    joins_per_s=st.sampled_from([1e6, 2.0]),
    until=st.sampled_from([INFINITE, 20.0]),
    pieces=st.integers(1, 4),
    ends=st.sampled_from([(), (3.0,), (2.25, 10.0, 11.0)]),
)
def test_runs_of_requests_at_an_idle_server_are_as_each_by_itself(  # noqa: PLR0917 - what a station is made of
    gaps: list[float],
    slots: int,
    backlog: int,
    joins_per_s: float,
    until: float,
    pieces: int,
    ends: tuple[float, ...],
) -> None:
    """In any number of pieces, with requests that queue, are dropped or rejected among them."""
    at = [each for each in itertools.accumulate(gaps) if each < 100.0]
    rules = StationRules(joins_per_s, 0.5, slots, 0.5, backlog=backlog)
    together, apart = station(rules, ends), station(rules, ends)
    arrivals, _ = enter_all(together, at, until, pieces=pieces)
    one_by_one = [apart.enter(each, until) for each in at[: len(arrivals.answers)]]
    assert one_by_one == list(zip(arrivals.answers, arrivals.values, strict=True))
    assert (together.served, together.longest_wait) == (apart.served, apart.longest_wait)
    assert np.array_equal(together.load, apart.load)


def test_a_process_that_ends_leaves_an_empty_queue_to_its_successor() -> None:
    """Of four seconds of work one and a half are done; the rest is lost, and so is what admission control knew."""
    rules = StationRules(joins_per_s=1.0, admission_seconds=10.0, slots=1, service=1.0)
    arrivals, _ = enter_all(station(rules, ends=(1.5,)), [0.0] * 4, soonest=9.0)
    assert arrivals.answers == [StationAnswer.SERVED, *[StationAnswer.UNFINISHED] * 3]
    assert arrivals.values == [1.0, 1.5, 1.5, 1.5]
    gate = station(rules, ends=(1.5,))
    assert [gate.enter(0.0, INFINITE)[0] for _ in range(4)] == arrivals.answers
    assert gate.enter(1.5, INFINITE) == (StationAnswer.SERVED, 2.5)
    assert gate.served == 2
