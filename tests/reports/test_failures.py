"""Who failed, where and why; each event by itself."""

from __future__ import annotations

import pytest

from reports.episodes import episodes_frame
from reports.event_results import event_results
from reports.failures import FIRST_NAMES, failure_groups
from reports.findings import by_cause, loss_line, participants, replay_command
from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.faults import CutFault

from ..support.log_builder import LogBuilder, clean_history, experiment


def _lost(clients: int = 12) -> LogBuilder:
    """All but one give up after three dials; one comes back as a new participant, one with a wrong state."""
    history = LogBuilder(experiment(clients=clients + 2))
    names = [f"c{i:02d}" for i in range(clients)]
    for who in [*names, "new", "wrong"]:
        history.join(who)
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for who in names:
        history.lose(who, 10.0)
        for n in range(3):
            history.dial(who, 10.5 + n)
            history.client(
                11.0 + n, who, LogEventKind.TRANSPORT_FAILED, connection_no=history.people[who].dial, cause="refused"
            )
        history.give_up(who, 15.0)
    history.lose("new", 10.0).dial("new", 11.0, 11.1)
    history.client(11.2, "new", LogEventKind.SESSION_REJECTED, cause="unknown_session")
    history.become_new("new", 11.5)
    history.lose("wrong", 10.0).dial("wrong", 11.0, 11.1).restore("wrong", 11.5, holds="something else")
    return history.end()


def test_failures_are_grouped_by_window_outcome_and_cause() -> None:
    log = _lost().log()
    gave_up, *others = failure_groups(log, episodes_frame(log))
    assert (gave_up.fault_id, gave_up.cohort, gave_up.outcome, gave_up.episodes) == (
        *("0.0:cut@alpha", "alpha", "gave_up"),
        12,
    )
    assert gave_up.cause == "the last dial failed: refused"
    assert (gave_up.least_dials, gave_up.most_dials) == (3, 3)
    assert gave_up.participants == tuple(f"c{i:02d}" for i in range(FIRST_NAMES))
    assert {(group.outcome, group.cause) for group in others} == {
        ("identity_lost", "the server rejected the session: unknown_session"),
        ("corrupt", "the restored state differs from the server's"),
    }


def test_a_group_reads_as_a_sentence() -> None:
    log = _lost().log()
    gave_up = failure_groups(log, episodes_frame(log))[0]
    assert loss_line(gave_up) == "gave up after 3 dials; the last dial failed: refused"
    assert participants(gave_up).endswith("c09 and 2 more")


def test_the_story_of_a_named_participant_is_one_command_away() -> None:
    log = _lost().log()
    assert replay_command(failure_groups(log, episodes_frame(log))) == "resilience sim replay . c00"
    assert replay_command(()) == ""


def test_what_happened_before_the_fault_is_no_cause() -> None:
    history = LogBuilder(experiment())
    history.join("a").fault("0.0:cut@alpha", 10.0, 10.0)
    history.add(10.0, Role.SERVER, "server", LogEventKind.SESSION_DETACHED, session_id="p-a", cause="closed")
    log = history.end(60.0).log()
    (group,) = failure_groups(log, episodes_frame(log))
    assert (group.outcome, group.cause) == ("censored", "the client recorded nothing after the fault")


def test_a_run_without_failures_has_no_groups() -> None:
    log = clean_history().log()
    assert failure_groups(log, episodes_frame(log)) == ()
    empty = LogBuilder(experiment()).end().log()
    assert failure_groups(empty, episodes_frame(empty)) == ()
    assert event_results(episodes_frame(empty), 30.0) == ()


def test_causes_of_several_windows_are_added() -> None:
    faults = (CutFault(at=10.0, cohorts=("alpha",)), CutFault(at=30.0, cohorts=("beta",)))
    history = LogBuilder(experiment(faults, cohorts=("alpha", "beta")))
    for cohort, at, fault in (("alpha", 10.0, "0.0:cut@alpha"), ("beta", 30.0, "1.0:cut@beta")):
        history.join(cohort, cohort=cohort).fault(fault, at, at)
        history.lose(cohort, at).dial(cohort, at + 1).give_up(cohort, at + 3)
    log = history.end().log()
    (row,) = by_cause(failure_groups(log, episodes_frame(log)))
    assert (row.episodes, row.windows, row.participants) == (2, ("0.0:cut@alpha", "1.0:cut@beta"), ("alpha", "beta"))


def test_an_event_by_itself() -> None:
    """Twelve of fourteen lost: two affected episodes are restored, bounds exact, the lost at the deadline."""
    history = LogBuilder(experiment())
    for i in range(4):
        history.join(f"c{i}")
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for i, excess in enumerate((0.5, 1.0, 1.5)):
        history.lose(f"c{i}", 10.0).back(f"c{i}", 10.0 + excess)
    history.lose("c3", 10.0).give_up("c3", 12.0)
    log = history.end().log()
    (event,) = event_results(episodes_frame(log), 3.0)
    assert (event.kinds, event.cohorts, event.restored, event.affected) == (("cut",), ("alpha",), 3, 4)
    assert (event.low, event.high) == pytest.approx((0.2486, 0.9873), abs=1e-3)
    assert event.excess_mean == pytest.approx((0.5 + 1.0 + 1.5 + 3.0) / 4)
    assert event.excess_low == pytest.approx(max(1.5 - 2.353 * 1.0801 / 2, 0), abs=1e-3)
