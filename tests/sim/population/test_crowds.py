"""Crowds at a busy server: as one array they are decided as request by request, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.policy.admission import AdmissionController
from sim.population import station
from sim.population.batch import run_in_batches
from sim.population.crowds import ArrayAdmission, ArrayStation, ExpectedJoins
from sim.population.oracle import Result, run_explicitly
from sim.population.population import Floats
from sim.population.rules import StationRules
from sim.population.station import Arrivals, JoinStation, StationAnswer
from sim.profiles.timelines import on_grid
from tests.sim.population.worlds import REFUSED, SILENT, Shared, Trouble, differing, explain

INFINITE = float("inf")
CAPACITY, SERVICE = 1000.0, float(on_grid(1 / 1000))


def crowd(size: int, over: float, seed: int = 1, begin: float = 20.0) -> np.ndarray:
    """Arrivals at random instants of the grid, in order."""
    return np.sort(on_grid(begin + np.random.default_rng(seed).uniform(0.0, over, size)))


@pytest.mark.parametrize("over", [0.5, 5.0, 9.0, 9.9, 10.0, 11.0])
def test_admission_answers_a_crowd_as_it_answers_each_join(over: float) -> None:
    """From far above to just below the capacity: the same retry times; and what comes after finds the same state."""
    arrivals = crowd(10_000, over)
    apart, together = AdmissionController(CAPACITY, 2.0), ArrayAdmission(CAPACITY, 2.0)
    decided = 0
    while decided < len(arrivals):
        joins = together.expect(arrivals[decided:])
        count = len(joins.admitted)
        one_by_one = [apart.try_admit(at) for at in arrivals[decided : decided + count].tolist()]
        assert [None if taken else wait for taken, wait in zip(joins.admitted, joins.retry, strict=True)] == one_by_one
        if count:
            together.take(joins, count)
        decided += count
        if decided < len(arrivals):
            assert together.try_admit(float(arrivals[decided])) == apart.try_admit(float(arrivals[decided]))
            decided += 1


def test_a_crowd_is_decided_in_two_parts() -> None:
    """Those who find a short queue, idle server or not, and those who find it at the limit; more would be no gain."""
    arrivals = crowd(10_000, 2.0)
    admission = ArrayAdmission(CAPACITY, 2.0)
    first = admission.expect(arrivals)
    assert first.admitted.all()
    assert len(first.admitted) == pytest.approx(
        2.0 * CAPACITY + 2.0 * CAPACITY * len(first.admitted) / 10_000, rel=0.05
    )
    admission.take(first, len(first.admitted))
    second = admission.expect(arrivals[len(first.admitted) :])
    assert len(first.admitted) + len(second.admitted) == len(arrivals)
    assert 0 < second.admitted.mean() < 0.5


@pytest.mark.parametrize("service", [SERVICE, 0.3])
def test_a_station_is_done_when_each_request_by_itself_is(service: float) -> None:
    """Off the grid too, where sums are rounded: there it decides as many as it can."""
    arrivals = np.sort(np.random.default_rng(2).uniform(0.0, 2000 * service, 2000))
    apart, together = ArrayStation(1), ArrayStation(1)
    decided = 0
    while decided < len(arrivals):
        ends = together.expect(arrivals[decided:], service)
        assert ends.tolist() == [
            apart.settle(at, INFINITE, service) for at in arrivals[decided : decided + len(ends)].tolist()
        ]
        if len(ends):
            together.take(float(ends[-1]))
        decided += len(ends)
        if decided < len(arrivals):
            at = float(arrivals[decided])
            assert together.settle(at, INFINITE, service) == apart.settle(at, INFINITE, service)
            decided += 1


@pytest.mark.parametrize("over", [2.0, 4.0, 15.0])
@pytest.mark.parametrize("timeout", [1.0, INFINITE])
@pytest.mark.parametrize("ends", [(), (21.5, 23.0)])
def test_a_station_lets_a_crowd_in_as_each_request_by_itself(
    over: float, timeout: float, ends: tuple[float, ...]
) -> None:
    """With clients that leave and processes that end amid the crowd: answers, counts and the longest wait."""
    rules = StationRules(CAPACITY, 2.0, 1, SERVICE)
    arrivals = crowd(10_000, over)
    together, apart = JoinStation(rules, 100.0, ends), JoinStation(rules, 100.0, ends)
    first, answers = 0, set[int]()
    while first < len(arrivals):
        rest = arrivals[first:]
        batch = together.expect(rest, rest + timeout)
        together.enter_many(batch, len(rest), 0.5)
        count = len(batch.answers)
        one_by_one = [apart.enter(at, at + timeout) for at in rest[:count].tolist()]
        assert [(StationAnswer(answer), value) for answer, value in zip(batch.answers, batch.values, strict=True)] == (
            one_by_one
        )
        first, answers = first + count, answers | set(batch.answers)
    assert (together.served, together.longest_wait) == (apart.served, apart.longest_wait)
    assert StationAnswer.UNFINISHED in answers or not ends
    assert StationAnswer.REJECTED in answers or over > 9.0


@pytest.fixture
def crowds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each crowd had that a station has taken since."""
    sizes, take = list[int](), JoinStation._take

    def counted(self: JoinStation, arrivals: Arrivals, joins: ExpectedJoins, values: Floats) -> None:
        sizes.append(len(values))
        take(self, arrivals, joins, values)

    monkeypatch.setattr(JoinStation, "_take", counted)
    return sizes


