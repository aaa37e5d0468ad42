"""Expectations, the overall verdict, and their populations."""

from __future__ import annotations

import re

import pytest

from reports.episodes import episodes_frame
from reports.metrics import summarise
from reports.summary import ExpectationResult, Summary
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict
from resilience.experiment.faults import CutFault, RefuseFault
from resilience.experiment.spec import METRICS, Expectation, Op
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import LogBuilder, clean_history, experiment, sample_history


def _summary(history: LogBuilder) -> Summary:
    log = history.log()
    return summarise(log, episodes_frame(log))


def _judged(history: LogBuilder, metric: str, op: Op, threshold: float, **narrow: str) -> ExpectationResult:
    expectation = Expectation(metric, op, threshold, **narrow)  # type: ignore[arg-type]
    faults, names = history.experiment.faults, tuple(cohort.name for cohort in history.experiment.cohorts)
    history.experiment = experiment(faults, (expectation,), cohorts=names, duration=history.experiment.duration)
    return _summary(history).expectations[0]


def _mixed() -> LogBuilder:
    """Short and long outages, all clients back 1 s after the heal: 30 clients, two windows."""
    faults = (
        RefuseFault(at=10.0, cohorts=("alpha",), duration=2.0),
        RefuseFault(at=20.0, cohorts=("alpha",), duration=12.0),
    )
    history = LogBuilder(experiment(faults))
    for i in range(30):
        history.join(f"c{i}")
    history.fault("0.0:refuse@alpha", 10.0, 12.0).fault("1.0:refuse@alpha", 20.0, 32.0)
    for i in range(30):
        history.lose(f"c{i}", 10.0).back(f"c{i}", 13.0).lose(f"c{i}", 20.0).back(f"c{i}", 33.0 + 0.01 * i)
    return history.end()


def test_four_hundred_clients_all_back_pass() -> None:
    """Enough drops and no failure: the verdict, its reasons and the exit code."""
    summary = _summary(clean_history(clients=400))
    assert (summary.verdict, summary.reasons, summary.exit_code) == (Verdict.PASS, (), ExitCode.PASS)
    assert summary.success_rate.restored == summary.success_rate.affected == 400


def test_one_window_is_too_few_for_a_pass() -> None:
    """Four hundred drops with a stated correlation of 0.05 are equivalent to nineteen independent ones."""
    summary = _summary(clean_history(clients=400, correlation=0.05))
    assert summary.verdict is Verdict.INCONCLUSIVE
    rate = summary.success_rate
    assert rate.effective_n == pytest.approx(400 / (1 + 399 * 0.05))
    assert rate.correlation_limit == pytest.approx(0.0146, abs=1e-4)
    assert rate.events_needed == 5
    assert summary.reasons[0] == (
        "success_rate 100 %, at least 85.48 % and at most 100 % with 95 % confidence, target ≥ 95 %: 1 fault event "
        "cannot decide this, about 5 like these would"
    )


def test_without_an_expectation_nothing_passes() -> None:
    """However well all clients came back."""
    history = clean_history(clients=400)
    history.experiment = experiment()
    summary = _summary(history)
    assert summary.verdict is Verdict.INCONCLUSIVE
    assert summary.reasons == ("the experiment has no expectation: nothing was asked of the run",)


def test_a_miss_is_said_with_value_bound_and_target() -> None:
    assert re.fullmatch(
        r"success_rate \d\d.\d+ %, at most \d\d.\d+ % with 95 % confidence, target ≥ 95 %",
        _summary(sample_history(losing=0.3)).reasons[0],
    )


def test_clients_last_seen_just_after_the_heal_are_neither_back_nor_lost() -> None:
    """Five cuts without a loss and a sixth after which the run ended early, within 0.1 s: nothing can fail."""
    faults = tuple(CutFault(at=10.0 + 8 * i, cohorts=("alpha",)) for i in range(6))
    asked = tuple(
        Expectation(metric, op, threshold)
        for metric, op, threshold in (
            ("success_rate", Op.AT_LEAST, 0.95),
            ("excess_s.restricted_mean", Op.BELOW, 4.0),
            ("excess_s.mean", Op.BELOW, 4.0),
            ("excess_s.p95", Op.BELOW, 4.0),
        )
    )
    history = LogBuilder(experiment(faults, asked, clients=100))
    for i in range(100):
        history.join(f"c{i}")
    for n in range(6):
        at = 10.0 + 8 * n
        history.fault(f"{n}.0:cut@alpha", at, at)
        for i in range(100):
            history.lose(f"c{i}", at + 0.01)
            if n < 5:
                history.back(f"c{i}", at + 0.5 + 0.001 * i)
    summary = _summary(history.end(50.1))
    rate = summary.success_rate
    assert (rate.affected, rate.restored, rate.outcomes.censored) == (600, 500, 100)
    assert {item.verdict for item in summary.expectations} == {Verdict.INCONCLUSIVE}
    assert {item.events_needed for item in summary.expectations[:3]} == {None}
    assert summary.reasons[0].endswith("100 of 600 were not back when the run ended: a longer run would tell")
    assert summary.excess_s.mean is not None
    assert summary.excess_s.mean < 1.0
    assert summary.excess_s.restricted_low is not None
    assert summary.excess_s.restricted_low < 1.0


