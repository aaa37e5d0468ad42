"""A suspended process of the model: what reaches it waits, in order, and a dead one forgets it."""

from __future__ import annotations

from functools import partial

from sim.model.clock import SimEnvironment
from sim.model.process import ModelProcess
from sim.model.station import StationDriver
from sim.station import Station


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
