"""The return window compared with numbers computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.admission import SLOT_SHARE
from resilience.policy.return_window import MAX_CAP_S, ReturnWindow, return_window


@pytest.mark.parametrize(
    "population, capacity, expected",
    [
        (300, 3_000, (0.1, 0.3, 3.0)),
        (1_000_000, 50_000, (5.0, 3.0, 30.0)),
        (1_000_000, 3_000, (5.0, 6.0, 60.0)),
        (10_000, 3_000, (3.33333, 0.5, 5.0)),
        (0, 3_000, (0.05, 0.3, 3.0)),
        (1, 3_000, (0.05, 0.3, 3.0)),
    ],
)
def test_windows_computed_by_hand(population: int, capacity: float, expected: tuple[float, float, float]) -> None:
    """Spread, step and cap for populations from none to a million."""
    window = return_window(population, capacity)
    assert (window.spread_s, window.step_s, window.cap_s) == pytest.approx(expected, rel=1e-5)


def test_a_large_crowd_may_be_spread_over_longer() -> None:
    """A million and 50,000 joins/s are 20 s of work; step and cap stay."""
    assert return_window(1_000_000, 50_000, 60.0) == ReturnWindow(20.0, 3.0, 30.0)
    assert return_window(1_000_000, 50_000, 12.0).spread_s == 12.0


@given(st.integers(0, 2_000_000), st.integers(0, 2_000_000), st.floats(1.0, 1e6))
def test_a_larger_population_never_gets_a_shorter_window(one: int, other: int, capacity: float) -> None:
    small, large = (return_window(population, capacity) for population in sorted((one, other)))
    assert small.spread_s <= large.spread_s
    assert small.step_s <= large.step_s
    assert small.cap_s <= large.cap_s


@given(st.integers(0, 2_000_000), st.floats(1.0, 1e6))
def test_bounds(population: int, capacity: float) -> None:
    """Spread from 50 ms to 5 s, cap from 3 s to a minute, ten steps in a cap."""
    window = return_window(population, capacity)
    assert 0.05 <= window.spread_s <= 5.0
    assert 3.0 <= window.cap_s <= 60.0
    assert window.step_s == pytest.approx(window.cap_s / 10)


@given(st.integers(1, 200_000), st.floats(10_000.0, 1e6))
def test_retries_alone_come_no_faster_than_slots_are_given_out(population: int, capacity: float) -> None:
    """Where the cap is not limited: retries of the whole population, 0.75 cap apart on average."""
    window: ReturnWindow = return_window(population, capacity)
    if window.cap_s < MAX_CAP_S:
        assert population / (0.75 * window.cap_s) <= SLOT_SHARE * capacity
