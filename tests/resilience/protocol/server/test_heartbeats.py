"""The heartbeat manager under a clock that the test owns."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.eventlog.vocabulary import LogEventKind
from resilience.policy.adaptive_heartbeat import AdaptiveBounds
from resilience.policy.failure_detectors import GRID_S, HeartbeatTimeouts
from resilience.policy.return_window import ReturnWindow
from resilience.protocol.effects import Record, SendToClient, ServerEffect
from resilience.protocol.messages import Ping
from resilience.protocol.server.heartbeats import HeartbeatManager, LivenessChange, ping_with
from resilience.random_streams import random_for

TIMEOUTS = HeartbeatTimeouts()
WINDOW = ReturnWindow(0.1, 0.3, 3.0)
SILENT, EXPIRED = LivenessChange.SILENT, LivenessChange.EXPIRED
NAMES = ["ann", "bob", "cid"]


class HeartbeatHarness:
    """A manager whose driver wakes at each deadline, unless it oversleeps."""

    def __init__(self, adaptive: AdaptiveBounds | None = None, first_ping: float | None = 0.5) -> None:
        self.now = 0.0
        self.effects: list[ServerEffect] = []
        draw = random_for(1, "server") if first_ping is None else lambda *_: first_ping
        self.manager = HeartbeatManager(TIMEOUTS, self.effects, draw, adaptive)
        self.changes: list[tuple[float, str, LivenessChange]] = []

    def attach(self, name: str, connection: int = 1, connection_no: int = 1) -> None:
        """Attach a connection and enable its pings."""
        self.manager.start(name, f"instance of {name}", connection, connection_no, self.now)
        self.manager.enable_pings(name, self.now)

    def wake(self, now: float) -> None:
        """Call the manager once, at ``now``."""
        self.now = now
        found = self.manager.handle_timeout(now, WINDOW)
        self.changes += [(now, name, change) for name, change in found]

    def run(self, until: float) -> None:
        """Wake at each deadline."""
        while (deadline := self.manager.next_deadline()) is not None and deadline <= until:
            self.wake(max(deadline, self.now))
        self.now = until

    def pings(self, connection: int = 1) -> list[int]:
        """The ids of the pings that were sent over a connection."""
        sent = [effect for effect in self.effects if isinstance(effect, SendToClient)]
        return [e.message.id for e in sent if e.connection == connection and isinstance(e.message, Ping)]

    def ping_times(self, name: str = "ann") -> list[float]:
        """When a participant was pinged."""
        return [record.t for record in self.records(LogEventKind.HEARTBEAT_SENT) if record.session_id == name]

    def records(self, kind: LogEventKind) -> list[Record]:
        """The records of a kind."""
        return [effect for effect in self.effects if isinstance(effect, Record) and effect.kind is kind]


def test_a_ping_carries_the_return_window_in_whole_milliseconds() -> None:
    assert ping_with(3, ReturnWindow(0.05, 0.3, 3.0)) == Ping(3, 50, 300, 3000)


def test_a_silent_participant_is_pinged_four_times_and_detached_at_the_end_of_grace() -> None:
    """S1: at the interval and again between; 30 s after the last sign of life the participant is silent."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.run(4.0)
    harness.manager.heard("ann", 4.0)
    harness.run(33.999)
    assert (len(harness.pings()), harness.changes) == (4, [])
    harness.run(200.0)
    assert harness.changes == [(34.0, "ann", SILENT), (64.0, "ann", EXPIRED)]
    assert harness.manager.next_deadline() is None


def test_a_closed_connection_expires_a_clean_up_time_after_its_end() -> None:
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.run(20.0)
    harness.manager.stop("ann", 20.0)
    harness.run(200.0)
    assert harness.changes == [(80.0, "ann", EXPIRED)]


def test_a_participant_that_left_never_expires() -> None:
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.manager.stop("ann", 0.0, expires=False)
    assert harness.manager.next_deadline() is None


def test_a_pong_is_timed_once() -> None:
    """A pong that was never asked for, or arrives again, is no measurement."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.run(7.5)
    for ping_id, at in ((9, 7.6), (1, 7.75), (1, 8.0)):
        harness.manager.pong_received("ann", ping_id, at)
    assert [record.value for record in harness.records(LogEventKind.HEARTBEAT_ACKED)] == [0.25]


def test_a_pong_does_not_count_for_the_next_connection() -> None:
    """F10: the outstanding pings of the old connection are forgotten with it."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.run(8.0)
    harness.attach("ann", 2, 2)
    harness.manager.pong_received("ann", 1, 9.0)
    assert harness.records(LogEventKind.HEARTBEAT_ACKED) == []
    assert harness.manager.next_deadline() == 15.5


