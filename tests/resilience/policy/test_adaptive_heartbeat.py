"""The adaptive heartbeat: within its bounds, tolerant of one lost pong, fair when timeouts change."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resilience.policy.adaptive_heartbeat import (
    INITIAL_TIMEOUT_S,
    MAX_MISSED_PINGS,
    AdaptiveBounds,
    RttEstimator,
    adapt_timeouts,
)
from resilience.policy.failure_detectors import HeartbeatTimeouts, LivenessAction, ServerFailureDetector
from tests.support.strategies import UNIT

TIMEOUTS = st.floats(0.0, 1e6)
TRIPS = st.lists(st.floats(0.0, 60.0), min_size=1, max_size=50)


@st.composite
def settings(draw: st.DrawFn) -> tuple[HeartbeatTimeouts, AdaptiveBounds]:
    """Any timeouts that the configuration accepts."""
    interval = draw(st.floats(0.5, 60.0))
    grace = draw(st.floats(interval * 1.1, 200.0))
    floor = draw(st.floats(0.1, interval))
    least = draw(st.floats(floor * 1.01, grace))
    assume(floor < least)
    return HeartbeatTimeouts(interval, grace, grace * 2), AdaptiveBounds(floor, least)


@given(settings(), TIMEOUTS, st.booleans())
def test_adapted_timeouts_stay_between_the_floors_and_the_plain_ones(
    rules: tuple[HeartbeatTimeouts, AdaptiveBounds], timeout: float, urgent: bool
) -> None:
    plain, adaptive = rules
    now = adapt_timeouts(plain, adaptive, timeout, urgent=urgent)
    assert adaptive.interval_floor <= now.interval <= plain.interval
    assert adaptive.grace_floor <= now.grace <= plain.grace
    assert now.cleanup == plain.cleanup
    assert urgent or now == plain


@given(settings(), TIMEOUTS)
def test_one_lost_pong_changes_nothing(rules: tuple[HeartbeatTimeouts, AdaptiveBounds], timeout: float) -> None:
    """F9: the grace period covers two pings and the usual reply time, as far as the plain timeouts allow."""
    plain, adaptive = rules
    now = adapt_timeouts(plain, adaptive, timeout, urgent=True)
    assert now.grace >= min(MAX_MISSED_PINGS * now.interval + timeout, plain.grace)


@given(st.floats(0.01, 0.5), UNIT)
def test_a_peer_that_loses_every_second_pong_stays_alive(trip: float, u: float) -> None:
    """With the default floors, for any round trip."""
    rules = adapt_timeouts(HeartbeatTimeouts(), AdaptiveBounds(5.0, 10.0), timeout(trip), urgent=True)
    liveness, pings = ServerFailureDetector(rules, 0.0, u * rules.interval), 0
    while liveness.next_deadline() < 300.0:
        now = liveness.next_deadline()
        assert liveness.due(now) is LivenessAction.PING, now
        pings += 1
        if pings % 2 and now + trip < liveness.next_deadline():
            liveness.heard(now + trip)
    assert pings > 20


def timeout(trip: float) -> float:
    """The time-out of a link with constant round trips."""
    trips = RttEstimator()
    for _ in range(30):
        trips.observe(trip)
    return trips.timeout


@given(TRIPS)
def test_the_time_out_is_no_less_than_the_fastest_trip(trips: list[float]) -> None:
    estimate = RttEstimator()
    assert estimate.timeout == INITIAL_TIMEOUT_S
    for trip in trips:
        estimate.observe(trip)
    assert min(trips) * (1 - 1e-9) <= estimate.timeout <= 9 * max(trips) + 1e-9


def test_the_estimate_is_that_of_rfc_6298() -> None:
    """Computed by hand: 100 ms, then 200 ms."""
    estimate = RttEstimator()
    estimate.observe(0.1)
    assert estimate.timeout == pytest.approx(0.1 + 4 * 0.05)
    estimate.observe(0.2)
    assert estimate.timeout == pytest.approx(0.1125 + 4 * (0.75 * 0.05 + 0.25 * 0.1))


@given(settings(), settings(), UNIT, st.floats(0.0, 300.0), st.floats(0.0, 300.0))
def test_no_peer_is_late_by_a_timeout_that_did_not_apply_to_it(
    old: tuple[HeartbeatTimeouts, AdaptiveBounds],
    new: tuple[HeartbeatTimeouts, AdaptiveBounds],
    u: float,
    heard: float,
    after: float,
) -> None:
    """After a change no peer is dead before the old grace period ends, or before a whole new one since the change."""
    liveness = ServerFailureDetector(old[0], 0.0, u * old[0].interval)
    liveness.heard(heard)
    changed = heard + min(after, old[0].grace * 0.999)
    before = liveness.dead_at()
    liveness.set_timeouts(new[0], changed)
    assert liveness.dead_at() >= min(before, changed + new[0].grace) - 1e-9
    assert liveness.dead_at() > changed - 1e-9


@given(settings(), UNIT, st.floats(0.0, 100.0))
def test_a_shorter_interval_starts_within_one_interval_and_spread(
    rules: tuple[HeartbeatTimeouts, AdaptiveBounds], u: float, now: float
) -> None:
    plain, adaptive = rules
    liveness = ServerFailureDetector(plain, now, now + u * plain.interval)
    quick = adapt_timeouts(plain, adaptive, 0.0, urgent=True)
    assert liveness.set_timeouts(quick, now) == (quick != plain)
    assert now <= liveness.next_deadline() <= now + u * quick.interval + 1e-9


@given(settings(), UNIT, TIMEOUTS)
def test_the_plain_grace_period_applies_again_after_a_question(
    rules: tuple[HeartbeatTimeouts, AdaptiveBounds], u: float, timeout_s: float
) -> None:
    plain, adaptive = rules
    liveness = ServerFailureDetector(plain, 0.0, u * plain.interval)
    liveness.set_timeouts(adapt_timeouts(plain, adaptive, timeout_s, urgent=True), 0.1)
    liveness.heard(0.2)
    liveness.set_timeouts(plain, 0.3)
    assert liveness.dead_at() == pytest.approx(0.2 + plain.grace)