def test_quantiles_have_bounds() -> None:
    """Around the value; none from above where too few drops give none."""
    excess = _summary(_mixed()).excess_s
    assert set(excess.bounds) == {"p50", "p90", "p95", "p99"}
    median = excess.bounds["p50"]
    assert median.low is not None
    assert median.high is not None
    assert excess.p50 is not None
    assert median.low <= excess.p50 <= median.high
    assert excess.bounds["p99"].high is None


def test_the_margin_of_a_proof_is_known() -> None:
    """Proven: up to which correlation. Not proven: with how many events it would be."""
    proven = _summary(clean_history(clients=400)).success_rate
    assert proven.correlation_limit == pytest.approx(0.0145, abs=5e-4)
    assert proven.events_needed is None
    thin = _summary(clean_history(clients=400, correlation=0.05)).success_rate
    assert (thin.correlation_limit, thin.events_needed) == (proven.correlation_limit, 5)
    nothing = _summary(LogBuilder(experiment(faults=())).join("a").end()).success_rate
    assert (nothing.correlation_limit, nothing.events_needed) == (None, None)


def test_too_few_drops_are_inconclusive() -> None:
    """Four of four proves nothing about 95 %."""
    summary = _summary(clean_history())
    assert (summary.verdict, summary.exit_code) == (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE)
    assert summary.expectations[0].value == 1.0


def test_a_broken_invariant_fails_a_run_whose_targets_hold() -> None:
    history = clean_history(clients=400)
    history.server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    summary = _summary(history)
    assert (summary.verdict, summary.exit_code) == (Verdict.FAIL, ExitCode.FAIL)
    assert summary.reasons[0].startswith("announced_once")


def test_a_rate_far_below_the_target_fails() -> None:
    history = sample_history(losing=0.3)
    summary = _summary(history)
    assert summary.verdict is Verdict.FAIL
    assert summary.expectations[0].verdict is Verdict.FAIL


def test_a_run_without_faults_is_inconclusive() -> None:
    history = LogBuilder(experiment(faults=())).join("a").deliver("a", 5.0, 1).answer("a", 6.0).end()
    summary = _summary(history)
    assert summary.verdict is Verdict.INCONCLUSIVE
    assert "no episode" in summary.reasons[0]
    assert summary.success_rate.value is None


def test_no_data_never_passes() -> None:
    """Every expectation of a run without affected participants is inconclusive."""
    faults, asked = (
        (CutFault(at=10.0, cohorts=("alpha",)),),
        tuple(Expectation(metric, op, 0.5) for metric in METRICS for op in Op),
    )
    history = LogBuilder(experiment(faults, asked)).join("a").fault("0.0:cut@alpha", 10.0, 10.0).deliver("a", 12.0, 1)
    history.end()
    found = _summary(history).expectations
    assert [(item.verdict, item.n) for item in found] == [(Verdict.INCONCLUSIVE, 0)] * len(METRICS) * len(Op)


@pytest.mark.parametrize(
    "status, code",
    [
        (RunStatus.NOT_STARTED, ExitCode.HARNESS),
        (RunStatus.HARNESS_FAILED, ExitCode.HARNESS),
        (RunStatus.INTERRUPTED, ExitCode.HARNESS),
    ],
)
def test_an_incomplete_run_is_a_harness_failure(status: RunStatus, code: ExitCode) -> None:
    """Even with a broken invariant in its torn log."""
    history = clean_history(clients=400)
    history.server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    history.status = status
    summary = _summary(history)
    assert (summary.verdict, summary.exit_code) == (Verdict.INCONCLUSIVE, code)
    assert "told so" in summary.reasons[0]


def test_a_run_without_events_has_a_summary() -> None:
    summary = _summary(LogBuilder(experiment(), status=RunStatus.NOT_STARTED))
    assert summary.exit_code is ExitCode.HARNESS
    assert summary.participants == 0


def test_reconnection_is_judged_on_outages_that_healed_within_the_target() -> None:
    """The twelve-second outage does not count for five seconds; the excess over all outages is secondary."""
    found = _judged(_mixed(), "reconnection_s.mean", Op.BELOW, 5.0)
    assert (found.n, found.verdict) == (30, Verdict.PASS)
    assert found.value == pytest.approx(3.0)
    beside = found.beside[0]
    assert (beside.metric, beside.n, beside.verdict) == ("excess_s.mean", 60, Verdict.PASS)
    assert beside.value == pytest.approx(1.0725)


