"""The ladder, its budgets and its incidents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.backoff import (
    CLASSIC,
    WINDOW,
    BackoffPolicy,
    ExponentialDelays,
    Jitter,
    Preset,
    Retry,
    RetryState,
)
from resilience.policy.return_window import DEFAULT_RETURN_WINDOW, ReturnWindow, return_window
from tests.support.strategies import UNIT, exponential_delays, policies, windows

SMALL = ReturnWindow(0.1, 0.3, 3.0)


def delays(
    backoff: RetryState, count: int, *, u: float = 0.5, window: ReturnWindow | None = SMALL
) -> list[float | None]:
    """The delays of ``count`` attempts in a row, each decided when the former delay has passed."""
    now, found = backoff.lost_at, list[float | None]()
    for _ in range(count):
        retry = backoff.next(now, u, window)
        found.append(retry.delay if retry else None)
        now += retry.delay if retry else 0.0
    return found


def lost(policy: BackoffPolicy, now: float = 0.0) -> RetryState:
    """A retry state right after a loss."""
    backoff = RetryState(policy)
    backoff.lost(now)
    return backoff


def test_classic_is_the_contracts_ladder() -> None:
    """1, 2, 4, 8, 16, 30 ... and nothing after the tenth attempt."""
    assert delays(lost(CLASSIC), 12) == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, None, None]


def test_classic_counts_attempts_from_one_to_ten() -> None:
    backoff = lost(CLASSIC)
    numbers = [retry.attempt for _ in range(10) if (retry := backoff.next(0.0, 0.5, None))]
    assert numbers == list(range(1, 11))


def test_classic_ignores_window_and_random_numbers() -> None:
    assert delays(lost(CLASSIC), 6, u=0.99, window=None) == delays(lost(CLASSIC), 6, u=0.0, window=SMALL)


@pytest.mark.parametrize(
    "jitter, low, high",
    [(Jitter.NONE, 16, 16), (Jitter.EQUAL, 8, 16), (Jitter.FULL, 0, 16), (Jitter.DECORRELATED, 1, 24)],
)
def test_jitter_bounds_computed_by_hand(jitter: Jitter, low: float, high: float) -> None:
    """The fifth delay of the contract's ladder, nominally 16 s, at both ends of the uniform range."""
    ladder = ExponentialDelays(jitter=jitter)
    assert ladder.delay(4, 0.0, 8.0) == low
    assert ladder.delay(4, 1 - 1e-12, 8.0) == pytest.approx(high)


@given(exponential_delays(Jitter.NONE), st.integers(0, 100), UNIT)
def test_without_jitter_delays_never_fall_and_stay_within_the_cap(
    ladder: ExponentialDelays, rung: int, u: float
) -> None:
    assert ladder.delay(rung, u) <= ladder.delay(rung + 1, u) <= ladder.maximum


@given(exponential_delays(Jitter.EQUAL), st.integers(0, 100), UNIT)
def test_equal_jitter_is_between_half_and_all_of_the_nominal_delay(
    ladder: ExponentialDelays, rung: int, u: float
) -> None:
    nominal = ExponentialDelays(ladder.initial, ladder.maximum, ladder.multiplier).delay(rung, 0.0)
    assert nominal / 2 <= ladder.delay(rung, u) <= nominal


@given(exponential_delays(Jitter.FULL), st.integers(0, 100), UNIT)
def test_full_jitter_is_between_zero_and_the_nominal_delay(ladder: ExponentialDelays, rung: int, u: float) -> None:
    nominal = ExponentialDelays(ladder.initial, ladder.maximum, ladder.multiplier).delay(rung, 0.0)
    assert 0 <= ladder.delay(rung, u) <= nominal


@given(exponential_delays(Jitter.DECORRELATED), st.lists(UNIT, min_size=1, max_size=20))
def test_decorrelated_jitter_is_between_the_first_and_three_times_the_former_delay(
    ladder: ExponentialDelays, chances: list[float]
) -> None:
    previous: float | None = None
    for rung, u in enumerate(chances):
        delay = ladder.delay(rung, u, previous)
        before = ladder.initial if previous is None else previous
        assert ladder.initial <= delay <= min(ladder.maximum, 3 * before) or delay == ladder.maximum
        previous = delay


