"""Defects that a check's evidence hides easily: each is found by its check, and by no other that believes the same."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from reports.checking import MOST_SHOWN
from reports.frames import RunHistory
from reports.invariants import run_checks
from reports.summary import Invariant
from resilience.eventlog.vocabulary import Lane, LogEvent, LogEventKind, Role, Verdict
from resilience.experiment.faults import BlackholeFault, ClientSuspendFault, CutFault, ServerKillFault
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import EPOCH, LogBuilder, clean_history, experiment

Plant = Callable[[LogBuilder], object]


def _judged(history: LogBuilder) -> dict[str, Invariant]:
    return {item.name: item for item in run_checks(history.log())}


def _replace(history: LogBuilder, found: LogEventKind, who: str, answer: str | None = None, **fields: object) -> None:
    """Change the first record of this kind about this participant."""
    session = history.people[who].session
    for i, event in enumerate(history.events):
        if event.kind is found and event.session_id == session and answer in (None, event.ref):
            history.events[i] = msgspec.structs.replace(event, **fields)
            return
    raise AssertionError(found)


def _without(history: LogBuilder, keep: Callable[[LogEvent], bool]) -> None:
    history.events = [event for event in history.events if keep(event)]


def _ends_away_after_a_resume(history: LogBuilder) -> None:
    history.server(60.0, "c0", LogEventKind.SESSION_STATE, outcome="temporarily_disconnected")


def _never_acknowledged_nor_committed(history: LogBuilder) -> None:
    history.client(30.0, "c0", LogEventKind.ANSWER_SUBMITTED, ref="q3/c0-q3")


def _swallowed_after_the_resume(history: LogBuilder) -> None:
    """The answer of the resumed session stays without a verdict while the client returns again and again."""
    history.client(30.0, "c0", LogEventKind.ANSWER_SUBMITTED, ref="q3/c0-q3")
    for i in range(6):
        history.lose("c0", 34.0 + 4 * i).back("c0", 35.0 + 4 * i)
    history.client(59.0, "c0", LogEventKind.TRANSPORT_LOST, cause="closed")


def _half_of_the_final_scores(history: LogBuilder) -> None:
    gone = {history.people[who].session for who in ("c0", "c1")}
    _without(history, lambda e: e.kind is not LogEventKind.SCORE_FINAL or e.session_id not in gone)


def _stream_ends_early(history: LogBuilder) -> None:
    for who in ("c1", "c2", "c3"):
        history.deliver(who, 40.0, 4)


def _deaf_in_an_earlier_session(history: LogBuilder) -> None:
    """c0 receives nothing from 20 to 40 s, loses that session in a fault, and is restored to the right position."""
    for who in ("c1", "c2", "c3"):
        history.deliver(who, 30.0, 4)
    history.lose("c0", 40.0)
    history.people["c0"].position = 4
    history.back("c0", 41.0)


def _no_client_hears_the_question(history: LogBuilder) -> None:
    history.add(0.1, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="fresh", detail=EPOCH)
    history.add(40.0, Role.SERVER, "server", LogEventKind.QUESTION_OPENED, ref="q3", seq=4)


def _a_loss_without_a_fault(history: LogBuilder) -> None:
    history.lose("c0", 30.0).back("c0", 31.0)


def _dead_without_a_fault(history: LogBuilder) -> None:
    history.client(30.0, "c0", LogEventKind.PEER_DEAD, connection_no=2, value=6.0).back("c0", 31.0)


def _identity_lost(history: LogBuilder) -> None:
    history.lose("c0", 10.5).become_new("c0", 11.0)


def _two_verdicts(history: LogBuilder) -> None:
    history.client(40.0, "c0", LogEventKind.ANSWER_ACKED, ref="q2/c0-q2", outcome="duplicate")


DEFECTS: list[tuple[str, Plant]] = [
    ("nobody_stuck", _ends_away_after_a_resume),
    ("acknowledged_after_commit", lambda h: _replace(h, LogEventKind.ANSWER_COMMITTED, "c0", "q2/c0-q2", t=24.02)),
    (
        "acknowledged_answers_kept",
        lambda h: _replace(h, LogEventKind.ANSWER_COMMITTED, "c0", "q2/c0-q2", ref="q2/other"),
    ),
    (
        "rejected_answers_not_scored",
        lambda h: _replace(h, LogEventKind.ANSWER_ACKED, "c0", "q2/c0-q2", outcome="rejected_late"),
    ),
    ("stream_reaches_everyone", _stream_ends_early),
    ("stream_reaches_everyone", _deaf_in_an_earlier_session),
    ("stream_reaches_everyone", _no_client_hears_the_question),
    ("final_scores_complete", _half_of_the_final_scores),
    ("answers_get_verdicts", _never_acknowledged_nor_committed),
    ("answers_get_verdicts", _swallowed_after_the_resume),
    ("one_verdict_each", _two_verdicts),
    ("identities_kept", _identity_lost),
    ("losses_have_faults", _a_loss_without_a_fault),
    ("losses_have_faults", _dead_without_a_fault),
]


@pytest.mark.parametrize("name, plant", DEFECTS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(DEFECTS)])
def test_a_defect_is_found(name: str, plant: Plant) -> None:
    """The counterexample names the participant, and says when."""
    history = clean_history()
    plant(history)
    found = _judged(history)[name]
    assert found.verdict is Verdict.FAIL
    assert found.broken_cases >= len(found.counterexamples) > 0
    assert all(case.actor is not None and case.t is not None for case in found.counterexamples)


# counterexamples ------------------------------------------------------------------------------------------------------


def test_every_broken_case_is_counted_and_the_first_are_kept() -> None:
    """In order of time; the detail is the first."""
    history = clean_history(clients=30)
    for i in range(30):
        history.lose(f"c{i}", 40.0 - i * 0.1)
    found = _judged(history)["losses_have_faults"]
    assert (found.broken_cases, len(found.counterexamples)) == (30, MOST_SHOWN)
    assert [case.actor for case in found.counterexamples[:2]] == ["c29", "c28"]
    assert found.detail == found.counterexamples[0].text


# absence --------------------------------------------------------------------------------------------------------------


def test_an_absence_shorter_than_the_limit_at_the_end_is_undecided() -> None:
    """The run of 60 s cannot tell what happens after 62 s of absence."""
    found = _judged(clean_history().lose("c0", 12.0))["nobody_stuck"]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "p-c0" in found.detail


def test_without_an_absence_the_rule_does_not_apply() -> None:
    assert _judged(LogBuilder(experiment(faults=())).join("a").end())["nobody_stuck"].verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    "at, absence, fencing", [(61.0, Verdict.PASS, Verdict.PASS), (59.0, Verdict.INCONCLUSIVE, Verdict.FAIL)]
)
def test_a_drain_after_the_end_accuses_no_client(at: float, absence: Verdict, fencing: Verdict) -> None:
    """The laboratory stops the server at 60 s: all are detached, with no loss on record. A second earlier it counts."""
    history = clean_history()
    for who in history.people:
        history.server(at, who, LogEventKind.SESSION_DETACHED, cause="close_1012")
        history.server(62.0, who, LogEventKind.SESSION_STATE, outcome="temporarily_disconnected")
    found = _judged(history)
    assert (found["nobody_stuck"].verdict, found["one_live_connection"].verdict) == (absence, fencing)


# clocks of several processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late, verdict", [(0.025, Verdict.PASS), (0.05, Verdict.FAIL)])
def test_two_processes_may_disagree_by_the_clock_tolerance(late: float, verdict: Verdict) -> None:
    """The acknowledgement is of 21.02 s; 0.02 s are allowed."""
    history = clean_history()
    history.lane = Lane.REAL
    _replace(history, LogEventKind.ANSWER_COMMITTED, "c0", "q2/c0-q2", t=21.01 + late)
    assert _judged(history)["acknowledged_after_commit"].verdict is verdict


def test_a_commit_that_a_killed_server_could_not_log_has_no_time() -> None:
    history = clean_history()
    history.lane = Lane.REAL
    _replace(history, LogEventKind.ANSWER_COMMITTED, "c0", "q2/c0-q2", kind=LogEventKind.ANSWER_RECOVERED, t=25.0)
    assert _judged(history)["acknowledged_after_commit"].verdict is Verdict.PASS


# losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t, verdict", [(12.9, Verdict.PASS), (13.1, Verdict.FAIL)])
def test_a_loss_shortly_after_the_heal_is_the_faults_own(t: float, verdict: Verdict) -> None:
    history = clean_history().lose("c0", t)
    assert _judged(history)["losses_have_faults"].verdict is verdict


@pytest.mark.parametrize("kind", [LogEventKind.CLIENT_LEFT, LogEventKind.SESSION_SUPERSEDED])
def test_a_leave_is_no_loss(kind: LogEventKind) -> None:
    history = clean_history().lose("c0", 30.0).client(30.0, "c0", kind)
    assert _judged(history)["losses_have_faults"].verdict is Verdict.PASS


def test_a_drain_is_no_loss() -> None:
    history = clean_history()
    history.add(30.0, Role.SERVER, "server", LogEventKind.SERVER_DRAINING, value=2.0)
    assert _judged(history.lose("c0", 31.0))["losses_have_faults"].verdict is Verdict.PASS


@pytest.mark.parametrize("cause, verdict", [("question_held", Verdict.PASS), ("closed", Verdict.FAIL)])
def test_a_connection_that_its_client_replaced_by_choice_is_no_loss(cause: str, verdict: Verdict) -> None:
    history = clean_history()
    history.client(30.0, "c0", LogEventKind.TRANSPORT_LOST, connection_no=history.people["c0"].dial, cause=cause)
    assert _judged(history.back("c0", 30.5))["losses_have_faults"].verdict is verdict


@pytest.mark.parametrize(
    "link, verdict", [("alpha", Verdict.PASS), ("beta", Verdict.FAIL)], ids=["own link", "another link"]
)
def test_a_loss_to_the_laboratorys_own_proxy_accuses_no_system(link: str, verdict: Verdict) -> None:
    history = LogBuilder(experiment((CutFault(at=10.0, cohorts=("alpha",)),), cohorts=("alpha", "beta")))
    history.join("a").join("b", cohort="beta").fault("0.0:cut@alpha", 10.0, 10.0).lose("a", 10.0).back("a", 10.5)
    history.add(30.0, Role.RUNNER, link, LogEventKind.LINK_REPLACED, value=0.5, cause="its proxy died")
    found = _judged(history.lose("a", 30.2).back("a", 31.0).end())["losses_have_faults"]
    assert found.verdict is verdict


def test_a_fault_on_another_cohorts_link_explains_nothing() -> None:
    faults = (CutFault(at=10.0, cohorts=("alpha",)),)
    history = LogBuilder(experiment(faults, cohorts=("alpha", "beta"))).join("a").join("b", cohort="beta")
    history.fault("0.0:cut@alpha", 10.0, 10.0).lose("a", 10.0).lose("b", 10.0)
    found = _judged(history.end())["losses_have_faults"]
    assert (found.verdict, found.broken_cases, found.counterexamples[0].actor) == (Verdict.FAIL, 1, "b")


# dead peers -----------------------------------------------------------------------------------------------------------


def _blackhole(duration: float) -> LogBuilder:
    """A client with a session when a blackhole begins at 10 s."""
    faults = (BlackholeFault(at=10.0, cohorts=("alpha",), duration=duration),)
    return LogBuilder(experiment(faults)).join("a").fault("0.0:blackhole@alpha", 10.0, 10.0 + duration)


@pytest.mark.parametrize(
    "duration, noticed, verdict",
    [
        (20.0, 16.0, Verdict.PASS),
        (20.0, 19.0, Verdict.FAIL),
        (7.0, 17.0, Verdict.NOT_APPLICABLE),
    ],
)
def test_a_client_detects_a_dead_server_within_its_probe_limit(
    duration: float, noticed: float, verdict: Verdict
) -> None:
    """Probe after 4 s, deadline 2 s, slack 2 s: 8 s; a shorter blackhole tells nothing."""
    history = _blackhole(duration).client(noticed, "a", LogEventKind.PEER_DEAD).end()
    assert _judged(history)["dead_peers_detected"].verdict is verdict


def test_a_client_that_still_receives_has_no_dead_peer() -> None:
    """Its link was not silent, whatever the canary saw."""
    history = _blackhole(20.0).join("b").deliver("a", 15.0, 1).deliver("b", 15.0, 1).end()
    assert _judged(history)["dead_peers_detected"].verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize(
    "suspended_at, verdict", [(11.0, Verdict.NOT_APPLICABLE), (25.0, Verdict.FAIL)], ids=["within", "later"]
)
def test_a_client_that_stands_still_detects_nothing_meanwhile(suspended_at: float, verdict: Verdict) -> None:
    """Suspended for six seconds within its limit of eight, it cannot notice the silence; later it had noticed it."""
    faults = (
        BlackholeFault(at=10.0, cohorts=("alpha",), duration=22.0),
        ClientSuspendFault(at=suspended_at, cohorts=("alpha",), duration=6.0),
    )
    history = LogBuilder(experiment(faults)).join("a").fault("0.0:blackhole@alpha", 10.0, 32.0)
    history.fault("1.0:client_suspend@alpha", suspended_at, suspended_at + 6.0)
    assert _judged(history.client(20.0, "a", LogEventKind.PEER_DEAD).end())["dead_peers_detected"].verdict is verdict


@pytest.mark.parametrize(
    "detached, verdict", [(50.1, Verdict.PASS), (53.0, Verdict.FAIL), (None, Verdict.FAIL), (40.0, "not judged")]
)
def test_a_server_detects_a_silent_client_within_its_grace_period(
    detached: float | None, verdict: Verdict | str
) -> None:
    """The last sign of life at 20 s, grace 30 s, slack 2 s."""
    history = LogBuilder(experiment(faults=())).join("a")
    history.server(20.0, "a", LogEventKind.HEARTBEAT_SENT).server(20.0, "a", LogEventKind.HEARTBEAT_ACKED)
    if detached is not None:
        history.server(detached, "a", LogEventKind.SESSION_DETACHED, cause="grace")
    due = Verdict.NOT_APPLICABLE if verdict == "not judged" else verdict
    assert _judged(history.end())["dead_peers_detected"].verdict is due


def test_a_killed_server_detects_no_dead_peer() -> None:
    history = LogBuilder(experiment(faults=())).join("a")
    history.server(20.0, "a", LogEventKind.HEARTBEAT_SENT)
    history.add(30.0, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="recovered", detail="e2")
    assert _judged(history.end())["dead_peers_detected"].verdict is Verdict.NOT_APPLICABLE


def test_an_answer_that_is_submitted_to_a_dead_server_is_no_sign_of_life() -> None:
    """The server is away from 20 to 55 s; the client answers at 21 s, without a connection."""
    history = LogBuilder(experiment((ServerKillFault(at=20.0, duration=35.0),))).join("a")
    history.server(19.0, "a", LogEventKind.HEARTBEAT_SENT).fault("0.0:server_kill@server", 20.0, 55.0)
    history.client(21.0, "a", LogEventKind.ANSWER_SUBMITTED, ref="q1/k")
    history.add(55.0, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="recovered", detail="e2")
    assert _judged(history.end())["dead_peers_detected"].verdict is Verdict.NOT_APPLICABLE


# evidence that a run lacks --------------------------------------------------------------------------------------------


def test_an_answer_without_time_for_its_verdict_is_undecided() -> None:
    history = LogBuilder(experiment()).join("a").client(59.5, "a", LogEventKind.ANSWER_SUBMITTED, ref="q1/k").end()
    assert _judged(history)["answers_get_verdicts"].verdict is Verdict.INCONCLUSIVE


def test_connected_time_in_a_fault_window_does_not_count() -> None:
    """The link is down: no verdict can come."""
    faults = (BlackholeFault(at=10.0, cohorts=("alpha",), duration=49.0),)
    history = LogBuilder(experiment(faults, duration=61.0)).join("a").fault("0.0:blackhole@alpha", 10.0, 59.0)
    history.client(9.9, "a", LogEventKind.ANSWER_SUBMITTED, ref="q1/k")
    assert _judged(history.end(60.0))["answers_get_verdicts"].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("has_left, verdict", [(True, Verdict.PASS), (False, Verdict.FAIL)])
def test_no_final_score_is_due_of_a_participant_that_was_forgotten_after_it_had_gone(
    has_left: bool, verdict: Verdict
) -> None:
    """The server's own word is not enough: it must have left, or been cleaned up, before."""
    history = clean_history()
    _without(
        history, lambda e: not (e.kind is LogEventKind.SCORE_FINAL and e.session_id == history.people["c1"].session)
    )
    if has_left:
        history.server(50.0, "c1", LogEventKind.SESSION_LEFT)
    history.server(50.0, "c1", LogEventKind.SESSION_FORGOTTEN, cause="left")
    assert _judged(history)["final_scores_complete"].verdict is verdict


def test_final_scores_need_an_orderly_end() -> None:
    history = clean_history()
    history.status = RunStatus.INTERRUPTED
    assert _judged(history)["final_scores_complete"].verdict is Verdict.NOT_APPLICABLE
    _without(history, lambda event: event.kind is not LogEventKind.SCORE_FINAL)
    history.status = RunStatus.COMPLETED
    assert _judged(history)["final_scores_complete"].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "name", ["restored_state_true", "announced_once", "rejected_answers_not_scored", "one_verdict_each", "stored_once"]
)
def test_a_rule_that_nothing_could_break_does_not_apply(name: str) -> None:
    """No client reconnected or answered, and there is no database."""
    history = LogBuilder(experiment(faults=())).join("a").deliver("a", 3.0, 1).end()
    found: RunHistory = history.log()
    verdicts = {item.name: item for item in run_checks(found)}
    assert verdicts[name].verdict is Verdict.NOT_APPLICABLE
    assert verdicts[name].detail