def test_ping_ids_of_one_participant_never_repeat() -> None:
    harness = HeartbeatHarness()
    for number in range(1, 5):
        harness.attach("ann", number, number)
        harness.run(harness.now + 20.0)
        harness.manager.heard("ann", harness.now)
    ids = [ping_id for number in range(1, 5) for ping_id in harness.pings(number)]
    assert ids == sorted(set(ids))
    assert len(ids) >= 4


def test_no_ping_and_no_eviction_before_the_welcome_of_a_new_participant() -> None:
    """The join is not durable yet; a connection that waited too long is silent as soon as it is watched."""
    harness = HeartbeatHarness()
    harness.manager.start("ann", "i", 1, 1, 0.0)
    assert harness.manager.next_deadline() is None
    harness.run(40.0)
    harness.manager.enable_pings("ann", 40.0)
    harness.run(40.0)
    assert (harness.pings(), harness.changes) == ([], [(40.0, "ann", SILENT)])


def test_no_ping_before_the_welcome_of_a_returning_participant() -> None:
    """It is watched all the same: its grace period runs from the new connection on."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.manager.start("ann", "i", 2, 2, 1.0)
    harness.run(30.9)
    assert (harness.pings(2), harness.changes) == ([], [])
    harness.run(31.0)
    assert harness.changes == [(31.0, "ann", SILENT)]


def test_restored_participants_get_the_whole_clean_up_time() -> None:
    harness = HeartbeatHarness()
    harness.manager.restore("ann", "i", -50.0, 5.0, expires=True)
    harness.manager.restore("bob", "j", 99.0, 5.0, expires=False)
    assert (harness.manager.last_heard("ann"), harness.manager.last_heard("bob")) == (-50.0, 5.0)
    harness.run(200.0)
    assert harness.changes == [(65.0, "ann", EXPIRED)]


def test_a_forgotten_participant_has_no_deadline() -> None:
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.manager.forget("ann")
    harness.manager.forget("never tracked")
    assert harness.manager.next_deadline() is None


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0.0, 0.99)), max_size=8), st.integers(1, 9))
def test_first_pings_depend_on_the_instance_and_not_on_other_participants(
    others: list[tuple[str, float]], connection_no: int
) -> None:
    alone, among = HeartbeatHarness(first_ping=None), HeartbeatHarness(first_ping=None)
    for number, (name, at) in enumerate(sorted(others, key=lambda other: other[1])):
        among.run(at)
        among.attach(f"{name} {number}", 100 + number)
    for harness in (alone, among):
        harness.run(1.0)
        harness.attach("zoe", 1, connection_no)
        harness.run(80.0)
    assert alone.ping_times("zoe") == among.ping_times("zoe") != []


def test_the_first_ping_is_spread_over_the_interval_and_lies_on_the_grid() -> None:
    harness = HeartbeatHarness(first_ping=None)
    for number in range(200):
        harness.attach(f"n{number}", number)
    harness.run(TIMEOUTS.interval + GRID_S)
    first = [min(harness.ping_times(f"n{number}")) for number in range(200)]
    assert all(abs(at / GRID_S - round(at / GRID_S)) < 1e-6 for at in first)
    quarters = Counter(math.floor(4 * at / (TIMEOUTS.interval + GRID_S)) for at in first)
    assert set(quarters) == {0, 1, 2, 3}
    assert min(quarters.values()) > 25


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["heard", "pong", "attach", "stop", "leave", "oversleep"]),
        st.sampled_from(NAMES),
        st.floats(0.01, 25.0),
    ),
    max_size=40,
)


class LivenessAccount:
    """What the test knows of each participant: attached or not, last sign of life, lag since then."""

    def __init__(self) -> None:
        self.heard_at: dict[str, float] = {}
        self.lag: defaultdict[str, float] = defaultdict(float)
        self.ended_at: dict[str, float] = {}
        self.checked = 0

    def check(self, changes: list[tuple[float, str, LivenessChange]]) -> None:
        """Compare reported changes with the account."""
        for at, name, change in changes[self.checked :]:
            if change is SILENT:
                earliest = self.heard_at.pop(name) + TIMEOUTS.grace + self.lag[name]
                assert at >= earliest - 1e-6
                self.ended_at[name] = earliest - TIMEOUTS.grace
            else:
                assert at >= self.ended_at.pop(name) + TIMEOUTS.cleanup - 1e-6
        self.checked = len(changes)


def act(harness: HeartbeatHarness, account: LivenessAccount, what: str, name: str, number: int) -> None:
    """One step in the life of a participant."""
    now, is_attached = harness.now, name in account.heard_at
    if what == "attach":
        harness.attach(name, number, number)
        account.heard_at[name], account.lag[name] = now, 0.0
        account.ended_at.pop(name, None)
    elif is_attached and what in {"heard", "pong"}:
        harness.manager.heard(name, now)
        account.heard_at[name], account.lag[name] = now, 0.0
        if what == "pong":
            harness.manager.pong_received(name, number, now)
    elif is_attached and what in {"stop", "leave"}:
        harness.manager.stop(name, now, expires=what == "stop")
        del account.heard_at[name]
        if what == "stop":
            account.ended_at[name] = now


@pytest.mark.parametrize("adaptive", [None, AdaptiveBounds(15.0, 30.0)])
@given(steps=STEPS)
def test_no_participant_is_silent_before_its_grace_period_or_expires_before_its_clean_up_time(
    adaptive: AdaptiveBounds | None, steps: list[tuple[str, str, float]]
) -> None:
    """Counted from the last sign of life, with every lag given back; whatever happens meanwhile."""
    harness, account = HeartbeatHarness(adaptive), LivenessAccount()
    for number, (what, name, pause) in enumerate(steps, 1):
        if what == "oversleep":
            due = harness.manager.next_deadline()
            woke = harness.now + pause
            if due is not None and woke > due:
                harness.manager.extend_by_lag(woke - due, woke)
                for attached in account.heard_at:
                    account.lag[attached] += woke - due
                for away in account.ended_at:
                    account.ended_at[away] += woke - due
            harness.wake(woke)
        else:
            harness.run(harness.now + pause)
        account.check(harness.changes)
        act(harness, account, what, name, number)
    harness.run(harness.now + 1000.0)
    account.check(harness.changes)
    assert (account.heard_at, account.ended_at) == ({}, {})  # every connection was found silent and removed


@given(st.floats(0.0, 29.0), st.floats(0.6, 500.0))
def test_a_late_scheduler_gives_its_lag_back(heard_at: float, lag: float) -> None:
    """F8: both the grace period and the clean-up move by the lag."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.run(heard_at)
    harness.manager.heard("ann", heard_at)
    harness.manager.extend_by_lag(lag, heard_at + lag)
    harness.run(heard_at + lag + 2 * TIMEOUTS.cleanup)
    at = [(round(t - heard_at - lag, 6), change) for t, _, change in harness.changes]
    assert at == [(TIMEOUTS.grace, SILENT), (TIMEOUTS.cleanup, EXPIRED)]


