"""Absolute times, sorted feeds and lazy alarms."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import HarnessError
from sim.model.clock import DelayLine, LazyTimer, SimEnvironment

T = TypeVar("T")


def _note(seen: list[tuple[float, T]], clock: SimEnvironment, what: T, _: object) -> None:
    seen.append((clock.now, what))


def test_a_run_stops_before_what_is_due_at_its_end() -> None:
    """The end of a leg is exclusive, so a reader at that time sees the state before that instant's events."""
    clock = SimEnvironment()
    seen: list[tuple[float, float]] = []
    for when in (0.1, 0.3, 0.7):
        clock.at(when, partial(_note, seen, clock, when))
    clock.run_until(0.3)
    assert (seen, clock.now) == ([(0.1, 0.1)], 0.3)
    clock.run_until(1.0)
    assert seen[1:] == [(0.3, 0.3), (0.7, 0.7)]


def test_a_call_into_the_past_comes_at_once() -> None:
    """Time never runs backwards, whatever a machine asks for."""
    clock, seen = SimEnvironment(), []
    clock.at(2.0, lambda _: clock.at(1.0, lambda _: seen.append(clock.now)))
    clock.run_until(3.0)
    assert seen == [2.0]


def test_calls_of_one_instant_come_in_the_order_of_asking() -> None:
    """Ties are broken by order, never by anything that could differ between processes."""
    clock = SimEnvironment()
    seen: list[tuple[float, str]] = []
    for name in "zayb":
        clock.at(1.0, partial(_note, seen, clock, name))
    clock.run_until(2.0)
    assert seen == [(1.0, name) for name in "zayb"]


def test_a_feed_keeps_one_pending_event_and_delivers_on_time() -> None:
    """However many items wait, the heap holds one."""
    clock, seen = SimEnvironment(), []
    line: DelayLine[int] = DelayLine(clock, lambda item: seen.append((clock.now, item)))
    for i in range(1000):
        line.put(i // 2 + 1.0, i)
    assert clock.pending == 1
    clock.run_until(2.5)
    assert seen == [(1.0, 0), (1.0, 1), (2.0, 2), (2.0, 3)]


def test_a_feed_may_be_fed_by_its_own_delivery() -> None:
    """What a delivery causes joins the same feed without a second timer."""
    clock, seen = SimEnvironment(), []

    def deliver(item: int) -> None:
        seen.append((clock.now, item))
        if item < 3:
            line.put(clock.now + 1.0, item + 1)

    line: DelayLine[int] = DelayLine(clock, deliver)
    line.put(1.0, 1)
    clock.run_until(10.0)
    assert seen == [(1.0, 1), (2.0, 2), (3.0, 3)]


def test_a_feed_refuses_what_is_out_of_order() -> None:
    """An item earlier than the last one is our own mistake, and said so."""
    line: DelayLine[int] = DelayLine(SimEnvironment(), lambda _: None)
    line.put(2.0, 1)
    with pytest.raises(HarnessError, match="order of time"):
        line.put(1.0, 2)


def test_a_deadline_that_moves_later_costs_nothing_until_the_old_one_comes() -> None:
    """An alarm rings at the armed time, its owner sets the later one, and nothing piles up in the heap."""
    clock, rings = SimEnvironment(), []
    deadline = 1.0

    def ring() -> None:
        rings.append(clock.now)
        if clock.now < deadline:
            timer.set(deadline)

    timer = LazyTimer(clock, ring)
    timer.set(deadline)
    for deadline in (2.0, 3.0, 5.0):
        timer.set(deadline)
    assert clock.pending == 1
    clock.run_until(10.0)
    assert rings == [1.0, 5.0]


def test_a_deadline_that_moves_earlier_is_kept_and_the_old_call_serves_the_next() -> None:
    """The call at 5 s is used again on the way to 8 s: it fires early and the owner asks again."""
    clock, rings = SimEnvironment(), []

    def ring() -> None:
        rings.append(clock.now)
        if clock.now < 8.0:
            timer.set(8.0)

    timer = LazyTimer(clock, ring)
    timer.set(5.0)
    timer.set(2.0)
    clock.run_until(10.0)
    assert rings == [2.0, 5.0, 8.0]


def test_deadlines_that_jump_to_and_fro_do_not_pile_up() -> None:
    """A client in a refusal alternates between a dial's timeout and a short delay; two calls are enough for both."""
    clock, peak = SimEnvironment(), 0
    timer = LazyTimer(clock, lambda: None)

    def dial(_: object) -> None:
        nonlocal peak
        timer.set(clock.now + 5.0)
        timer.set(clock.now + 0.3)
        peak = max(peak, len(timer._calls))

    for i in range(40):
        clock.at(i * 0.31, dial)
    clock.run_until(13.0)
    assert peak == 2


@given(st.lists(st.floats(0.0, 10.0), max_size=30), st.floats(0.0, 5.0), st.floats(0.0, 10.0))
def test_items_that_are_inserted_and_brought_forward_stay_in_order(
    times: list[float], by: float, not_before: float
) -> None:
    """Each comes at its own time, or so much earlier, never before the limit and never later than it was due."""
    clock = SimEnvironment()
    seen: list[tuple[float, int]] = []
    line: DelayLine[int] = DelayLine(clock, lambda item: seen.append((clock.now, item)))
    for number, when in enumerate(times):
        line.insert(when, number)
    line.advance(by, not_before=not_before)
    clock.run_until(20.0)
    due = {number: min(t, max(t - by, not_before)) for number, t in enumerate(times)}
    assert [number for _, number in seen] == sorted(due, key=lambda number: (times[number], number))
    assert all(t == due[number] for t, number in seen)
