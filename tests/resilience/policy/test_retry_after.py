"""A server's retry time, and time asleep, on the ladder."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.backoff import (
    CLASSIC,
    MAX_RETRY_AFTER_S,
    MIN_RETRY_AFTER_S,
    WINDOW,
    RetryState,
    clamp_retry_after,
)
from tests.support.strategies import UNIT


@given(st.floats())
def test_advice_is_bounded_or_ignored(advice: float) -> None:
    """No advice stops a client for good or makes it storm."""
    sane = clamp_retry_after(advice)
    if math.isnan(advice) or advice < 0:
        assert sane is None
    else:
        assert sane is not None
        assert MIN_RETRY_AFTER_S <= sane <= MAX_RETRY_AFTER_S
        assert sane == advice or not MIN_RETRY_AFTER_S <= advice <= MAX_RETRY_AFTER_S


@given(st.lists(st.tuples(st.none() | st.floats(), UNIT), max_size=100))
def test_advice_costs_no_attempt(steps: list[tuple[float | None, float]]) -> None:
    """The ladder is the same as without advice."""
    advised, plain = RetryState(CLASSIC), RetryState(CLASSIC)
    for backoff in (advised, plain):
        backoff.lost(0.0)
    for advice, u in steps:
        retry = advised.next(1.0, u, None, advice)
        if clamp_retry_after(advice) is None:
            assert retry == plain.next(1.0, u, None)
        else:
            assert retry is not None
            assert retry.cause == "advice"
    assert advised.attempt == plain.attempt


@pytest.mark.parametrize("asleep", [0.0, 3600.0])
def test_the_time_budget_excludes_sleep(asleep: float) -> None:
    backoff = RetryState(WINDOW)
    backoff.lost(0.0)
    backoff.exclude_sleep(asleep)
    assert backoff.next(599.9 + asleep, 0.5, None) is not None
    assert backoff.next(600.0 + asleep, 0.5, None) is None
