"""The station of both modelled lanes against the closed forms of queueing theory, and its two ways against each other.

Each mean is that of independent replications with fixed seeds. Its interval must hold the closed form and be narrow.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resilience.experiment.costs import ModelCosts, ServiceDistribution
from sim.station import ServiceTimes, Station

EXPONENTIAL = ServiceTimes(ServiceDistribution.EXPONENTIAL)
DETERMINISTIC = ServiceTimes(ServiceDistribution.DETERMINISTIC)
LOGNORMAL = ServiceTimes(ServiceDistribution.LOGNORMAL, sigma=1.0)
FOREVER = math.inf
REPLICATIONS, CUSTOMERS, WARM_UP = 20, 5000, 500
CONFIDENCE = 0.999


def requests(rate: float, times: ServiceTimes, seed: int, timeout: float = FOREVER) -> Iterator[tuple[float, ...]]:
    """A Poisson stream: arrival, deadline, service time of mean 1; ``timeout`` is the mean of an exponential one."""
    draw, now = random.Random(seed), 0.0
    for _ in range(CUSTOMERS):
        now += draw.expovariate(rate)
        waits = FOREVER if math.isinf(timeout) else draw.expovariate(1.0 / timeout)
        yield now, now + waits, times.draw(1.0, draw.random())


def assert_mean(replication: Callable[[int], float], exact: float, half_width: float) -> None:
    """The interval of the replications' mean holds ``exact``, and is no wider than this share of it to either side."""
    found = [replication(seed) for seed in range(REPLICATIONS)]
    mean = sum(found) / len(found)
    half = float(stats.sem(found) * stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1))
    assert half < half_width * exact, f"{mean} +- {half}, exactly {exact}"
    assert abs(mean - exact) < half, f"{mean} +- {half}, exactly {exact}"


def mean_wait(rate: float, processors: int, times: ServiceTimes) -> Callable[[int], float]:
    """The mean wait of one replication."""

    def replication(seed: int) -> float:
        station: Station[None] = Station(processors)
        waits = [station.settle(now, until, work) - work - now for now, until, work in requests(rate, times, seed)]
        return sum(waits[WARM_UP:]) / len(waits[WARM_UP:])

    return replication


def erlang_c_wait(rate: float, processors: int) -> float:
    """The mean wait of M/M/c at a service rate of 1 (Erlang C)."""
    terms = [rate**k / math.factorial(k) for k in range(processors)]
    last = rate**processors / math.factorial(processors) * processors / (processors - rate)
    return last / (sum(terms) + last) / (processors - rate)


def steady_state(rate: float, processors: int, leave: float, places: float = FOREVER) -> list[float]:
    """The probabilities of a birth-death process: service rate 1 for each processor, each of the waiting leaves."""
    weights = [1.0]
    for n in itertools.count(1):
        if n > places or (n > processors and weights[-1] < 1e-15 * sum(weights)):
            return [weight / sum(weights) for weight in weights]
        weights.append(weights[-1] * rate / (min(n, processors) + max(n - processors, 0) * leave))
    raise AssertionError


@pytest.mark.parametrize("processors, load", [(1, 0.5), (4, 0.7), (5, 0.8)])
def test_the_wait_of_exponential_services_is_erlangs(processors: int, load: float) -> None:
    """M/M/c."""
    rate = processors * load
    assert_mean(mean_wait(rate, processors, EXPONENTIAL), erlang_c_wait(rate, processors), 0.2)


@pytest.mark.parametrize("load", [0.4, 0.6])
@pytest.mark.parametrize("times, variation", [(DETERMINISTIC, 0.0), (LOGNORMAL, math.e - 1)], ids=["M/D/1", "M/LN/1"])
def test_the_wait_at_one_processor_is_that_of_pollaczek_and_khinchine(
    times: ServiceTimes, variation: float, load: float
) -> None:
    """M/G/1; ``variation`` is the squared coefficient of variation of the service times."""
    exact = load * (1 + variation) / (2 * (1 - load))
    assert_mean(mean_wait(load, 1, times), exact, 0.2)


@pytest.mark.parametrize("processors", [2, 5])
def test_the_wait_of_equal_services_is_that_of_one_processor_with_every_nth_request(processors: int) -> None:
    """M/D/c: with equal service times each processor serves every c-th request (E_c/D/1), exactly."""
    rate = 0.8 * processors
    for seed in range(3):
        stream = list(requests(rate, DETERMINISTIC, seed))
        station: Station[None] = Station(processors)
        ends = [station.settle(*request) for request in stream]
        apart = [Station[None](1) for _ in range(processors)]
        assert ends == [apart[i % processors].settle(*request) for i, request in enumerate(stream)]


