"""Each liveness check passes on a run that is well, finds its defect, and does not apply where it cannot tell."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from reports.frames import RunHistory
from reports.invariants import run_checks
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict
from resilience.experiment.faults import CutFault

from ..support.log_builder import EPOCH, LogBuilder, experiment

CUT = "0.0:cut@alpha"
LIVENESS = ("server_lives", "clients_return", "answers_get_verdicts", "stream_reaches_everyone", "losses_have_faults")


def _well() -> LogBuilder:
    """Two clients that are cut, return, answer and receive the stream; a server from the start."""
    history = LogBuilder(experiment((CutFault(at=10.0, cohorts=("alpha",)),)))
    history.add(0.1, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="fresh", detail=EPOCH)
    for who in ("a", "b"):
        history.join(who).deliver(who, 3.0, 1)
    history.fault(CUT, 10.0, 10.0)
    for who in ("a", "b"):
        history.lose(who, 10.0).back(who, 11.0).deliver(who, 12.0, 2).answer(who, 13.0)
    return history


def _judged(history: LogBuilder, end: float = 50.0) -> dict[str, Verdict]:
    return {item.name: item.verdict for item in run_checks(history.end(end).log())}


def test_a_run_that_is_well_passes_every_check() -> None:
    judged = _judged(_well())
    assert {name: judged[name] for name in LIVENESS} == dict.fromkeys(LIVENESS, Verdict.PASS)


def test_a_run_that_ends_soon_after_its_fault_says_nothing_of_returns() -> None:
    assert _judged(_well(), end=30.0)["clients_return"] is Verdict.NOT_APPLICABLE


def test_a_client_that_never_returns_is_found() -> None:
    assert _judged(_well().lose("a", 15.0))["clients_return"] is Verdict.FAIL


@pytest.mark.parametrize("kind", [LogEventKind.GAVE_UP, LogEventKind.CLIENT_LEFT])
def test_a_client_that_stopped_is_not_expected_back(kind: LogEventKind) -> None:
    assert _judged(_well().lose("a", 15.0).client(16.0, "a", kind))["clients_return"] is Verdict.PASS


def test_an_answer_without_a_verdict_is_found() -> None:
    history = _well().client(20.0, "a", LogEventKind.ANSWER_SUBMITTED, ref="q2/a-q2")
    assert _judged(history)["answers_get_verdicts"] is Verdict.FAIL


def test_an_answer_of_the_last_moment_is_not_yet_due() -> None:
    history = _well().client(49.0, "a", LogEventKind.ANSWER_SUBMITTED, ref="q2/a-q2")
    assert _judged(history)["answers_get_verdicts"] is Verdict.PASS


def test_a_client_that_hears_nothing_after_its_resume_is_found() -> None:
    history = _well()
    for seq in (3, 4, 5):
        history.deliver("b", 20.0 + seq, seq)
    assert _judged(history)["stream_reaches_everyone"] is Verdict.FAIL


def test_a_message_of_the_last_moment_may_still_be_under_way() -> None:
    assert _judged(_well().deliver("b", 49.5, 3))["stream_reaches_everyone"] is Verdict.PASS


def test_the_stream_counts_from_the_last_server() -> None:
    """A restarted server begins a new epoch: positions of the one before say nothing."""
    history = _well()
    history.add(20.0, Role.SERVER, "server", LogEventKind.SERVER_STARTED, outcome="recovered", detail="e2")
    for who in ("a", "b"):
        history.lose(who, 19.0).back(who, 21.0).deliver(who, 22.0, 1, "e2")
    assert _judged(history)["stream_reaches_everyone"] is Verdict.PASS


def _with_cause(history: RunHistory, cause: str) -> RunHistory:
    return replace(history, info=msgspec.structs.replace(history.info, cause=cause))


def test_a_server_that_ended_by_itself_is_found() -> None:
    history = _with_cause(_well().end(50.0).log(), "the server ended by itself with exit code -9")
    verdicts = {item.name: item for item in run_checks(history)}
    assert verdicts["server_lives"].verdict is Verdict.FAIL
    assert "exit code -9" in verdicts["server_lives"].detail
