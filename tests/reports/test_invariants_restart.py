"""The invariants over a log of several servers: missing records of a killed server are no defect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.invariants import run_checks
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict

from ..support.log_builder import LogBuilder, clean_history, experiment

Tell = Callable[[LogBuilder], object]


def _found(name: str, history: LogBuilder) -> tuple[Verdict, str]:
    item = next(item for item in run_checks(history.log()) if item.name == name)
    return item.verdict, item.detail


def _restart(history: LogBuilder, t: float, *away: str) -> LogBuilder:
    """Another server recovers the run; connected participants are absent from now on."""
    history.add(t, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="recovered", ref="quiz", value=4.0)
    for who in away:
        history.server(t, who, LogEventKind.SESSION_DETACHED, cause="restart")
    return history


def _long(history: LogBuilder) -> LogBuilder:
    """Observed for 200 s."""
    history.experiment = experiment(duration=200.0)
    history.events = [event for event in history.events if event.kind is not LogEventKind.RUN_ENDED]
    return history.add(200.0, Role.RUNNER, "runner", LogEventKind.RUN_ENDED, outcome="completed")


def _ghost_commit(history: LogBuilder, **found: object) -> LogBuilder:
    """c0's answer to q3 became durable, the server died before it could log that, the next one found it."""
    history.client(29.0, "c0", LogEventKind.ANSWER_SUBMITTED, ref="q3/k")
    _restart(history, 30.0, "c0")
    told: dict[str, object] = {"ref": "q3/k", "outcome": "accepted", "value": 50.0}
    history.server(30.0, "c0", LogEventKind.ANSWER_RECOVERED, **(told | found))
    history.restore("c0", 31.0)
    history.client(31.1, "c0", LogEventKind.ANSWER_ACKED, ref="q3/k", outcome="accepted")
    return history.server(60.0, "c0", LogEventKind.SCORE_FINAL, value=250.0)


def _final_anew(history: LogBuilder) -> LogBuilder:
    """Without the final score of c0 in the clean log."""
    c0 = history.people["c0"].session
    history.events = [e for e in history.events if e.kind is not LogEventKind.SCORE_FINAL or e.session_id != c0]
    return history


# valid histories ---------------------------------------------------------------------------------------------------


def test_no_connection_outlives_its_server() -> None:
    """A resume needs neither a fence nor a recorded loss if the server before was killed."""
    history = _restart(clean_history(), 30.0, "c0").restore("c0", 31.0)
    assert _found("one_live_connection", history)[0] is Verdict.PASS


def test_a_loss_under_a_number_that_was_never_stored_is_ignored() -> None:
    """A killed server may have used a number that the next one uses again."""
    history = clean_history()
    history.server(29.0, "c0", LogEventKind.TRANSPORT_LOST, connection_no=3, cause="closed")
    _restart(history, 30.0, "c0").restore("c0", 31.0)
    history.server(40.0, "c0", LogEventKind.TRANSPORT_LOST, cause="closed")
    history.server(40.0, "c0", LogEventKind.SESSION_DETACHED, cause="closed")
    assert _found("one_live_connection", history)[0] is Verdict.PASS


@pytest.mark.parametrize("rule", ["acknowledged_answers_kept", "answers_scored_once", "scores_add_up"])
def test_an_unlogged_commit_counts_after_it_is_found(rule: str) -> None:
    """Acknowledged by the next server, in the score, and no second commit."""
    assert _found(rule, _ghost_commit(_final_anew(clean_history())))[0] is Verdict.PASS


def test_every_server_may_find_the_same_answers() -> None:
    """A committed answer that is found at each start stays one answer."""
    history = clean_history()
    for t in (30.0, 40.0):
        _restart(history, t, "c0")
        ref = "q2/c0-q2"
        history.server(t, "c0", LogEventKind.ANSWER_RECOVERED, ref=ref, outcome="accepted", value=100.0)
    assert _found("answers_scored_once", history)[0] is Verdict.PASS
    assert _found("scores_add_up", history)[0] is Verdict.PASS


def test_scores_at_a_graceful_stop_need_no_later_answers() -> None:
    history = clean_history()
    for who in history.people:
        history.server(30.0, who, LogEventKind.SCORE_FINAL, value=200.0)
    history.events = [e for e in history.events if e.kind is not LogEventKind.SCORE_FINAL or e.t < 60.0]
    _restart(history, 31.0, "c0").restore("c0", 32.0).answer("c0", 33.0, "q3").end()
    assert _found("scores_add_up", history)[0] is Verdict.PASS


