"""Both failure detectors: never too early, never much too late, and never for their own sleep."""

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
    align_to_grid,
)
from tests.support.strategies import UNIT

RULES = HeartbeatTimeouts()
PROBE = ProbeTimeouts()
MOMENTS = st.lists(st.floats(0.0, 29.0), max_size=20)


def server(u: float = 0.5) -> ServerFailureDetector:
    """A server's view of a connection that attached at 0."""
    return ServerFailureDetector(RULES, 0.0, u)


def first_death(liveness: ServerFailureDetector) -> float:
    """When it calls the peer dead, asked at each of its deadlines."""
    for _ in range(100):
        now = liveness.next_deadline()
        if liveness.due(now) is LivenessAction.DEAD:
            return now
    raise AssertionError("it never does")


@given(UNIT)
def test_the_first_ping_is_spread_over_the_interval(u: float) -> None:
    """A herd that joins at once does not beat as one."""
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
    """F9: the next answer within grace keeps the peer alive."""
    liveness = server(0.0)
    liveness.due(0.0)
    liveness.heard(0.01)
    assert liveness.due(15.0) is LivenessAction.PING  # its pong is lost
    assert liveness.due(30.0) is LivenessAction.PING
    liveness.heard(30.005)
    assert first_death(liveness) == pytest.approx(60.005)


@given(UNIT)
def test_a_lost_pong_gets_its_second_chance_well_before_the_end(u: float) -> None:
    """F9: with a grace of two intervals the next ping would race with the end; another goes out half an interval on."""
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
def test_silence_kills_at_grace_after_the_last_sign_of_life(u: float, moments: list[float]) -> None:
    """Never before, and not a tick later."""
    liveness = server(u)
    for moment in sorted(moments):
        assert liveness.due(moment) is not LivenessAction.DEAD
        liveness.heard(moment)
    assert first_death(liveness) == pytest.approx(max(moments, default=0.0) + 30.0)


@given(UNIT, st.lists(st.tuples(st.floats(0.0, 10.0), st.booleans()), max_size=50))
def test_nobody_is_dead_before_grace(u: float, steps: list[tuple[float, bool]]) -> None:
    """Whatever is asked when, death needs 30 s without a sign."""
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
def test_forgiven_lag_is_given_back_whole(u: float, first: float, second: float) -> None:
    """Lags add up."""
    liveness = server(u)
    liveness.extend_by_lag(first)
    liveness.extend_by_lag(second)
    assert liveness.dead_at() == pytest.approx(30.0 + first + second)


def test_a_sign_of_life_ends_the_forgiveness() -> None:
    """Once heard from, a peer has its ordinary grace again."""
    liveness = server()
    liveness.extend_by_lag(40.0)
    liveness.heard(50.0)
    assert liveness.dead_at() == 80.0


@pytest.mark.parametrize("late", [0.0, 1.0, 15.0, 29.0])
def test_a_late_ping_is_one_ping(late: float) -> None:
    """Pings that were slept through are not made up for."""
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
def test_a_client_calls_nobody_dead_before_silence_and_deadline(steps: list[tuple[float, bool]]) -> None:
    """Asked often enough, it needs 6 s without a message, and takes no more than that and a step."""
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
def test_a_client_that_slept_probes_before_it_judges(slept: float) -> None:
    """F6: waking long after the silence began asks first, with the whole deadline for the reply."""
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
def test_lag_tolerance_with_a_probe_out(lag: float, expected: LivenessAction) -> None:
    """A client that woke late while its probe was out asks again instead of killing."""
    liveness = ClientFailureDetector(PROBE, 0.0)
    liveness.due(4.0)
    assert liveness.due(6.0 + lag) is expected


def test_any_message_answers_a_probe() -> None:
    """What was asked is whether anybody is there."""
    liveness = ClientFailureDetector(PROBE, 0.0)
    liveness.due(4.0)
    liveness.heard(5.0)
    assert liveness.next_deadline() == 9.0


def test_suspicion_from_outside_probes_once() -> None:
    """A wake-up probes at once, but not while a probe is out."""
    liveness = ClientFailureDetector(PROBE, 0.0)
    assert liveness.suspect(1.0) is LivenessAction.PROBE
    assert liveness.suspect(1.5) is LivenessAction.NOTHING
    assert liveness.due(3.0) is LivenessAction.DEAD


@given(UNIT, st.floats(0.0, 1e5), st.floats(1.0, 60.0))
def test_first_pings_fall_on_the_grid_within_a_slot_of_their_moment(u: float, now: float, interval: float) -> None:
    """One wake-up does for many connections, and nobody waits more than a slot for it."""
    moment = now + align_to_grid(u, now, interval) * interval
    assert 0 <= moment - (now + u * interval) <= GRID_S + 1e-9
    assert abs(moment / GRID_S - round(moment / GRID_S)) < 1e-6
