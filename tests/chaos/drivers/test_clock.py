"""A driver's clock is known as well as its answers allow, and a driver that lies about time is found out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.drivers.clock import TOLERANCE_S, DriverClock, Greeting
from chaos.drivers.messages import BrokenLineError

OFFSETS = st.floats(-1e6, 1e6)
DELAYS = st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=20)
ROUNDING_S = 1e-6


def measured(offset: float, delays: list[tuple[float, float]]) -> DriverClock:
    """A clock that is ``offset`` behind the runner's, greeted once a second with these delays of order and answer."""
    clock = DriverClock()
    for i, (out, back) in enumerate(delays):
        clock.measure(Greeting(1000.0 + i, 1000.0 + i + out - offset, 1000.0 + i + out + back))
    return clock


@given(OFFSETS, DELAYS)
def test_the_offset_is_as_sure_as_it_says(offset: float, delays: list[tuple[float, float]]) -> None:
    """Never wrong by more than its uncertainty, and never less sure than the quickest answer allows."""
    clock = measured(offset, delays)
    assert abs(clock.offset - offset) <= clock.uncertainty + ROUNDING_S
    assert clock.uncertainty <= min(out + back for out, back in delays) / 2 + ROUNDING_S


@given(OFFSETS, DELAYS, st.floats(0, 60), st.floats(0, 0.5))
def test_the_times_of_an_honest_driver_are_accepted(
    offset: float, delays: list[tuple[float, float]], later: float, late: float
) -> None:
    """They are off by no more than the uncertainty, and never after their own line."""
    clock = measured(offset, delays)
    happened = 1100.0 + later
    found = clock.instant("a", happened - offset, happened + late)
    assert found <= happened + late
    assert abs(found - happened) <= clock.uncertainty + ROUNDING_S
    clock.compare(Greeting(happened, happened + late - offset, happened + 2 * late))


def broken(call: str, *times: float) -> str:
    clock = measured(10.0, [(0.001, 0.001)])
    clock.instant("a", 995.0, 1006.0)
    with pytest.raises(BrokenLineError) as caught:
        clock.compare(Greeting(*times)) if call == "compare" else clock.instant("a", *times)
    return str(caught.value)


def test_time_that_runs_backwards_is_a_lie() -> None:
    assert "earlier than a line of a before it" in broken("instant", 994.9, 1006.0)
    assert "earlier than an answer to hello before it" in broken("compare", 1005.0, 989.0, 1005.1)


def test_time_after_the_line_itself_is_a_lie() -> None:
    assert "1.999 s after its line came" in broken("instant", 998.0, 1006.0)


@pytest.mark.parametrize("by", [-0.5, 0.5])
def test_a_clock_that_moved_is_a_lie(by: float) -> None:
    assert "its clock moved by 0.49" in broken("compare", 1050.0, 1040.001 + by, 1050.002)


def test_threads_may_write_in_another_order_than_they_read_the_clock() -> None:
    clock = measured(0.0, [(0.001, 0.001)])
    clock.instant("a", 1005.0, 1005.1)
    assert clock.instant("a", 1004.995, 1005.1) == pytest.approx(1004.995, abs=0.001)


def test_clients_in_processes_of_their_own_may_be_reported_in_any_order() -> None:
    """The tabs of a browser do not wait for one another, nor for the answer to a greeting."""
    clock = measured(0.0, [(0.001, 0.001)])
    clock.instant("a", 1005.0, 1005.1)
    clock.compare(Greeting(1005.05, 1005.1, 1005.15))
    assert clock.instant("b", 1004.5, 1005.2) == pytest.approx(1004.5, abs=0.001)
    with pytest.raises(BrokenLineError, match=r"0\.500 s earlier than a line of a before it"):
        clock.instant("a", 1004.5, 1005.2)


def test_a_clock_that_moves_while_it_is_measured_is_a_lie() -> None:
    clock = measured(0.0, [(0.001, 0.001)])
    with pytest.raises(BrokenLineError, match="between two answers"):
        clock.measure(Greeting(1001.0, 1001.2, 1001.002))


def test_a_clock_of_whole_milliseconds_is_measured() -> None:
    """Its answers contradict one another by a rounding, which then is the uncertainty."""
    clock = DriverClock()
    for i in range(20):
        sent = 1000.0 + i * 1.0003
        clock.measure(Greeting(sent, round(sent + 0.00005, 3), sent + 0.0001))
    assert abs(clock.offset) <= 0.001
    assert clock.uncertainty < TOLERANCE_S
