"""Points for one answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.quiz.scoring import points

TAKEN = st.floats(-10.0, 100.0)


@pytest.mark.parametrize(
    "taken, expected", [(0.0, 1000), (1.5, 875), (3.0, 750), (6.0, 500), (60.0, 500), (-1.0, 1000)]
)
def test_points_computed_by_hand(taken: float, expected: int) -> None:
    """1000 at once, 500 at the deadline of six seconds, linear between."""
    assert points(correct=True, taken=taken, allowed=6.0) == expected


@given(TAKEN, st.floats(0.1, 60.0))
def test_a_wrong_answer_is_worth_nothing(taken: float, allowed: float) -> None:
    assert points(correct=False, taken=taken, allowed=allowed) == 0


@given(TAKEN, TAKEN, st.floats(0.1, 60.0))
def test_a_later_answer_is_never_worth_more(one: float, other: float, allowed: float) -> None:
    early, late = sorted((one, other))
    assert points(correct=True, taken=early, allowed=allowed) >= points(correct=True, taken=late, allowed=allowed)


@given(TAKEN, st.floats(0.1, 60.0))
def test_a_right_answer_is_worth_500_to_1000(taken: float, allowed: float) -> None:
    assert 500 <= points(correct=True, taken=taken, allowed=allowed) <= 1000
