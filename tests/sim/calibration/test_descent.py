"""The search on a loss that has jumps: what slopes do not see."""

from __future__ import annotations

import numpy as np
import pytest

from sim.calibration.descent import FACTORS, Floats, descend

TRUE = np.array([0.004, 0.02, 1.0])


def stepped(numbers: Floats) -> float:
    """How far each number is from the true one, in whole steps of 2 %: flat between its jumps."""
    return float(np.sum(np.floor(np.abs(np.log(numbers / TRUE)) / 0.02)))


@pytest.mark.parametrize("apart", [[1.0, 1.0, 1.0], [2.5, 0.4, 1.3], [0.1, 9.0, 0.97]])
def test_the_least_of_a_loss_with_jumps_is_found(apart: list[float]) -> None:
    found, least = descend(TRUE * apart, stepped)
    assert stepped(found) == least == 0.0
    assert np.abs(np.log(found / TRUE)).max() < 0.02


def test_no_loss_becomes_greater_and_a_cost_of_nothing_stays() -> None:
    """A loss in which two numbers trade off; the third is 0, and no factor makes it anything else."""
    start = np.array([3.0, 1.0, 0.0])

    def loss(numbers: Floats) -> float:
        return abs(float(numbers[0] + numbers[1]) - 2.0) + abs(float(numbers[0]) - 0.5)

    found, least = descend(start, loss)
    assert loss(found) == least < 0.2 < loss(start)
    assert found[2] == 0.0


def test_a_least_that_is_reached_costs_two_calls_a_number_and_factor() -> None:
    calls = 0

    def loss(numbers: Floats) -> float:
        nonlocal calls
        calls += 1
        return stepped(numbers)

    descend(TRUE, loss)
    assert calls == 1 + 2 * len(TRUE) * len(FACTORS)