@pytest.mark.parametrize("rate, processors, timeout", [(4.0, 4, 1.0), (9.0, 6, 2.0)])
def test_the_share_that_reaches_its_timeout_is_that_of_erlang_a(rate: float, processors: int, timeout: float) -> None:
    """M/M/c+M, also above its capacity; who leaves the queue costs nothing."""
    state = steady_state(rate, processors, 1.0 / timeout)
    waiting = sum((n - processors) * p for n, p in enumerate(state) if n > processors)

    def replication(seed: int) -> float:
        station: Station[None] = Station(processors, wasted_work=False)
        ends = [station.settle(*request) for request in requests(rate, EXPONENTIAL, seed, timeout)]
        return sum(map(math.isinf, ends[WARM_UP:])) / len(ends[WARM_UP:])

    assert_mean(replication, waiting / timeout / rate, 0.1)


def test_the_share_that_a_full_backlog_turns_away_is_that_of_a_finite_queue() -> None:
    """M/M/c/K."""
    rate, processors, backlog = 3.5, 3, 4
    exact = steady_state(rate, processors, 0.0, places=processors + backlog)[-1]

    def replication(seed: int) -> float:
        station: Station[None] = Station(processors, backlog)
        dropped = 0
        for now, until, work in requests(rate, EXPONENTIAL, seed):
            if station.is_full(now):
                dropped += 1
            else:
                station.settle(now, until, work)
        return dropped / CUSTOMERS

    assert_mean(replication, exact, 0.1)


@pytest.mark.parametrize("wasted_work", [True, False])
def test_a_storm_of_impatient_clients_wastes_what_it_leaves_behind(wasted_work: bool) -> None:
    """1,000 at once at 128 a second with a timeout of 5 s: 640 are in time, the others are wasted work or none."""
    station: Station[None] = Station(2, wasted_work=wasted_work)
    ends = [station.settle(0.0, 5.0, 1 / 64) for _ in range(1000)]
    assert sum(end <= 5.0 for end in ends) == 640
    afterwards = station.settle(5.0, FOREVER, 1 / 64)
    assert afterwards == (1000 / 128 if wasted_work else 5.0) + 1 / 64


@pytest.mark.parametrize("times", [EXPONENTIAL, LOGNORMAL, ServiceTimes(ServiceDistribution.LOGNORMAL, sigma=0.3)])
def test_a_drawn_service_time_has_the_asked_mean(times: ServiceTimes) -> None:
    """By the inverse of its distribution function on a fine grid of probabilities."""
    count = 20_000
    drawn = [times.draw(2.0, (i + 0.5) / count) for i in range(count)]
    assert sum(drawn) / count == pytest.approx(2.0, rel=0.01)
    assert drawn == sorted(drawn)
    assert 0 <= times.draw(2.0, 0.0) < times.draw(2.0, 1 - 2.0**-53) < FOREVER


def test_the_service_times_of_an_experiment_are_its_own() -> None:
    costs = ModelCosts(service=ServiceDistribution.LOGNORMAL, service_sigma=0.5)
    assert ServiceTimes.of(costs) == ServiceTimes(ServiceDistribution.LOGNORMAL, 0.5)
    assert not ServiceTimes.of(ModelCosts()).vary


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.one_of(st.just(math.inf), st.integers(0, 40)), st.integers(1, 24)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_both_ways_decide_the_same(
    drawn: list[tuple[int, float, int]], processors: int, backlog: int, wasted_work: bool
) -> None:
    """From turn to turn, and on arrival: the same requests are dropped, skipped, and done at the same instants."""
    at, stream = 0.0, []
    for gap, timeout, work in drawn:
        at += gap / 8
        stream.append((at, at + timeout / 8, work / 8))
    assert by_turns(stream, processors, backlog, wasted_work) == on_arrival(stream, processors, backlog, wasted_work)


Stream = list[tuple[float, float, float]]


def on_arrival(stream: Stream, processors: int, backlog: int, wasted_work: bool) -> dict[int, float]:
    """When each request is done that has been let in; infinite if it is skipped."""
    station: Station[None] = Station(processors, backlog, wasted_work=wasted_work)
    return {i: station.settle(*each) for i, each in enumerate(stream) if not station.is_full(each[0])}


def by_turns(stream: Stream, processors: int, backlog: int, wasted_work: bool) -> dict[int, float]:
    """The same, with a request's deadline known in its turn only."""
    station: Station[int] = Station(processors, backlog, wasted_work=wasted_work)
    found, ends, entered = dict[int, float](), list[float](), set[int]()

    def begin(now: float) -> None:
        for i, end in station.begin(now, lambda i: now < stream[i][1]):
            found[i] = end
            heapq.heappush(ends, end)

    for i, (now, _, work) in enumerate(stream):
        while ends and ends[0] <= now:
            begin(heapq.heappop(ends))
        if station.has_room(now):
            entered.add(i)
            station.enter(i, work)
            begin(now)
    while ends:
        begin(heapq.heappop(ends))
    assert station.work == 0.0
    return {i: found.get(i, math.inf) for i in sorted(entered)}
