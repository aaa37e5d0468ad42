"""What policy computes of arrays is, bit for bit, what it computes of each number alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.backoff import BackoffPolicy
from resilience.policy.elementwise import choose, greater, lesser
from resilience.policy.failure_detectors import LAG_TOLERANCE_S, extended, first_ping_at
from resilience.policy.return_window import ReturnWindow
from tests.support.strategies import UNIT, exponential_delays, policies, windows

np = pytest.importorskip("numpy")

FINITE = st.floats(-1e9, 1e9)
ROWS = st.lists(st.tuples(UNIT, st.floats(0.0, 1000.0), st.floats(0.0, 600.0)), min_size=1, max_size=6)


def same(of_arrays: Any, of_numbers: list[Any]) -> bool:  # noqa: ANN401 - numbers, booleans or arrays of them
    """Whether an array, or one number for all, holds exactly these."""
    return bool(np.broadcast_to(of_arrays, len(of_numbers)).tolist() == of_numbers)


@pytest.mark.parametrize("mine, builtin", [(lesser, min), (greater, max)])
@given(pairs=st.lists(st.tuples(FINITE, FINITE), min_size=1))
def test_the_lesser_and_the_greater_are_those_of_python(
    mine: Callable[..., float], builtin: Callable[..., float], pairs: list[tuple[float, float]]
) -> None:
    expected = [builtin(one, other) for one, other in pairs]
    assert [mine(one, other) for one, other in pairs] == expected
    assert same(mine(*(np.array(column) for column in zip(*pairs, strict=True))), expected)


def test_a_choice_is_one_of_its_arguments() -> None:
    assert choose(True, 0.1, 1e300) == 0.1
    assert choose(False, 0.1, 1e300) == 1e300
    assert same(choose(np.array([True, False]), 0.1, np.array([1.0, 3.0])), [0.1, 3.0])


@given(exponential_delays(), st.integers(0, 200), ROWS)
def test_a_ladder_takes_arrays(ladder: Any, rung: int, rows: list[tuple[float, float, float]]) -> None:  # noqa: ANN401
    u, _, previous = (np.array(column) for column in zip(*rows, strict=True))
    assert same(ladder.delay(rung, u, previous), [ladder.delay(rung, row[0], row[2]) for row in rows])
    assert same(ladder.delay(rung, u), [ladder.delay(rung, row[0]) for row in rows])


@given(policies(), windows(), st.integers(1, 60), ROWS)
def test_a_policy_takes_arrays(
    policy: BackoffPolicy, window: ReturnWindow, attempt: int, rows: list[tuple[float, float, float]]
) -> None:
    u, elapsed, previous = (np.array(column) for column in zip(*rows, strict=True))
    expected = [policy.delay(attempt, row[1], row[0], window, row[2]) for row in rows]
    assert same(policy.delay(attempt, elapsed, u, window, previous), expected)
    assert same(policy.exhausted(attempt, elapsed), [policy.exhausted(attempt, row[1]) for row in rows])


@given(st.lists(st.floats(0.0, 100.0), min_size=1), *[st.floats(0.0, 100.0)] * 2, st.floats(0.1, 60.0))
def test_extended_deadlines_take_arrays(deadlines: list[float], lag: float, now: float, longest: float) -> None:
    expected = [extended(deadline, lag, now, longest=longest) for deadline in deadlines]
    assert expected == [
        max(each, min(each + lag, now + longest), now + min(LAG_TOLERANCE_S, longest)) for each in deadlines
    ]
    found: Any = np.array(deadlines)
    assert same(extended(found, lag, now, longest=longest), expected)


@given(st.lists(st.tuples(UNIT, st.floats(0.0, 1e5)), min_size=1), st.floats(1.0, 60.0))
def test_first_pings_take_arrays(rows: list[tuple[float, float]], interval: float) -> None:
    u, now = (np.array(column) for column in zip(*rows, strict=True))
    assert same(first_ping_at(u, now, interval), [first_ping_at(*row, interval) for row in rows])
