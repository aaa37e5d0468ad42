"""Both failure detectors: never too early, never much too late, and tolerant of their own sleep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.failure_detectors import (
    GRID_S,
    LAG_TOLERANCE_S,
    ClientFailureDetector,
    HeartbeatTimeouts,
    LivenessAction,
    ProbeTimeouts,
    ServerFailureDetector,
    extended,
    first_ping_at,
    lag_of,
)
from tests.support.strategies import UNIT

RULES = HeartbeatTimeouts()
PROBE = ProbeTimeouts()
MOMENTS = st.lists(st.floats(0.0, 29.0), max_size=20)


def server(u: float = 0.5) -> ServerFailureDetector:
    """A server's detector for a connection that attached at 0."""
    return ServerFailureDetector(RULES, 0.0, u * RULES.interval)


def first_death(liveness: ServerFailureDetector) -> float:
    """When it declares the peer dead, checked at each of its deadlines."""
    for _ in range(100):
        now = liveness.next_deadline()
        if liveness.due(now) is LivenessAction.DEAD:
            return now
    raise AssertionError("it never does")


@given(UNIT)
def test_the_first_ping_is_spread_over_the_interval(u: float) -> None:
    """A herd that joins at once is not pinged all at once."""
    liveness = server(u)
    assert liveness.next_deadline() == pytest.approx(15 * u)
    assert liveness.due(liveness.next_deadline()) is LivenessAction.PING


def test_pings_follow_at_the_interval() -> None:
    """While the peer answers, one ping every 15 s."""
    liveness, pings = server(0.2), []
    for _ in range(5):
        now = liveness.next_deadline()
        assert liveness.due(now) is LivenessAction.PING
        liveness.heard(now + 0.01)
        pings.append(now)
    assert pings == pytest.approx([3, 18, 33, 48, 63])


def test_one_lost_pong_changes_nothing() -> None:
    """F9: the next pong within the grace period keeps the peer alive."""
    liveness = server(0.0)
    liveness.due(0.0)
    liveness.heard(0.01)
    assert liveness.due(15.0) is LivenessAction.PING  # its pong is lost
    assert liveness.due(30.0) is LivenessAction.PING
    liveness.heard(30.005)
    assert first_death(liveness) == pytest.approx(60.005)


@given(UNIT)
def test_a_second_ping_follows_an_unanswered_one_after_half_an_interval(u: float) -> None:
    """F9: with a grace period of two intervals the next regular ping would race with its end."""
    liveness = server(u)
    assert liveness.due(15 * u) is LivenessAction.PING
    liveness.heard(15 * u + 0.01)
    unanswered = liveness.next_deadline()
    assert liveness.due(unanswered) is LivenessAction.PING
    again = liveness.next_deadline()
    assert again == pytest.approx(unanswered + 7.5)
    assert liveness.due(again) is LivenessAction.PING
    assert liveness.dead_at() - again > 7


@given(UNIT, MOMENTS)
def test_a_peer_is_dead_exactly_one_grace_period_after_its_last_sign_of_life(u: float, moments: list[float]) -> None:
    liveness = server(u)
    for moment in sorted(moments):
        assert liveness.due(moment) is not LivenessAction.DEAD
        liveness.heard(moment)
    assert first_death(liveness) == pytest.approx(max(moments, default=0.0) + 30.0)


@given(UNIT, st.lists(st.tuples(st.floats(0.0, 10.0), st.booleans()), max_size=50))
def test_no_peer_is_dead_before_the_grace_period_ends(u: float, steps: list[tuple[float, bool]]) -> None:
    """Whatever the times of the checks, death needs 30 s without a sign of life."""
    liveness, now, last = server(u), 0.0, 0.0
    for step, sign in steps:
        now += step
        if sign:
            liveness.heard(now)
            last = now
        if liveness.due(now) is LivenessAction.DEAD:
            assert now - last >= 30.0 - 1e-9
            return
        assert now - last < 30.0 + 1e-9


@given(UNIT, st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_lag_extends_the_deadline_in_full(u: float, first: float, second: float) -> None:
    """Several lags add up."""
    liveness = server(u)
    liveness.extend_by_lag(first, first)
    liveness.extend_by_lag(second, first + second)
    assert liveness.dead_at() == pytest.approx(30.0 + first + second)


def test_a_sign_of_life_ends_the_extension() -> None:
    liveness = server()
    liveness.extend_by_lag(40.0, 40.0)
    liveness.heard(50.0)
    assert liveness.dead_at() == 80.0


def test_a_lag_before_the_last_sign_of_life_extends_nothing() -> None:
    """What arrived during the lag may be read before the timer runs."""
    liveness = server()
    liveness.heard(40.0)
    liveness.extend_by_lag(39.0, 40.0)
    assert liveness.dead_at() == 70.0


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.1, 60.0))
def test_an_extended_deadline_leaves_time_to_read_and_never_more_than_a_peer_gets(
    deadline: float, lag: float, now: float, longest: float
) -> None:
    found = extended(deadline, lag, now, longest=longest)
    assert deadline <= found <= max(deadline, now + longest)
    assert found >= now + min(LAG_TOLERANCE_S, longest)
    assert found >= min(deadline + lag, now + longest)


