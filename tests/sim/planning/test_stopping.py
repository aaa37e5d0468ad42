"""When a point has enough replications: the rule reads its own values in order, and nothing else."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.planning.stopping import FEWEST, StoppingRule, half_width

VALUES = st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=60, max_size=60)


def test_without_a_half_width_the_number_is_the_number() -> None:
    assert StoppingRule(7).wanted([]) == StoppingRule(7).wanted([0.1, 0.9] * 10) == 7


def test_equal_values_stop_at_the_fewest() -> None:
    rule = StoppingRule(40, 0.01)
    assert rule.wanted([]) == rule.wanted([0.5] * FEWEST) == FEWEST


def test_wide_intervals_run_to_the_most() -> None:
    values = [0.0, 1.0] * 30
    rule, known = StoppingRule(40, 0.01), 0
    looks = []
    while known < rule.wanted(values[:known]):
        known = rule.wanted(values[:known])
        looks.append(known)
    assert looks == [5, 10, 20, 40]


def test_what_was_not_measured_is_not_narrow() -> None:
    assert StoppingRule(12, 0.5).wanted([None] * 12) == 12
    assert math.isinf(half_width([0.5, None]))
    assert math.isinf(half_width([0.5]))


@given(VALUES, st.floats(0.001, 0.5), st.integers(1, 60))
def test_further_values_never_change_a_look(values: list[float | None], width: float, most: int) -> None:
    """Running ahead, or continuing later, ends at the same number."""
    rule = StoppingRule(most, width)
    end = rule.wanted(values)
    assert rule.wanted(values[:end]) == end <= most
    asked = [rule.wanted(values[:n]) for n in range(end)]
    assert asked == sorted(asked)
    assert all(number > n for n, number in enumerate(asked))


def test_the_half_width_covers_at_its_confidence() -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal(3.0, 2.0, (2000, 8))
    covered = [abs(row.mean() - 3.0) <= half_width(list(row)) for row in draws]
    assert 0.93 < np.mean(covered) < 0.97
