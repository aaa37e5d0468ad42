"""The invariants over a log of several servers: what one of them left unsaid is no defect, what the next breaks is."""

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
    """Another server takes the run up; whom it finds connected is away from now on."""
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
    """Without the final score that the clean story tells of c0."""
    c0 = history.people["c0"].session
    history.events = [e for e in history.events if e.kind is not LogEventKind.SCORE_FINAL or e.session_id != c0]
    return history


# --- what is as it should be ------------------------------------------------------------------------------------------


def test_no_connection_outlives_its_server() -> None:
    """A return needs neither a fence nor a loss on record when the server before was killed."""
    history = _restart(clean_history(), 30.0, "c0").restore("c0", 31.0)
    assert _found("one_live_connection", history)[0] is Verdict.PASS


def test_a_loss_under_a_number_that_was_never_stored_is_forgotten() -> None:
    """A killed server may have given a number that the next one gives again."""
    history = clean_history()
    history.server(29.0, "c0", LogEventKind.TRANSPORT_LOST, connection_no=3, cause="closed")
    _restart(history, 30.0, "c0").restore("c0", 31.0)
    history.server(40.0, "c0", LogEventKind.TRANSPORT_LOST, cause="closed")
    history.server(40.0, "c0", LogEventKind.SESSION_DETACHED, cause="closed")
    assert _found("one_live_connection", history)[0] is Verdict.PASS


@pytest.mark.parametrize("rule", ["acknowledged_answers_kept", "answers_scored_once", "scores_add_up"])
def test_a_commit_that_went_unlogged_counts_once_it_is_found(rule: str) -> None:
    """Acknowledged by the next server, in the score, and no second commit."""
    assert _found(rule, _ghost_commit(_final_anew(clean_history())))[0] is Verdict.PASS


def test_every_server_may_find_the_same_answers() -> None:
    """What was logged as committed and is found at each start stays one answer."""
    history = clean_history()
    for t in (30.0, 40.0):
        _restart(history, t, "c0")
        ref = "q2/c0-q2"
        history.server(t, "c0", LogEventKind.ANSWER_RECOVERED, ref=ref, outcome="accepted", value=100.0)
    assert _found("answers_scored_once", history)[0] is Verdict.PASS
    assert _found("scores_add_up", history)[0] is Verdict.PASS


def test_scores_at_an_orderly_end_are_those_of_that_moment() -> None:
    """A server that was stopped tells its scores; what the next one adds is not missing in them."""
    history = clean_history()
    for who in history.people:
        history.server(30.0, who, LogEventKind.SCORE_FINAL, value=200.0)
    history.events = [e for e in history.events if e.kind is not LogEventKind.SCORE_FINAL or e.t < 60.0]
    _restart(history, 31.0, "c0").restore("c0", 32.0).answer("c0", 33.0, "q3").end()
    assert _found("scores_add_up", history)[0] is Verdict.PASS


def test_the_clean_up_counts_from_the_restart() -> None:
    """Nobody pays for the time in which there was no server."""
    history = _long(clean_history()).lose("c0", 50.0)
    _restart(history, 100.0)
    history.server(100.0, "c0", LogEventKind.SESSION_STATE, outcome="temporarily_disconnected", cause="restart")
    history.server(160.0, "c0", LogEventKind.SESSION_EXPIRED)
    assert _found("nobody_stuck", history)[0] is Verdict.PASS


def test_an_end_of_absence_that_went_unlogged_is_no_absence() -> None:
    """Who is not named by the new server is not away."""
    history = _restart(_long(clean_history()).lose("c0", 50.0), 70.0)
    assert _found("nobody_stuck", history)[0] is Verdict.PASS


# --- what is not ------------------------------------------------------------------------------------------------------


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
def test_what_a_new_server_breaks_is_caught(name: str, tell: Tell) -> None:
    """And named."""
    history = clean_history()
    tell(history)
    verdict, detail = _found(name, history)
    assert verdict is Verdict.FAIL
    assert "c0" in detail