@pytest.mark.parametrize("deadline, now, lag", [(None, 9.0, 0.0), (5.0, 4.0, 0.0), (5.0, 5.5, 0.0), (5.0, 6.0, 1.0)])
def test_the_lag_of_a_wake_up(deadline: float | None, now: float, lag: float) -> None:
    assert lag_of(deadline, now) == lag


@pytest.mark.parametrize("late", [0.0, 1.0, 15.0, 29.0])
def test_missed_pings_are_not_made_up_for(late: float) -> None:
    liveness = server(0.0)
    assert liveness.due(late) is LivenessAction.PING
    assert liveness.due(late) is LivenessAction.NOTHING
    assert liveness.next_deadline() > late


# the client's side ----------------------------------------------------------------------------------------------------


def test_silence_then_probe_then_dead() -> None:
    """4 s of silence, a probe, 2 s for its reply."""
    liveness = ClientFailureDetector(PROBE, 10.0)
    assert liveness.next_deadline() == 14.0
    assert liveness.due(13.999) is LivenessAction.NOTHING
    assert liveness.due(14.0) is LivenessAction.PROBE
    assert liveness.next_deadline() == 16.0
    assert liveness.due(15.999) is LivenessAction.NOTHING
    assert liveness.due(16.0) is LivenessAction.DEAD


@given(st.lists(st.tuples(st.floats(0.0, 0.4), st.booleans()), max_size=80))
def test_a_client_declares_no_server_dead_before_silence_and_deadline(steps: list[tuple[float, bool]]) -> None:
    """Checked often enough, it needs 6 s without a message, and at most one step more."""
    liveness, now, last = ClientFailureDetector(PROBE, 0.0), 0.0, 0.0
    for step, sign in steps:
        now += step
        if sign:
            liveness.heard(now)
            last = now
        if liveness.due(now) is LivenessAction.DEAD:
            assert 6.0 - 1e-9 <= now - last <= 6.0 + 3 * 0.4
            return
        assert now - last <= 6.0 + 2 * 0.4


@pytest.mark.parametrize("slept", [5.0, 45.0, 300.0])
def test_a_client_that_slept_probes_first(slept: float) -> None:
    """F6: the reply has its whole deadline."""
    liveness = ClientFailureDetector(PROBE, 0.0)
    assert liveness.due(slept) is LivenessAction.PROBE
    assert liveness.next_deadline() == slept + 2.0


@pytest.mark.parametrize(
    "lag, expected",
    [
        (0.0, LivenessAction.DEAD),
        (LAG_TOLERANCE_S, LivenessAction.DEAD),
        (LAG_TOLERANCE_S + 0.01, LivenessAction.PROBE),
    ],
)
def test_a_late_wake_up_with_a_pending_probe_extends_its_deadline(lag: float, expected: LivenessAction) -> None:
    liveness = ClientFailureDetector(PROBE, 0.0)
    liveness.due(4.0)
    assert liveness.due(6.0 + lag) is expected


def test_any_message_answers_a_probe() -> None:
    """The probe asks only for a sign of life."""
    liveness = ClientFailureDetector(PROBE, 0.0)
    liveness.due(4.0)
    liveness.heard(5.0)
    assert liveness.next_deadline() == 9.0


def test_a_hint_probes_once() -> None:
    """A wake-up probes at once, but not while a probe is pending."""
    liveness = ClientFailureDetector(PROBE, 0.0)
    assert liveness.suspect(1.0) is LivenessAction.PROBE
    assert liveness.suspect(1.5) is LivenessAction.NOTHING
    assert liveness.due(3.0) is LivenessAction.DEAD


@given(UNIT, st.floats(0.0, 1e5), st.floats(1.0, 60.0))
def test_first_pings_fall_on_the_grid_within_a_slot_of_their_time(u: float, now: float, interval: float) -> None:
    """One wake-up serves many connections, and none waits longer than a slot for it."""
    moment = first_ping_at(u, now, interval)
    assert 0 <= moment - (now + u * interval) <= GRID_S
    assert (moment / GRID_S).is_integer()
