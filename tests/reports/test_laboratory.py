"""Whether the laboratory can be believed: starved, late, without effect; and what its doubts do to a verdict."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.episodes import episodes_frame
from reports.laboratory import STARVED_S, lag_by_second, lateness_of
from reports.metrics import summarise
from reports.summary import Summary
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict
from resilience.experiment.faults import CutFault, RefuseFault
from resilience.experiment.spec import Expectation, Op
from resilience.lab.health import LabHealth, ProcessLag, ReferenceFigures
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, experiment

K = LogEventKind
CUT = "0.0:cut@alpha"


def history(*expectations: Expectation, clients: int = 40, back_after: float = 1.0) -> LogBuilder:
    """One cut at 10 s; every client is back ``back_after`` seconds later."""
    built = LogBuilder(experiment(expectations=expectations, clients=clients))
    names = [f"c{i}" for i in range(clients)]
    for i, who in enumerate(names):
        built.join(who, 1.0 + i * 0.001)
    built.fault(CUT, 10.0, 10.0)
    for i, who in enumerate(names):
        built.lose(who, 10.001 + i * 0.0001).back(who, 10.0 + back_after + i * 0.0001)
    return built


def judged(built: LogBuilder) -> Summary:
    log = built.end().log()
    return summarise(log, episodes_frame(log))


def lagging(built: LogBuilder, t: float, lag: float) -> LogBuilder:
    return built.add(t, Role.RUNNER, "clients-1", K.LAB_LAG, value=lag)


def measured(built: LogBuilder, *processes: ProcessLag) -> LogBuilder:
    text = msgspec.json.encode(LabHealth(processes)).decode()
    return built.add(60.0, Role.RUNNER, "runner", K.LAB_HEALTH, detail=text)


def test_a_run_that_never_began_says_what_its_clients_met() -> None:
    """The most frequent first, by the clients' own word; of a run that began nothing is said."""
    built = LogBuilder(experiment(), status=RunStatus.NOT_STARTED).join("c1").join("c2")
    for who in ("c1", "c2"):
        built.lose(who, 2.0)
        for t in (2.5, 3.0):
            built.client(t, who, K.TRANSPORT_FAILED, cause="refused")
    met = "before the first fault the clients met: 4 failed dials (refused), 2 lost connections (closed)"
    assert met in judged(built).laboratory.warnings
    assert not [text for text in judged(history()).laboratory.warnings if "clients met" in text]


BELOW_5 = Expectation("excess_s.max", Op.BELOW, 5.0)


def test_a_laboratory_without_lateness_is_not_doubted() -> None:
    summary = judged(history(BELOW_5))
    assert summary.laboratory.doubts == ()
    assert summary.expectations[0].verdict is Verdict.PASS


def test_lateness_that_cannot_turn_the_verdict_is_no_doubt() -> None:
    """A busy machine and a target met with a margin: the verdict is the same with as much lateness again."""
    built = history(BELOW_5)
    for second in range(60):
        lagging(built, second + 1.0, 0.3)
    assert judged(measured(built, ProcessLag("clients-1", "worker", 0.05, 0.3, 0.3, 2.0))).laboratory.doubts == ()


@pytest.mark.parametrize("back_after", [4.8, 5.2], ids=["pass", "fail"])
def test_lateness_that_could_turn_the_verdict_is_a_doubt(back_after: float) -> None:
    certain = judged(history(BELOW_5, back_after=back_after))
    assert certain.expectations[0].verdict is (Verdict.PASS if back_after < 5 else Verdict.FAIL)
    summary = judged(lagging(history(BELOW_5, back_after=back_after), 11.0, 0.45))
    assert summary.verdict is Verdict.INCONCLUSIVE
    assert summary.exit_code == 3
    assert summary.reasons[0].startswith("excess_s.max: the laboratory ran up to 0.45 s late")


def test_lateness_far_from_every_episode_is_no_doubt() -> None:
    assert judged(lagging(history(BELOW_5, back_after=4.8), 40.0, 2.5)).laboratory.doubts == ()