@pytest.mark.parametrize("standstills", [(), ((52.0, 60.0),)])
@pytest.mark.parametrize("joins_per_s, admission_seconds", [(50.0, 2.0), (250.0, 0.5), (400.0, 30.0)])
def test_every_episode_of_a_crowd_equals_the_oracle(
    joins_per_s: float,
    admission_seconds: float,
    standstills: tuple[tuple[float, float], ...],
    crowds: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At a server that rejects most, few, or none of them, with arrays for a handful of requests."""
    monkeypatch.setattr(station, "_LEAST_CROWD", 4)
    trouble = Trouble(
        size=1200,
        duration=200.0,
        rate=5.0,
        joins_per_s=joins_per_s,
        admission_seconds=admission_seconds,
        slots=1,
        service=1 / joins_per_s,
        shared=(Shared(40.0, 45.0, REFUSED), Shared(90.0, 97.0, SILENT, 2)),
        standstills=standstills,
    )
    tier = assert_crowd_equals_oracle(trouble)
    assert bool(crowds) is not bool(standstills)
    assert tier.station.load[:, StationAnswer.REJECTED].any() is np.bool_(joins_per_s < 400.0)


def test_a_crowd_of_thousands_equals_the_oracle(crowds: list[int]) -> None:
    """As large as it must be for the arrays of production, which take no handful."""
    trouble = Trouble(
        size=5000,
        duration=60.0,
        rate=0.0,
        joins_per_s=1000.0,
        admission_seconds=0.5,
        slots=1,
        service=1 / 1000.0,
        shared=(Shared(20.0, 25.0, REFUSED),),
    )
    tier = assert_crowd_equals_oracle(trouble)
    assert sum(crowds) > trouble.size
    assert tier.station.load[:, StationAnswer.REJECTED].any()


def assert_crowd_equals_oracle(trouble: Trouble) -> Result:
    """Both tell the same of every episode, and of the station's work; returns the batch tier's result."""
    population, rules = trouble.population, trouble.rules
    oracle, tier = run_explicitly(population, rules), run_in_batches(population, rules)
    wrong = differing(oracle.episodes, tier.episodes)
    assert not wrong, explain(population, oracle, tier, wrong[0])
    assert np.array_equal(oracle.station.load, tier.station.load)
    assert (oracle.station.served, oracle.station.longest_wait) == (tier.station.served, tier.station.longest_wait)
    return tier