def test_reconnection_is_inconclusive_without_a_short_outage() -> None:
    """With a target of 1.5 s neither outage qualifies, though the excess meets it."""
    found = _judged(_mixed(), "reconnection_s.mean", Op.BELOW, 1.5)
    assert (found.verdict, found.verdict_alone, found.n) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE, 0)
    assert found.beside[0].verdict is Verdict.PASS
    assert _summary(_reconnecting(_mixed(), 1.5)).reasons[0] == "reconnection_s.mean: nothing was measured"


def test_reconnection_fails_when_the_excess_does() -> None:
    """Short outages are quick, the long one costs its clients 20 s after the heal: the reason names the excess."""
    history = _mixed()
    history.events = [e for e in history.events if not (e.role is Role.CLIENT and e.t > 20.0)]
    for i in range(30):
        history.lose(f"c{i}", 20.0).back(f"c{i}", 52.0 + 0.01 * i)
    summary = _summary(_reconnecting(history, 5.0))
    found = summary.expectations[0]
    assert (found.verdict_alone, found.verdict) == (Verdict.PASS, Verdict.FAIL)
    assert [item.metric for item in found.beside] == ["excess_s.mean", "detection_s.mean", "downtime_s.mean"]
    assert [item.verdict for item in found.beside] == [Verdict.FAIL, None, None]
    assert re.fullmatch(
        r"excess_s.mean 10.57 s, at least 10.55 s with 95 % confidence, target < 5.00 s", summary.reasons[0]
    )
    assert "reconnection" not in summary.reasons[0]


def test_a_reason_is_given_once_with_its_cohort() -> None:
    """The excess is judged with the reconnection and by itself, of the same cohort: one miss."""
    history = _mixed()
    history.events = [e for e in history.events if not (e.role is Role.CLIENT and e.t > 20.0)]
    for i in range(30):
        history.lose(f"c{i}", 20.0).back(f"c{i}", 52.0 + 0.01 * i)
    asked = [Expectation(f"{clock}.mean", Op.BELOW, 5.0, cohort="alpha") for clock in ("reconnection_s", "excess_s")]
    history.experiment = experiment(history.experiment.faults, tuple(asked))
    summary = _summary(history)
    assert [item.verdict for item in summary.expectations] == [Verdict.FAIL, Verdict.FAIL]
    assert [reason for reason in summary.reasons if "excess" in reason] == [
        "excess_s.mean [cohort alpha] 10.57 s, at least 10.55 s with 95 % confidence, target < 5.00 s"
    ]


def _reconnecting(history: LogBuilder, threshold: float) -> LogBuilder:
    asked = (Expectation("reconnection_s.mean", Op.BELOW, threshold),)
    history.experiment = experiment(history.experiment.faults, asked)
    return history


def test_excess_is_judged_on_all_outages() -> None:
    found = _judged(_mixed(), "excess_s.max", Op.AT_MOST, 2.0)
    assert (found.n, found.verdict) == (60, Verdict.PASS)
    assert found.value == pytest.approx(1.29)


def test_a_mean_with_censored_episodes_has_no_upper_bound() -> None:
    """It can fail, never pass; the restricted mean can do both."""
    history = _mixed()
    history.events = [e for e in history.events if not (e.actor == "c0" and e.t > 20.0)]
    mean = _judged(history, "excess_s.mean", Op.BELOW, 5.0)
    assert (mean.verdict, mean.high) == (Verdict.INCONCLUSIVE, None)
    assert "not back" in (mean.note or "")
    assert _judged(history, "excess_s.restricted_mean", Op.BELOW, 5.0).verdict is Verdict.PASS


@pytest.mark.parametrize("statistic", ["mean", "max", "p95"])
def test_dials_of_episodes_that_the_run_cut_off_have_no_upper_bound(statistic: str) -> None:
    """One client was still dialling: a target can fail, never pass."""
    history = _mixed()
    history.events = [e for e in history.events if not (e.actor == "c0" and e.t > 20.0)]
    dials = _judged(history, f"attempts.{statistic}", Op.AT_MOST, 50.0)
    assert (dials.verdict, dials.high) == (Verdict.INCONCLUSIVE, None)
    assert "still dialling" in (dials.note or "")
    assert _judged(history, f"attempts.{statistic}", Op.AT_MOST, 0.5).verdict is Verdict.FAIL