@pytest.mark.parametrize(
    "role, lag, told",
    [
        ("worker", STARVED_S + 0.05, "x ran late by 0.45 s, at most 0.4 s can be believed"),
        ("runner", STARVED_S + 0.05, "x ran late by 0.45 s, at most 0.4 s can be believed"),
        ("server host", 0.74, "x waited for a processor, of a second, 0.74 s, at most 0.7 s can be believed"),
        ("server host", 0.59, None),
        ("proxy", 0.9, None),
    ],
)
def test_a_laboratory_that_was_starved_is_doubted_whatever_it_measured(role: str, lag: float, told: str | None) -> None:
    summary = judged(measured(history(BELOW_5), ProcessLag("x", role, 0.1, lag, 0.9, 2.0)))
    assert summary.laboratory.doubts == (() if told is None else (f"the laboratory was starved: {told}",))
    assert summary.laboratory.processes[0].lag_p99 == lag
    assert summary.verdict is (Verdict.INCONCLUSIVE if told else judged(history(BELOW_5)).verdict)


@pytest.mark.parametrize("throttled, doubted, warned", [(1.0, False, False), (10.0, False, True), (40.0, True, True)])
def test_a_quota_that_stops_the_processes_is_reported(throttled: float, *, doubted: bool, warned: bool) -> None:
    text = msgspec.json.encode(LabHealth(throttled_s=throttled)).decode()
    built = history(BELOW_5).add(60.0, Role.RUNNER, "runner", K.LAB_HEALTH, detail=text)
    laboratory = judged(built).laboratory
    assert (bool(laboratory.doubts), bool(laboratory.warnings)) == (doubted, warned)


def test_bare_clients_are_compared_with_the_returns_of_the_run() -> None:
    """Their mean as a share of the run's; a run without returns has nothing to compare."""
    figures = ReferenceFigures(10, 1, 10, excess_mean=0.5, excess_p95=0.6, excess_last=0.7)
    text = msgspec.json.encode(LabHealth(reference=figures)).decode()
    summary = judged(history(BELOW_5).add(60.0, Role.RUNNER, "runner", K.LAB_HEALTH, detail=text))
    found = summary.laboratory.reference
    assert found is not None
    assert (found.returned, found.excess_last) == (10, 0.7)
    assert found.share == pytest.approx(0.5 / (summary.excess_s.mean or 0.0))
    assert judged(history(BELOW_5)).laboratory.reference is None


def test_the_lateness_of_the_clients_is_that_of_their_worst_worker() -> None:
    """Not of the runner or the server's host; a worker that did not end in order counts with what it reported."""
    processes = (
        ProcessLag("runner", "runner", 0.1, 0.2, 0.9, 2.0),
        ProcessLag("clients-1", "worker", 0.01, 0.02, 0.125, 2.0),
        ProcessLag("clients-2", "worker", lag_max=0.25),
        ProcessLag("server", "server host", 0.1, 0.2, 0.8, 2.0),
    )
    assert measured(history(BELOW_5), *processes).end().log().lab_lag == 0.25
    assert history(BELOW_5).end().log().lab_lag == 0.0


def test_a_client_that_gave_up_while_the_laboratory_was_late_is_no_proof() -> None:
    rate = Expectation("success_rate", Op.AT_LEAST, 0.95)
    again = LogBuilder(experiment(expectations=(rate,), clients=100))
    for i in range(100):
        again.join(f"c{i}", 1.0 + i * 0.001)
    again.fault(CUT, 10.0, 10.0)
    for i in range(100):
        again.lose(f"c{i}", 10.001).give_up(f"c{i}", 11.5)
    certain = judged(again)
    assert certain.verdict is Verdict.FAIL
    again.events = [event for event in again.events if event.kind is not K.RUN_ENDED]
    assert judged(lagging(again, 11.0, 0.6)).verdict is Verdict.INCONCLUSIVE


