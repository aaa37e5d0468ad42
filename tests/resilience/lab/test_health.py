"""The figures of bare clients: over all returns, per storm, and per return."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.lab.health import ReferenceFigures, StormReturns, reference_figures

EXCESSES = st.lists(st.floats(0.0, 100.0), max_size=30)


def test_storms_without_any_return_have_no_times() -> None:
    assert reference_figures(5, [StormReturns((), {"server": 1.0})]) == ReferenceFigures(5, 1, 0)


def test_the_last_return_is_that_of_all_storms() -> None:
    storms = [StormReturns((1.0, 2.0), {"server": 0.5}), StormReturns((3.0, 4.0), {"server": 0.3})]
    figures = reference_figures(2, storms)
    assert (figures.returned, figures.excess_mean, figures.excess_last) == (4, 2.5, 4.0)
    assert figures.cpu_s == {"server": pytest.approx(0.2)}


@given(st.lists(EXCESSES, min_size=1, max_size=4))
def test_figures_lie_where_the_returns_do(excesses: list[list[float]]) -> None:
    figures = reference_figures(30, [StormReturns(each, {}) for each in excesses])
    every = [excess for each in excesses for excess in each]
    assert figures.returned == len(every)
    for value in (figures.excess_mean, figures.excess_p95, figures.excess_last):
        assert (value is None) is (not every)
        assert value is None or min(every) - 1e-9 <= value <= max(every) + 1e-9


@pytest.mark.parametrize("returns, p95", [(1, 1.0), (10, 10.0), (20, 19.0), (119, 114.0), (120, 114.0)])
def test_at_least_95_percent_are_within_their_p95(returns: int, p95: float) -> None:
    """As reports say; of ten returns the ninth is no bound for that."""
    figures = reference_figures(returns, [StormReturns([float(i) for i in range(1, returns + 1)], {})])
    assert figures.excess_p95 == p95
    assert p95 / returns >= 0.95
