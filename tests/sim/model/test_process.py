"""A suspended process of the model: what reaches it waits, in order, and a dead one forgets it."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.experiment.costs import ModelCosts
from resilience.experiment.spec import Hypothesis
from sim.model.clock import SimEnvironment
from sim.model.lane import ModelSystem
from sim.model.process import ModelProcess
from sim.model.station import StationDriver
from sim.model.threads import ModelProcessors
from sim.station import Station

from .runs import experiment, of, system_of


def test_what_has_arrived_is_read_before_timers_ring() -> None:
    process, done = ModelProcess(), list[str]()
    process.suspend()
    process.ring_later("owner", lambda: done.append("timer"))
    process.ring_later("owner", lambda: done.append("timer, later set"))
    for name in ("first", "second"):
        process.read_later(partial(done.append, name))
    assert done == []
    process.resume()
    assert done == ["first", "second", "timer, later set"]
    process.resume()
    assert len(done) == 3


def test_a_process_that_died_has_nothing_left_to_do() -> None:
    process, done = ModelProcess(), list[str]()
    process.suspend()
    process.read_later(lambda: done.append("read"))
    process.ring_later("owner", lambda: done.append("timer"))
    process.die()
    process.resume()
    assert done == []
    assert not process.is_suspended


def test_a_station_of_a_suspended_process_serves_nothing() -> None:
    """A job in service is finished at once when it continues; those that wait are served from then on."""
    clock, done = SimEnvironment(), list[tuple[float, str]]()
    station: StationDriver[str] = StationDriver(
        clock, lambda: Station(1), wanted=lambda _: True, done=lambda job: done.append((clock.now, job))
    )
    for job in "ab":
        station.enter(job, 1.0)
    clock.at(0.5, lambda _: station.pause())
    clock.at(5.0, lambda _: station.resume())
    clock.run_until(10.0)
    assert done == [(5.0, "a"), (6.0, "b")]


def test_a_thread_that_is_held_leaves_its_processor_to_others() -> None:
    """By hand, of 2 s each on one processor: half a second is done at 1 s, the other thread ends at 2.5 s.

    Held until 5 s, the first one then does the 1.5 s that are left, and what it was given meanwhile.
    """
    clock, done = SimEnvironment(), list[tuple[float, str]]()
    processors = ModelProcessors(clock, ModelCosts(shared_processors=1))
    held, other = processors.thread(), processors.thread()

    def work(name: str) -> None:
        done.append((clock.now, name))

    held.do(2.0, partial(work, "held"))
    other.do(2.0, partial(work, "other"))
    clock.at(1.0, lambda _: held.hold())
    clock.at(2.0, lambda _: held.do(1.0, partial(work, "given meanwhile")))
    clock.at(5.0, lambda _: held.release())
    clock.run_until(10.0)
    assert done == [(2.5, "other"), (6.5, "held"), (7.5, "given meanwhile")]


def test_a_thread_that_has_nothing_to_do_is_held_all_the_same() -> None:
    clock, done = SimEnvironment(), list[float]()
    thread = ModelProcessors(clock, ModelCosts(shared_processors=1)).thread()
    thread.hold()
    clock.at(1.0, lambda _: thread.do(2.0, lambda: done.append(clock.now)))
    clock.at(5.0, lambda _: thread.release())
    clock.run_until(10.0)
    assert done == [7.0]


@pytest.mark.parametrize("at", [0.2, 0.4, 0.6], ids=["handshake", "join", "commit"])
def test_threads_of_a_suspended_server_do_the_rest_of_their_work_when_it_continues(at: float) -> None:
    """The join of a client comes back later by as long as the server stood still, whatever was under way."""
    costs = ModelCosts(shared_processors=2, handshake=0.3, join=0.2, commit=0.2)
    plan = msgspec.structs.replace(experiment(), costs=costs, hypothesis=Hypothesis(joined=0.001, within=29.9))

    def suspend(system: ModelSystem) -> None:
        system.environment.at(at, lambda _: system.driver.suspend())
        system.environment.at(at + 1.5, lambda _: system.driver.resume())

    logs = [log for _, log in (system_of(plan), system_of(plan, prepare=suspend))]
    calm, suspended = [of(log, LogEventKind.SESSION_JOINED)[0].t for log in logs]
    assert calm == pytest.approx(0.7, abs=0.01)
    assert suspended - calm == pytest.approx(1.5)


def test_the_work_of_a_process_ends_with_it() -> None:
    """What was in service, finished or waiting is not there for the next one."""
    clock, done = SimEnvironment(), list[tuple[float, str]]()
    station: StationDriver[str] = StationDriver(
        clock, lambda: Station(1), wanted=lambda _: True, done=lambda job: done.append((clock.now, job))
    )
    for job in "ab":
        station.enter(job, 1.0)
    clock.at(0.5, lambda _: station.clear())
    clock.at(0.75, lambda _: station.enter("c", 1.0))
    clock.run_until(10.0)
    assert done == [(1.75, "c")]