def test_an_invariant_that_no_lateness_can_break_fails_in_spite_of_doubts() -> None:
    built = lagging(history(BELOW_5, back_after=4.8), 11.0, 0.45)
    built.client(20.0, "c0", K.ANSWER_SUBMITTED, ref="q1/k")
    built.client(20.1, "c0", K.ANSWER_ACKED, ref="q1/k", outcome="accepted")
    summary = judged(built)
    assert summary.laboratory.doubts
    assert summary.verdict is Verdict.FAIL
    assert summary.reasons[0].startswith("acknowledged_answers_kept")


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_window_that_struck_late_is_a_doubt_whatever_the_figures_say() -> None:
    built = LogBuilder(experiment((CutFault(at=17.0, cohorts=("alpha",)),), (BELOW_5,)))
    for who in ("a", "b"):
        built.join(who)
    built.fault(CUT, 20.25, 20.25)
    for who in ("a", "b"):
        built.lose(who, 20.26).back(who, 21.0)
    summary = judged(built)
    assert summary.verdict is Verdict.INCONCLUSIVE
    assert f"{CUT}: planned for 17 s, struck at 20.25 s" in summary.reasons


def test_a_window_that_lasted_too_long_is_a_doubt() -> None:
    built = LogBuilder(experiment((RefuseFault(at=10.0, cohorts=("alpha",), duration=3.0),), (BELOW_5,)))
    built.join("a").fault("0.0:refuse@alpha", 10.0, 16.0).lose("a", 10.01).back("a", 17.0)
    assert "0.0:refuse@alpha: planned to last 3 s, lasted 6.0 s" in judged(built).reasons


def test_a_window_that_touched_no_connected_client_is_a_doubt() -> None:
    """A cohort that bypasses its proxy: the canary saw the fault, and no client could have."""
    built = LogBuilder(experiment((RefuseFault(at=10.0, cohorts=("alpha",), duration=3.0),), (BELOW_5,)))
    built.join("a").join("b").fault("0.0:refuse@alpha", 10.0, 13.0)
    log = built.end().log()
    episodes = episodes_frame(log)
    bypassed = episodes.assign(outcome="not_exposed", affected=False)
    summary = summarise(log, bypassed)
    assert "0.0:refuse@alpha: touched none of the 2 clients that were connected" in summary.reasons
    assert summary.verdict is Verdict.INCONCLUSIVE


# --- the server -------------------------------------------------------------------------------------------------------


def fail_of_the_server(outcome: str, cause: str) -> LogBuilder:
    built = history(BELOW_5)
    built.add(0.0, Role.SERVER, "server", K.SERVER_STARTED, outcome="fresh")
    built.add(14.0, Role.RUNNER, "runner", K.SERVER_FAILED, outcome=outcome, cause=cause)
    built.cause = cause
    return built


@pytest.mark.parametrize("outcome", ["ended", "silent"])
def test_a_server_that_failed_by_itself_is_the_first_reason(outcome: str) -> None:
    summary = judged(fail_of_the_server(outcome, "the server ended by itself (SIGKILL) at 14.0 s"))
    assert (summary.verdict, summary.exit_code) == (Verdict.FAIL, 1)
    assert summary.reasons[0] == "the server ended by itself (SIGKILL) at 14.0 s"


def test_a_silence_seen_by_a_starved_laboratory_proves_nothing() -> None:
    built = fail_of_the_server("silent", "the server stopped answering at 50.0 s, for 10 s")
    measured(lagging(built, 60.0, 9.0), ProcessLag("runner", "runner", 0.5, 5.0, 9.0, 1.0))
    assert judged(built).verdict is Verdict.INCONCLUSIVE


# --- lateness of episodes ---------------------------------------------------------------------------------------------


EPISODES = episodes_frame(history(BELOW_5, clients=3).end().log())


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0.0, 60.0), st.floats(0.02, 5.0)), max_size=4))
def test_lateness_is_never_negative_and_grows_with_every_record(lags: list[tuple[float, float]]) -> None:
    before = np.zeros(len(EPISODES))
    built = LogBuilder(experiment()).end()
    for t, lag in lags:
        late = lateness_of(EPISODES, lag_by_second(lagging(built, t, lag).log()))
        assert (late >= before - 1e-9).all()
        before = late