def test_a_quantile_that_was_not_reached_fails_an_upper_target() -> None:
    """Half of the clients never return: the 95th percentile exceeds any threshold, and JSON has null."""
    history = _mixed()
    history.events = [e for e in history.events if not (e.role is Role.CLIENT and e.t > 12.0)]
    for i in range(30):
        history.give_up(f"c{i}", 15.0)
    found = _judged(history, "excess_s.p95", Op.BELOW, 5.0)
    assert (found.value, found.verdict) == (None, Verdict.FAIL)


def test_expectations_can_name_a_fault_or_a_cohort() -> None:
    history = sample_history(clients=40)
    only = _judged(history, "attempts.max", Op.AT_MOST, 1.0, fault="cut")
    assert (only.verdict, only.value) == (Verdict.PASS, 1.0)
    cohort = _judged(history, "attempts.mean", Op.AT_MOST, 50.0, cohort="beta")
    assert 0 < cohort.n < 40 * 9


def test_metrics_of_the_run_are_inconclusive_per_fault() -> None:
    """Heartbeats and grace expirations have no fault."""
    found = _judged(sample_history(clients=10), "grace_expirations", Op.AT_MOST, 5.0, fault="cut")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "belongs to the run" in (found.note or "")


def test_grace_expirations_are_detachments_by_silence() -> None:
    """Not every detachment."""
    history = _mixed().server(45.0, "c1", LogEventKind.SESSION_DETACHED, cause="grace")
    assert _judged(history, "grace_expirations", Op.AT_MOST, 0.0).verdict is Verdict.FAIL
    assert _summary(history).grace_expirations == 1


def test_the_groups_sum_to_the_whole() -> None:
    summary = _summary(sample_history(clients=20))
    for groups in (summary.by_fault, summary.by_cohort):
        assert sum(block.success_rate.affected for block in groups.values()) == summary.success_rate.affected
        assert sum(block.success_rate.restored for block in groups.values()) == summary.success_rate.restored
    assert sum(row.restored for row in summary.by_attempt) == summary.success_rate.restored
    assert summary.by_attempt[-1].share == pytest.approx(summary.success_rate.value)


def test_each_window_has_a_row_and_invalid_ones_a_reason() -> None:
    history = LogBuilder(experiment()).join("a").fault("0.0:cut@alpha", 10.2, 10.2, confirmed=False).end()
    window = _summary(history).windows[0]
    assert (window.planned_start, window.started_at, window.valid) == (10.0, 10.2, False)
    assert window.reason == "no canary saw it begin"
    assert window.outcomes.harness == 1


def test_the_same_log_gives_the_same_summary() -> None:
    history = sample_history(clients=25)
    assert _summary(history) == _summary(history)


def test_one_invalid_window_makes_no_other_invalid() -> None:
    """A window without a cause of invalidity has none, whatever the others have."""
    faults = (CutFault(at=10.0, cohorts=("alpha",)), CutFault(at=20.0, cohorts=("alpha",)))
    history = LogBuilder(experiment(faults)).join("a").fault("0.0:cut@alpha", 10.0, 10.0).lose("a", 10.0)
    history.back("a", 11.0).fault("1.0:cut@alpha", 20.0, 20.0).lose("a", 20.0).back("a", 21.0)
    history.add(20.5, Role.INJECTOR, "alpha", LogEventKind.FAULT_INVALID, ref="1.0:cut@alpha", cause="proxy hung")
    windows = _summary(history.end()).windows
    assert [(window.valid, window.reason) for window in windows] == [(True, None), (False, "proxy hung")]


def test_heartbeats_and_expirations_after_the_end_are_no_part_of_the_run() -> None:
    history = clean_history(clients=3)
    before = _summary(history)
    history.server(60.5, "c0", LogEventKind.HEARTBEAT_ACKED, value=9.0)
    history.server(60.5, "c0", LogEventKind.SESSION_DETACHED, cause="grace")
    after = _summary(history)
    assert (after.heartbeat_rtt_s, after.grace_expirations) == (before.heartbeat_rtt_s, before.grace_expirations)


def test_detection_counts_losses_that_were_noticed() -> None:
    """Participants that were away when the fault began noticed nothing of it."""
    history = LogBuilder(experiment((RefuseFault(at=12.0, cohorts=("alpha",), duration=2.0),)))
    history.join("a").join("b").lose("a", 9.0).dial("a", 13.0).fault("0.0:refuse@alpha", 12.0, 14.0)
    summary = _summary(history.lose("b", 12.3).back("a", 15.0).back("b", 15.0).end())
    assert summary.detection_s.n == 1
    assert summary.detection_s.mean == pytest.approx(0.3)
    assert summary.reconnection_s.n == 2


def test_a_bypassed_proxy_is_a_doubt_about_the_laboratory() -> None:
    history = clean_history(clients=3).join("late", 1.0).deliver("late", 12.0, 1)
    (doubt,) = _summary(history).laboratory.doubts
    assert "1 of 4 connected participants were not exposed" in doubt
