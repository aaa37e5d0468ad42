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
    BackoffPolicy,
    Preset,
    RetryState,
    clamp_retry_after,
)
from resilience.policy.return_window import ReturnWindow
from tests.support.strategies import UNIT, policies


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


ADVICE = st.none() | st.floats() | st.floats(0.0, 700.0)
ANNOUNCED = ReturnWindow(0.1, 0.3, 3.0)
POLICIES = st.one_of(policies(), st.sampled_from([CLASSIC, WINDOW]))


def dials(policy: BackoffPolicy, advice: list[float | None], chances: list[float]) -> list[float]:
    """The times of the dials after a loss at 0 s: one for each advice, until the client gives up."""
    backoff, now, times = RetryState(policy), 0.0, list[float]()
    backoff.lost(now)
    for number, advised in enumerate(advice):
        retry = backoff.next(now, chances[min(backoff.attempt, len(chances) - 1)], ANNOUNCED, advised)
        if retry is None:
            return times
        assert number == 0 or retry.attempt >= number
        now += retry.delay
        times.append(now)
    return times


@given(POLICIES, st.lists(ADVICE, max_size=60), st.lists(UNIT, min_size=1, max_size=60))
def test_no_advice_makes_a_client_dial_more_often_than_its_ladder(
    policy: BackoffPolicy, advice: list[float | None], chances: list[float]
) -> None:
    """Except for the one free wait of an incident: the (n+1)-th dial is no earlier than the ladder's n-th."""
    advised = dials(policy, advice, chances)
    plain = dials(policy, [None] * len(advised), chances)
    is_slower_later = policy.preset is Preset.CLASSIC or policy.ladder.maximum >= ANNOUNCED.cap_s
    for mine, ladder in zip(advised[1:], plain, strict=False):
        assert not is_slower_later or mine >= ladder - 1e-6


@pytest.mark.parametrize("policy", [CLASSIC, WINDOW])
@pytest.mark.parametrize("advice", [0.0, 0.01, 1.0, 30.0, MAX_RETRY_AFTER_S])
def test_a_server_that_always_advises_is_given_up(policy: BackoffPolicy, advice: float) -> None:
    times = dials(policy, [advice] * 1000, [0.5])
    plain = dials(policy, [None] * 1000, [0.5])
    assert 2 <= len(times) <= len(plain) + 1
    assert times[-1] <= 11 * max(advice, 60.0)


def test_advice_of_zero_is_one_dial_more_than_the_ladder() -> None:
    """Not twenty a second without an end."""
    assert dials(CLASSIC, [0.0] * 100, [0.5]) == pytest.approx(
        [0.05 + t for t in (0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181)]
    )
    first_minute = [at for at in dials(WINDOW, [0.0] * 1000, [0.5]) if at <= 60]
    assert len(first_minute) == len([at for at in dials(WINDOW, [None] * 1000, [0.5]) if at <= 59.95]) + 1


def test_a_long_advice_leaves_the_whole_budget_to_the_ladder() -> None:
    """A foreign ``Retry-After: 600`` is obeyed once and then tried for as long as without it."""
    after = [at - MAX_RETRY_AFTER_S for at in dials(WINDOW, [MAX_RETRY_AFTER_S] + [None] * 1000, [0.5])]
    assert after == pytest.approx([0.0, *dials(WINDOW, [None] * 1000, [0.5])])


@pytest.mark.parametrize("asleep", [0.0, 3600.0])
def test_the_time_budget_excludes_sleep(asleep: float) -> None:
    backoff = RetryState(WINDOW)
    backoff.lost(0.0)
    backoff.exclude_sleep(asleep)
    assert backoff.next(599.9 + asleep, 0.5, None) is not None
    assert backoff.next(600.0 + asleep, 0.5, None) is None