@given(st.floats(0.0, 59.0), st.floats(0.6, 500.0))
def test_a_late_scheduler_gives_its_lag_back_to_the_absent(absent_for: float, lag: float) -> None:
    """F8: no client can return to a server that stands still."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.manager.stop("ann", 0.0)
    harness.run(absent_for)
    harness.manager.extend_by_lag(lag, absent_for + lag)
    harness.run(1000.0)
    ((at, _, change),) = harness.changes
    assert (round(at, 6), change) == (round(max(TIMEOUTS.cleanup + lag, absent_for + lag + 0.5), 6), EXPIRED)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.05, 14.0)), min_size=1, max_size=30))
def test_pings_come_an_interval_apart_and_once_between_when_unanswered(answers: list[tuple[bool, float]]) -> None:
    """At most two pings are outstanding; an answered one is followed by none before the next interval."""
    harness = HeartbeatHarness()
    harness.attach("ann")
    for answered, pause in answers:
        harness.run(harness.now + pause)
        assert len(harness.manager._heartbeats["ann"].outstanding) <= 2
        if harness.changes:
            return
        if answered and harness.pings():
            harness.manager.heard("ann", harness.now)
            harness.manager.pong_received("ann", harness.pings()[-1], harness.now)
            assert harness.manager._heartbeats["ann"].outstanding == ()
    times = harness.ping_times()
    assert all(later - earlier >= TIMEOUTS.interval / 2 - 1e-6 for earlier, later in itertools.pairwise(times))


def test_an_open_question_tightens_the_grace_of_every_attached_connection() -> None:
    """S13: the tighter grace counts from the opening at the earliest."""
    harness = HeartbeatHarness(AdaptiveBounds(3.0, 6.0))
    harness.attach("ann", 1)
    harness.run(20.0)
    harness.manager.heard("ann", 20.0)
    harness.attach("bob", 2)
    harness.manager.set_urgent(20.0, urgent=True)
    harness.run(60.0)
    silent = [(name, at) for at, name, change in harness.changes if change is SILENT]
    assert [name for name, _ in silent] == ["ann", "bob"]
    assert all(20.0 + 6.0 <= at < 20.0 + TIMEOUTS.grace for _, at in silent)


def test_without_adaptive_bounds_urgency_changes_nothing() -> None:
    harness = HeartbeatHarness()
    harness.attach("ann")
    harness.manager.set_urgent(0.0, urgent=True)
    harness.run(100.0)
    assert harness.changes == [(30.0, "ann", SILENT), (60.0, "ann", EXPIRED)]