@given(exponential_delays(), st.integers(0, 10_000), UNIT)
def test_a_long_ladder_stays_within_the_cap(ladder: ExponentialDelays, rung: int, u: float) -> None:
    assert 0 <= ladder.delay(rung, u, ladder.maximum) <= ladder.maximum


@pytest.mark.parametrize("multiplier", [1.0, 1.01, 1e6, 1e300])
def test_extreme_multipliers_stay_within_the_cap(multiplier: float) -> None:
    """A delay that overflows is the cap; a multiplier of 1 keeps the first delay."""
    assert ExponentialDelays(multiplier=multiplier).delay(100_000, 0.5) == (1.0 if multiplier == 1.0 else 30.0)


def test_window_preset_climbs_from_step_to_cap() -> None:
    """By half from the step to the cap, with equal jitter."""
    found = delays(lost(WINDOW), 9, u=0.0)
    nominal = [0.3, 0.45, 0.675, 1.0125, 1.51875, 2.278125, 3.0, 3.0]
    assert found == pytest.approx([0.0, *(n / 2 for n in nominal)])


@given(windows(), UNIT)
def test_the_first_delay_of_the_window_preset_is_within_the_spread(window: ReturnWindow, u: float) -> None:
    retry = lost(WINDOW).next(0.0, u, window)
    assert retry is not None
    assert 0 <= retry.delay < window.spread_s


@given(windows(), UNIT, st.integers(2, 60), st.floats(0.0, 59.99))
def test_window_ladder_stays_between_half_a_step_and_the_cap(
    window: ReturnWindow, u: float, attempt: int, elapsed: float
) -> None:
    """Within a minute of the loss."""
    assert window.step_s / 2 <= WINDOW.delay(attempt, elapsed, u, window) <= window.cap_s


@pytest.mark.parametrize("elapsed, low, high", [(59.999, 1.5, 3.0), (60.0, 15.0, 30.0), (599.0, 15.0, 30.0)])
def test_the_window_preset_follows_classic_after_a_minute(elapsed: float, low: float, high: float) -> None:
    """From 60 s after the loss the delays are those of the contract's cap, with equal jitter."""
    assert WINDOW.delay(40, elapsed, 0.0, SMALL) == low
    assert WINDOW.delay(40, elapsed, 1 - 1e-12, SMALL) == pytest.approx(high)


def test_the_window_preset_gives_up_after_ten_minutes() -> None:
    """Whatever the number of attempts."""
    backoff = lost(WINDOW, now=100.0)
    assert backoff.next(699.9, 0.5, SMALL) is not None
    assert backoff.next(700.0, 0.5, SMALL) is None


def test_an_unannounced_window_spreads_over_a_second() -> None:
    retry = lost(WINDOW).next(0.0, 0.75, None)
    assert retry is not None
    assert retry.delay == pytest.approx(0.75 * DEFAULT_RETURN_WINDOW.spread_s) == 0.75


@pytest.mark.parametrize("population, first", [(30, 0.025), (300, 0.05), (150_000, 2.5)])
def test_the_first_delay_grows_with_the_population(population: int, first: float) -> None:
    retry = lost(WINDOW).next(0.0, 0.5, return_window(population, 3000))
    assert retry is not None
    assert retry.delay == pytest.approx(first)


@given(policies(), st.lists(UNIT, min_size=1, max_size=30))
def test_no_attempt_exceeds_a_budget(policy: BackoffPolicy, chances: list[float]) -> None:
    """No attempt is numbered above the attempt budget or decided at or after the time budget."""
    backoff, now = lost(policy), 0.0
    for u in chances:
        retry = backoff.next(now, u, SMALL)
        if retry is None:
            assert backoff.attempt == policy.attempts or (policy.budget is not None and now >= policy.budget)
            return
        assert policy.attempts is None or retry.attempt <= policy.attempts
        assert policy.budget is None or now < policy.budget
        now += retry.delay


