"""The handshake station: order, slots, and clients that left the queue."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from resilience.config import ClientConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import CutFault, RefuseFault
from resilience.experiment.spec import Hypothesis
from resilience.policy.backoff import Jitter
from sim.model.clock import SimEnvironment
from sim.model.station import StationDriver
from sim.station import Station

from .runs import experiment, of, system_of


def _station(
    slots: int, unwanted: set[str] | None = None
) -> tuple[SimEnvironment, StationDriver[str], list[tuple[float, str]]]:
    clock, done = SimEnvironment(), []
    gone = set() if unwanted is None else unwanted
    driver: StationDriver[str] = StationDriver(
        clock,
        lambda: Station(slots, wasted_work=False),
        wanted=lambda job: job not in gone,
        done=lambda job: done.append((clock.now, job)),
    )
    return clock, driver, done


@pytest.mark.parametrize("slots,ends", [(1, [1.0, 2.0, 3.0, 4.0]), (2, [1.0, 1.0, 2.0, 2.0]), (9, [1.0] * 4)])
def test_jobs_are_served_in_order_of_arrival(slots: int, ends: list[float]) -> None:
    """First come, first served, over as many slots as there are."""
    clock, station, done = _station(slots)
    for job in "abcd":
        station.enter(job, 1.0)
    clock.run_until(10.0)
    assert done == list(zip(ends, "abcd", strict=True))


def test_a_slot_that_stood_idle_serves_at_once() -> None:
    """Idle time is not saved up."""
    clock, station, done = _station(1)
    station.enter("a", 1.0)
    clock.at(5.0, lambda _: station.enter("b", 1.0))
    clock.run_until(10.0)
    assert done == [(1.0, "a"), (6.0, "b")]


def test_an_unwanted_job_is_skipped_at_no_cost() -> None:
    """Who left the queue costs the others nothing when wasted work is off."""
    gone: set[str] = set()
    clock, station, done = _station(1, gone)
    for job in "abcd":
        station.enter(job, 1.0)
    gone |= {"b", "c"}
    clock.run_until(10.0)
    assert done == [(1.0, "a"), (2.0, "d")]


def _opened_under_overload(*, wasted_work: bool) -> int:
    """Five dials at once, half a second each, and a timeout of 0.6 s."""
    costs = ModelCosts(handshake=0.5, wasted_work=wasted_work)
    without_admission = ServerConfig(admission_seconds=1e6)
    plan = experiment(clients=5, client=ClientConfig(open_timeout=0.6), server=without_admission, duration=25.0)
    _, log = system_of(msgspec.structs.replace(plan, hypothesis=Hypothesis(joined=0.01, within=24.9)), costs=costs)
    assert [event.t for event in of(log, LogEventKind.TRANSPORT_FAILED)][:4] == [0.6] * 4
    return len(of(log, LogEventKind.SESSION_JOINED))


def test_handshakes_of_those_who_left_are_served_as_wasted_work() -> None:
    """The dead requests keep the live ones waiting until these are dead too: the crush sustains itself."""
    assert _opened_under_overload(wasted_work=True) == 1


def test_without_wasted_work_the_dead_make_way() -> None:
    """The same crush dissolves when a request whose client has gone costs nothing."""
    assert _opened_under_overload(wasted_work=False) == 5


def test_handshakes_queue_behind_one_another_after_an_outage() -> None:
    """A crowd that dials at one instant opens at the station's pace."""
    costs = ModelCosts(handshake=0.01, message=1e-9)
    _, log = system_of(experiment(RefuseFault(at=5.0, cohorts=("a",), duration=1.0), clients=8), costs=costs)
    first = [event.t for event in of(log, LogEventKind.TRANSPORT_OPENED) if event.t < 1.0]
    gaps = [later - earlier for earlier, later in itertools.pairwise(first)]
    assert gaps == pytest.approx([0.01] * 7, abs=1e-5)


def test_the_ends_of_a_herd_are_served_before_its_returns() -> None:
    """Eight connections end at once: each end takes its turn, and the first return comes after the last of them."""
    costs = ModelCosts(detach=0.05, message=1e-9)
    without_delay = ClientConfig(initial=0.001, maximum=0.001, jitter=Jitter.NONE)
    plan = experiment(CutFault(at=5.0, cohorts=("a",)), clients=8, client=without_delay)
    _, log = system_of(plan, costs=costs)
    ended = [event.t for event in of(log, LogEventKind.SESSION_DETACHED) if event.t < 10.0]
    assert [later - earlier for earlier, later in itertools.pairwise(ended)] == pytest.approx([0.05] * 7)
    assert ended[0] == pytest.approx(5.0 + costs.latency / 2 + 0.05)
    opened = [event.t for event in of(log, LogEventKind.TRANSPORT_OPENED) if event.t > 5.0]
    assert min(opened) > 5.0 + 8 * 0.05
