"""Every invariant passes a clean log and finds its planted defect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.checking import CheckResult, check_one
from reports.frames import RunHistory
from reports.invariants import CHECKS, run_checks
from reports.summary import Invariant
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict
from resilience.experiment.faults import RefuseFault

from ..support.log_builder import EPOCH, LogBuilder, clean_history, experiment

Plant = Callable[[LogBuilder], object]


def _verdict(name: str, history: LogBuilder) -> Invariant:
    return next(item for item in run_checks(history.log()) if item.name == name)


def _without(history: LogBuilder, kind: LogEventKind, who: str) -> None:
    gone = next(e for e in history.events if e.kind is kind and e.session_id == history.people[who].session)
    history.events.remove(gone)


NOT_IN_THE_CLEAN_RUN = {
    "rejected_answers_not_scored",
    "dead_peers_detected",
    "dials_paced",
    *(name for name, rule in CHECKS.items() if rule.check.__module__.endswith(".durability")),
    *(name for name, rule in CHECKS.items() if ".client_" in rule.check.__module__),
}
"""The clean run has no rejected answer, silence, second attempt, database, or record of what clients were shown."""


def test_a_clean_run_breaks_no_invariant() -> None:
    """Every invariant that applies finds cases."""
    found = run_checks(clean_history().add(0.1, Role.SERVER, "server", LogEventKind.SERVER_STARTED, detail=EPOCH).log())
    judged = [item for item in found if item.verdict is not Verdict.NOT_APPLICABLE]
    assert {item.name: item.detail for item in judged if item.verdict is not Verdict.PASS} == {}
    assert {item.name for item in judged} == set(CHECKS) - NOT_IN_THE_CLEAN_RUN
    assert all(item.checked > 0 for item in judged)


def test_a_check_without_cases_is_never_a_pass() -> None:
    empty = run_checks(LogBuilder(experiment(faults=())).log())
    assert {item.verdict for item in empty} == {Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE}


def _late_close_logged_under_its_own_number(history: LogBuilder) -> None:
    history.server(30.0, "c0", LogEventKind.TRANSPORT_LOST, connection_no=1, cause="closed")
    history.server(30.0, "c0", LogEventKind.SESSION_DETACHED, connection_no=1, cause="closed")


def _late_close_logged_under_the_current_number(history: LogBuilder) -> None:
    history.server(30.0, "c0", LogEventKind.TRANSPORT_LOST, connection_no=1, cause="closed")
    history.server(30.0, "c0", LogEventKind.SESSION_DETACHED, connection_no=2, cause="closed")


def _attached_twice(history: LogBuilder) -> None:
    history.restore("c0", 30.0)


def _number_goes_back(history: LogBuilder) -> None:
    history.server(30.0, "c0", LogEventKind.SESSION_FENCED)
    history.server(30.1, "c0", LogEventKind.SESSION_RESUMED, connection_no=2)


def _stuck(history: LogBuilder) -> None:
    history.experiment = experiment(duration=200.0)
    history.lose("c0", 50.0).add(130.0, Role.RUNNER, "runner", LogEventKind.RUN_STEADY)
    history.events = [event for event in history.events if event.kind is not LogEventKind.RUN_ENDED]


def _swept_late(history: LogBuilder) -> None:
    _stuck(history)
    history.server(120.0, "c0", LogEventKind.SESSION_EXPIRED)


def _stuck_by_its_last_state(history: LogBuilder) -> None:
    history.join("z", 9.0).server(60.0, "z", LogEventKind.SESSION_STATE, outcome="temporarily_disconnected")


DEFECTS: list[tuple[str, Plant]] = [
    ("acknowledged_answers_kept", lambda s: _without(s, LogEventKind.ANSWER_COMMITTED, "c1")),
    (
        "acknowledged_answers_kept",
        lambda s: s.client(40.0, "c1", LogEventKind.ANSWER_ACKED, ref="q9/k", outcome="duplicate"),
    ),
    (
        "answers_scored_once",
        lambda s: s.server(40.0, "c1", LogEventKind.ANSWER_COMMITTED, ref="q1/other", outcome="accepted", value=5.0),
    ),
    (
        "scores_add_up",
        lambda s: s.server(40.0, "c1", LogEventKind.ANSWER_COMMITTED, ref="q3/k", outcome="accepted", value=1.0),
    ),
    ("scores_add_up", lambda s: s.server(60.0, "c1", LogEventKind.SCORE_FINAL)),
    ("one_live_connection", _late_close_logged_under_its_own_number),
    ("one_live_connection", _late_close_logged_under_the_current_number),
    ("one_live_connection", _attached_twice),
    ("one_live_connection", _number_goes_back),
    ("stream_without_gap", lambda s: s.deliver("c1", 25.0, 3)),
    ("stream_without_gap", lambda s: s.deliver("c1", 25.0, 1)),
    ("stream_without_gap", lambda s: s.deliver("c1", 25.0, 4, epoch="e2")),
    ("restored_state_true", lambda s: s.restore("c1", 40.0, holds="made up")),
    ("restored_state_true", lambda s: _without(s, LogEventKind.SESSION_RESUMED, "c1")),
    ("announced_once", lambda s: s.server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)),
    ("nobody_stuck", _stuck),
    ("nobody_stuck", _swept_late),
    ("nobody_stuck", _stuck_by_its_last_state),
]


@pytest.mark.parametrize("name, plant", DEFECTS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(DEFECTS)])
def test_a_planted_defect_is_caught(name: str, plant: Plant) -> None:
    """The counterexample names the participant."""
    history = clean_history()
    plant(history)
    found = _verdict(name, history)
    assert found.verdict is Verdict.FAIL
    assert any(who in found.detail for who in ("c0", "c1", "z"))


@pytest.mark.parametrize("what", ["invalid", "unconfirmed", "not cleared", "not injected", "harness"])
def test_an_unconfirmed_fault_is_inconclusive_not_a_failure(what: str) -> None:
    plan = experiment((RefuseFault(at=10.0, cohorts=("alpha",), duration=1.0),))
    history = LogBuilder(plan).join("a")
    if what != "not injected":
        ok = (what != "unconfirmed", what != "not cleared")
        history.fault("0.0:refuse@alpha", 10.0, 11.0, confirmed=ok[0], cleared=ok[1])
    if what == "invalid":
        history.add(
            12.0, Role.INJECTOR, "alpha", LogEventKind.FAULT_INVALID, ref="0.0:refuse@alpha", cause="proxy hung"
        )
    if what == "harness":
        history.add(12.0, Role.RUNNER, "runner", LogEventKind.HARNESS_FAILED, cause="out of ports")
    assert _verdict("faults_confirmed", history.end()).verdict is Verdict.INCONCLUSIVE


def test_fencing_allows_a_take_over() -> None:
    """A newer connection, the older one fenced, its late close without effect."""
    history = clean_history()
    history.server(30.0, "c0", LogEventKind.SESSION_FENCED).restore("c0", 30.1)
    history.server(31.0, "c0", LogEventKind.TRANSPORT_LOST, connection_no=2, cause="superseded")
    assert _verdict("one_live_connection", history).verdict is Verdict.PASS


def test_a_loss_before_the_welcome_is_no_stale_close() -> None:
    """A connection that was lost before its commit detaches under its own, newer number."""
    history = clean_history()
    history.lose("c0", 30.0)
    history.people["c0"].connection += 1
    history.server(31.0, "c0", LogEventKind.TRANSPORT_LOST).server(
        31.0, "c0", LogEventKind.SESSION_DETACHED, cause="closed"
    )
    history.restore("c0", 32.0)
    assert _verdict("one_live_connection", history).verdict is Verdict.PASS


def test_silence_detaches_before_the_transport_is_lost() -> None:
    """The end of the grace period needs no lost transport; the close follows."""
    history = clean_history()
    history.server(30.0, "c0", LogEventKind.SESSION_DETACHED, cause="grace")
    history.server(33.0, "c0", LogEventKind.TRANSPORT_LOST, cause="silent")
    assert _verdict("one_live_connection", history).verdict is Verdict.PASS


def test_a_join_whose_reply_was_lost_is_not_stuck() -> None:
    """It leaves no participant, so no clean-up is due."""
    history = clean_history()
    history.add(20.0, Role.SERVER, "server", LogEventKind.SESSION_DETACHED, session_id="p-ghost", connection_no=1)
    history.add(100.0, Role.RUNNER, "runner", LogEventKind.RUN_STEADY)
    history.events = [event for event in history.events if event.kind is not LogEventKind.RUN_ENDED]
    assert _verdict("nobody_stuck", history).verdict is Verdict.PASS


@pytest.mark.parametrize("late_at, verdict", [(110.0, Verdict.PASS), (1.0, Verdict.FAIL)])
def test_a_late_server_gives_the_absent_its_lateness_back(late_at: float, verdict: Verdict) -> None:
    """What the server was late before the absence is no excuse."""
    history = clean_history()
    _swept_late(history)
    history.add(late_at, Role.SERVER, "server", LogEventKind.SERVER_LATE, value=50.0, ref="quiz")
    assert _verdict("nobody_stuck", history).verdict is verdict


def test_an_exception_in_a_check_is_inconclusive_with_its_text() -> None:

    def stumbling(log: RunHistory) -> CheckResult:
        raise KeyError("no such column")

    found = check_one("stumbling", "rule", stumbling, clean_history().log())
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "KeyError" in found.detail
    assert "no such column" in found.detail
