"""Some cells of the table in docs/statistics.md, few runs each: wrong verdicts are rare, right ones frequent."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.lab.coverage import Cell, mean_verdicts, rate_verdicts

RUNS = 400
AT_MOST = 0.05 + 0.027
"""A share of 5 % exceeds it by chance in one of a hundred tests of so many runs; the seed is fixed."""


@pytest.mark.parametrize(
    "cell", [Cell(3, 100, 0.05), Cell(9, 100, 0.05), Cell(9, 100, 0.1), Cell(20, 50, 0.1), Cell(12, 30, 0.0)], ids=str
)
def test_a_rate_at_its_target_seldom_passes_or_fails(cell: Cell) -> None:
    found = rate_verdicts(cell, 0.95, RUNS, np.random.default_rng(1))
    assert max(found) <= AT_MOST


@pytest.mark.parametrize("cell", [Cell(9, 30, 0.05), Cell(20, 20, 0.1)], ids=str)
def test_a_mean_at_its_target_seldom_passes_or_fails(cell: Cell) -> None:
    found = mean_verdicts(cell, 5.0, RUNS, np.random.default_rng(1))
    assert max(found) <= AT_MOST


def test_a_rate_far_from_its_target_is_decided() -> None:
    rng = np.random.default_rng(1)
    assert rate_verdicts(Cell(20, 100, 0.05), 0.995, RUNS, rng).passed > 0.9
    assert rate_verdicts(Cell(20, 100, 0.05), 0.85, RUNS, rng).failed > 0.9
    assert mean_verdicts(Cell(9, 50, 0.05), 2.5, 100, rng).passed > 0.9


def test_events_that_fail_as_a_whole_are_not_taken_for_certain() -> None:
    """At a correlation of 0.5 a false failure stays rare, and a false pass is a third at most."""
    found = rate_verdicts(Cell(9, 100, 0.5), 0.95, RUNS, np.random.default_rng(1))
    assert found.failed <= AT_MOST
    assert found.passed <= 0.33