def test_the_clean_up_counts_from_the_restart() -> None:
    """The time without a server is charged to no participant."""
    history = _long(clean_history()).lose("c0", 50.0)
    _restart(history, 100.0)
    history.server(100.0, "c0", LogEventKind.SESSION_STATE, outcome="temporarily_disconnected", cause="restart")
    history.server(160.0, "c0", LogEventKind.SESSION_EXPIRED)
    assert _found("nobody_stuck", history)[0] is Verdict.PASS


def test_an_unlogged_end_of_absence_is_no_absence() -> None:
    """A participant that the new server does not name is not absent."""
    history = _restart(_long(clean_history()).lose("c0", 50.0), 70.0)
    assert _found("nobody_stuck", history)[0] is Verdict.PASS


# broken histories -------------------------------------------------------------------------------------------------


def _attached_twice_after_it(history: LogBuilder) -> None:
    _restart(history, 30.0, "c0").restore("c0", 31.0).restore("c0", 32.0)


def _number_goes_back(history: LogBuilder) -> None:
    _restart(history, 30.0, "c0")
    history.people["c0"].connection = 0
    history.restore("c0", 31.0)


def _found_changed(history: LogBuilder) -> None:
    _restart(history, 30.0, "c0")
    history.server(30.0, "c0", LogEventKind.ANSWER_RECOVERED, ref="q2/c0-q2", outcome="accepted", value=99.0)


def _committed_again(history: LogBuilder) -> None:
    _ghost_commit(history)
    history.server(32.0, "c0", LogEventKind.ANSWER_COMMITTED, ref="q3/k", outcome="accepted", value=50.0)


def _lost_with_the_server(history: LogBuilder) -> None:
    _restart(history, 30.0, "c0").restore("c0", 31.0)
    history.client(31.1, "c0", LogEventKind.ANSWER_ACKED, ref="q3/k", outcome="accepted")


def _score_lost(history: LogBuilder) -> None:
    _ghost_commit(_final_anew(history), value=70.0)


def _swept_late(history: LogBuilder) -> None:
    _restart(_long(history), 70.0, "c0")


def _found_away_and_forgotten(history: LogBuilder) -> None:
    _restart(_long(history).lose("c0", 50.0), 70.0)
    history.server(70.0, "c0", LogEventKind.SESSION_STATE, outcome="temporarily_disconnected", cause="restart")


def _announced_again(history: LogBuilder) -> None:
    _restart(history, 30.0, "c0").restore("c0", 31.0).server(31.5, "c0", LogEventKind.PARTICIPANT_ANNOUNCED)


DEFECTS: list[tuple[str, Tell]] = [
    ("one_live_connection", _attached_twice_after_it),
    ("one_live_connection", _number_goes_back),
    ("answers_scored_once", _found_changed),
    ("answers_scored_once", _committed_again),
    ("acknowledged_answers_kept", _lost_with_the_server),
    ("scores_add_up", _score_lost),
    ("nobody_stuck", _swept_late),
    ("nobody_stuck", _found_away_and_forgotten),
    ("announced_once", _announced_again),
]


@pytest.mark.parametrize("name, tell", DEFECTS, ids=[tell.__name__.strip("_") for _, tell in DEFECTS])
def test_a_defect_of_a_restarted_server_is_found(name: str, tell: Tell) -> None:
    history = clean_history()
    tell(history)
    verdict, detail = _found(name, history)
    assert verdict is Verdict.FAIL
    assert "c0" in detail


@pytest.mark.parametrize("state, verdict", [("connected", Verdict.PASS), ("temporarily_disconnected", Verdict.FAIL)])
def test_the_last_server_tells_the_final_state(state: str, verdict: Verdict) -> None:
    """A server that drains before it dies writes closing records too: its participants come back to the next one."""
    history = _long(clean_history())
    history.server(62.0, "c0", LogEventKind.SESSION_DETACHED, cause="close_1012")
    history.server(62.1, "c0", LogEventKind.SESSION_STATE, outcome="temporarily_disconnected")
    _restart(history, 63.0)
    history.server(64.0, "c0", LogEventKind.SESSION_RESUMED, connection_no=9)
    history.server(200.0, "c0", LogEventKind.SESSION_STATE, outcome=state)
    assert _found("nobody_stuck", history)[0] is verdict
