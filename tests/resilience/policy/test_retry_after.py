"""A server's advice, and time asleep, on the ladder."""

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
def test_whatever_is_advised_is_bounded_or_none(advice: float) -> None:
    """Nobody is parked for ever, nobody is made to storm."""
    sane = clamp_retry_after(advice)
    if math.isnan(advice) or advice < 0:
        assert sane is None
    else:
        assert sane is not None
        assert MIN_RETRY_AFTER_S <= sane <= MAX_RETRY_AFTER_S
        assert sane == advice or not MIN_RETRY_AFTER_S <= advice <= MAX_RETRY_AFTER_S


@given(st.lists(st.tuples(st.none() | st.floats(), UNIT), max_size=100))
def test_no_advice_burns_an_attempt(steps: list[tuple[float | None, float]]) -> None:
    """The ladder below it is the one without it."""
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
def test_the_budget_counts_time_awake(asleep: float) -> None:
    """Ten minutes of it, whatever the night was."""
    backoff = RetryState(WINDOW)
    backoff.lost(0.0)
    backoff.exclude_sleep(asleep)
    assert backoff.next(599.9 + asleep, 0.5, None) is not None
    assert backoff.next(600.0 + asleep, 0.5, None) is None