def test_the_first_advice_replaces_the_delay_and_costs_no_attempt() -> None:
    """The ladder continues at its former position."""
    backoff = lost(CLASSIC)
    backoff.next(0.0, 0.5, None)
    assert backoff.next(1.0, 0.5, None, advice=7.5) == Retry(1, 7.5, "advice")
    assert delays(backoff, 3) == [2, 4, 8]


def test_later_advice_is_the_least_delay_of_an_attempt_that_counts() -> None:
    """The cause of the wait is what determined it."""
    backoff = lost(CLASSIC)
    backoff.next(0.0, 0.5, None, advice=7.5)
    later = [backoff.next(7.5, 0.5, None, advice) for advice in (0.0, 7.5, 7.5, 7.5)]
    assert later == [Retry(1, 1, "classic"), Retry(2, 7.5, "advice"), Retry(3, 7.5, "advice"), Retry(4, 8, "classic")]


def test_a_short_session_after_advice_gives_no_second_free_wait() -> None:
    """A server welcomes every client, then closes the connection with advice of zero."""
    backoff, found = lost(CLASSIC), list[float]()
    for now in range(0, 40, 4):
        retry = backoff.next(float(now), 0.5, None, advice=0.0)
        assert retry is not None
        found.append(retry.delay)
        backoff.restored(now + 1.0)
        backoff.lost(now + 4.0)
    assert found == [0.05, 1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_advice_does_not_extend_the_time_budget() -> None:
    assert lost(WINDOW).next(600.0, 0.5, None, advice=1.0) is None


def test_advice_is_followed_after_the_last_attempt() -> None:
    backoff = lost(CLASSIC)
    delays(backoff, 10)
    assert backoff.next(200.0, 0.5, None) is None
    assert backoff.next(200.0, 0.5, None, advice=3.0) is not None


def test_the_ladder_restarts_only_after_a_stable_session() -> None:
    """A session shorter than ``stable_after`` continues the incident; a longer one begins another."""
    backoff = lost(CLASSIC)
    delays(backoff, 3)
    backoff.restored(10.0)
    backoff.lost(14.999)
    assert (backoff.incident, delays(backoff, 1)) == (1, [8])
    backoff.restored(30.0)
    backoff.lost(35.0)
    assert (backoff.incident, delays(backoff, 1)) == (2, [1])


def test_accept_then_close_does_not_extend_the_time_budget() -> None:
    backoff = lost(WINDOW)
    for now in range(0, 600, 3):
        assert backoff.next(float(now), 0.5, SMALL) is not None
        backoff.restored(now + 1.0)
        backoff.lost(now + 2.0)
    assert backoff.incident == 1
    assert backoff.next(600.0, 0.5, SMALL) is None


def test_a_first_session_that_ends_early_is_an_incident_of_its_own() -> None:
    """A loss right after a join that needed no retry starts at the first delay."""
    backoff = lost(CLASSIC)
    backoff.restored(0.1)
    backoff.lost(1.0)
    assert (backoff.incident, delays(backoff, 2)) == (2, [1, 2])


def test_each_stable_session_that_ends_starts_an_incident() -> None:
    backoff, numbers = RetryState(CLASSIC), []
    for start in range(0, 100, 20):
        backoff.lost(float(start))
        numbers.append(backoff.incident)
        backoff.next(float(start), 0.5, None)
        backoff.restored(start + 1.0)
    assert numbers == [1, 2, 3, 4, 5]


def test_a_new_incident_forgets_the_former_delay() -> None:
    """Decorrelated jitter draws its first delay from the initial one."""
    backoff = lost(BackoffPolicy(Preset.CLASSIC, ExponentialDelays(jitter=Jitter.DECORRELATED), 10, None))
    delays(backoff, 6, u=0.9)
    backoff.restored(1000.0)
    backoff.lost(2000.0)
    assert delays(backoff, 1, u=0.9) == [pytest.approx(1 + 0.9 * 2)]
