"""What the model's clock relies on in ``simpy`` beyond its documentation; each test names what breaks without it."""

from __future__ import annotations

import simpy
from simpy.core import StopSimulation
from simpy.events import NORMAL, URGENT, Event

from sim.model.clock import SimEnvironment


def test_the_heap_holds_time_priority_number_and_event_and_a_step_sets_exactly_that_time() -> None:
    """``SimEnvironment._push``: a deadline is pushed as it is; ``schedule`` would add a delay to now and round."""
    environment = simpy.Environment()
    event = Event(environment)
    event._ok, event._value = True, None
    environment.schedule(event, URGENT, 0.1)
    ((when, priority, number, held),) = environment._queue
    assert (when, priority, held) == (0.1, URGENT, event)
    assert next(environment._eid) > number
    environment.step()
    assert environment.now == environment._now == when


def test_urgent_comes_before_normal_at_one_instant() -> None:
    """``run_until``: the end of a leg stops before what is due at that instant."""
    assert URGENT < NORMAL
    clock, seen = SimEnvironment(), []
    clock.at(1.0, lambda _: seen.append("due"))
    clock.run_until(1.0)
    assert (seen, clock.now) == ([], 1.0)


def test_an_event_that_has_succeeded_is_processed_by_its_callbacks_alone() -> None:
    """``_Call`` sets four fields and is never triggered; ``step`` reads no other."""

    class Bare(Event):
        def __init__(self, environment: simpy.Environment) -> None:
            self.env, self.callbacks = environment, [seen.append]
            self._ok, self._value = True, None

    seen: list[Event] = []
    environment = simpy.Environment()
    bare = Bare(environment)
    environment.schedule(bare, NORMAL, 1.0)
    environment.run()
    assert seen == [bare]
    assert bare.callbacks is None
    assert bare.processed


def test_the_callback_of_stop_simulation_ends_a_run_and_leaves_the_rest() -> None:
    """``run_until``: it is the callback of a call of ours, and the next leg continues with the remaining events."""
    clock, seen = SimEnvironment(), []
    clock.at(2.0, lambda _: seen.append(clock.now))
    clock.at(1.0, StopSimulation.callback)
    clock.run()
    assert (clock.now, seen) == (1.0, [])
    clock.run()
    assert seen == [2.0]


def test_our_calls_and_simpys_own_events_share_one_order() -> None:
    """``next(self._eid)``: calls of one instant run in the order in which they were made."""
    clock, seen = SimEnvironment(), []
    clock.at(1.0, lambda _: seen.append("ours"))
    timeout = clock.timeout(1.0)
    assert timeout.callbacks is not None
    timeout.callbacks.append(lambda _: seen.append("simpy's"))
    clock.at(1.0, lambda _: seen.append("ours again"))
    clock.run()
    assert seen == ["ours", "simpy's", "ours again"]
