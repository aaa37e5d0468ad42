"""Comparison of runs: the differences, their certainty, what they rest on, and the exit code."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from reports.compare import (
    Margins,
    Pairing,
    agreement,
    changed_checks,
    compare,
    compare_measured,
    confidence_of,
    settings_changed,
)
from reports.compare_pages import to_markdown, write_comparison
from reports.comparison import INFORMATIVE, JUDGED, METRICS, Change, CheckChange, Comparison
from reports.measured import read_runs
from reports.paired import cluster_names, paired_sums
from resilience.config import ClientConfig
from resilience.errors import ExitCode, HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Verdict
from resilience.experiment.faults import CutFault
from resilience.experiment.loader import to_toml
from resilience.lab.run_directory import RunStatus

from ..support.log_builder import TARGET, LogBuilder, clean_history, experiment, sample_history
from ..support.made_runs import made_run


@pytest.fixture(scope="module", name="runs")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    histories = {
        "model": sample_history(clients=60, losing=0.0),
        "virtual": sample_history(Lane.VIRTUAL, clients=60, losing=0.0),
        "slow": sample_history(Lane.VIRTUAL, clients=60, losing=0.0, slow=4.0),
        "lossy": sample_history(Lane.VIRTUAL, clients=60, losing=0.4),
        "real": sample_history(Lane.REAL, clients=60, losing=0.0),
    }
    return {name: history.write(root / name) for name, history in histories.items()}


def _verdicts(comparison: Comparison, metrics: tuple[str, ...] = JUDGED) -> dict[str, str]:
    return {row.metric: row.gaps[0].verdict.value for row in comparison.rows if row.metric in metrics}


def _seeded(history: LogBuilder, seed: int) -> LogBuilder:
    history.seed = seed
    return history


# --- progress ---------------------------------------------------------------------------------------------------------


def test_equal_runs_show_no_change(runs: dict[str, Path]) -> None:
    """Differences of zero, and intervals around them."""
    comparison = compare([runs["virtual"], runs["virtual"]])
    assert set(_verdicts(comparison, METRICS).values()) == {"no change shown"}
    assert not comparison.worse
    assert comparison.labels == ("1: virtual", "2: virtual")
    assert all(row.gaps[0].absolute == 0 for row in comparison.rows)
    assert comparison.exit_code(fail_on_worse=True) is ExitCode.PASS
    assert comparison.headline == "No deterioration shown"


def test_a_longer_excess_is_worse(runs: dict[str, Path]) -> None:
    worse, better = compare([runs["virtual"], runs["slow"]]), compare([runs["slow"], runs["virtual"]])
    assert _verdicts(worse)["excess_s.p50"] == "worse"
    assert _verdicts(better)["excess_s.p50"] == "better"
    assert (worse.worse, better.worse) == (True, False)
    assert "excess_s.p50" in worse.also.partition("Better")[0]
    assert "excess_s.p50" in better.also.partition("Better")[2]
    assert better.headline == "No deterioration shown"


def test_lost_clients_are_worse_even_if_quantiles_are_not_reached(tmp_path: Path) -> None:
    """A median that is no longer reached is worse without a number."""
    good = sample_history(Lane.VIRTUAL, clients=120, losing=0.0).write(tmp_path / "good")
    comparison = compare([good, sample_history(Lane.VIRTUAL, clients=120, losing=0.8).write(tmp_path / "bad")])
    found = _verdicts(comparison)
    assert found["success_rate"] == "worse"
    assert found["excess_s.p50"] == "worse"
    median = next(row for row in comparison.rows if row.metric == "excess_s.p50")
    assert median.values[1] is None
    assert median.gaps[0].absolute is None


def test_every_row_has_every_run(runs: dict[str, Path]) -> None:
    """Three runs: three values, two differences per metric, and less alpha for each."""
    comparison = compare([runs["virtual"], runs["slow"], runs["lossy"]])
    assert [row.metric for row in comparison.rows] == list(METRICS)
    assert {(len(row.values), len(row.sizes), len(row.gaps)) for row in comparison.rows} == {(3, 3, 2)}
    assert comparison.confidence == confidence_of(3) > confidence_of(2)
    assert 2 * (1 - comparison.confidence) * 2 * len(JUDGED) == pytest.approx(0.05)


def test_downtime_detection_and_downtime_less_outage_are_judged_and_reconnection_is_not() -> None:
    judged = {metric.partition(".")[0] for metric in JUDGED}
    assert judged >= {"downtime_s", "detection_s", "downtime_less_outage_s", "excess_s"}
    assert {metric for metric in METRICS if metric.startswith("reconnection")} <= set(INFORMATIVE)


def test_a_shorter_reconnection_alone_is_not_better(runs: dict[str, Path]) -> None:
    comparison = compare([runs["slow"], runs["virtual"]])
    row = next(row for row in comparison.rows if row.metric == "reconnection_s.restricted_mean")
    assert (row.judged, row.gaps[0].verdict) == (False, Change.DIFFERS)
    assert "reconnection" not in comparison.also


def test_the_biggest_changes_come_first(runs: dict[str, Path]) -> None:
    lines = compare([runs["virtual"], runs["lossy"]]).ordered
    verdicts = [gap.verdict for row, gap in lines if row.judged]
    assert verdicts[0] is Change.WORSE
    assert verdicts == sorted(verdicts, key=lambda verdict: verdict is not Change.WORSE)
    assert [row.judged for row, _ in lines] == sorted((row.judged for row, _ in lines), reverse=True)


# --- pairing ----------------------------------------------------------------------------------------------------------


def test_equal_seeds_and_schedules_are_paired(runs: dict[str, Path]) -> None:
    comparison = compare([runs["virtual"], runs["slow"]])
    gap = next(row.gaps[0] for row in comparison.rows if row.metric == "excess_s.restricted_mean")
    fast, slow = (_strikes(run) for run in (runs["virtual"], runs["slow"]))
    assert len(fast) == 9 * 60
    assert slow < fast, "a slow return that meets the next window is one outage with it"
    assert gap.pairs == len(slow)
    assert gap.method == "paired, t with 6 degrees of freedom"
    assert any("paired by fault and participant" in note for note in comparison.notes)


def _strikes(run_dir: Path) -> set[tuple[str, str]]:
    """Who was affected by which fault."""
    (run,) = read_runs([run_dir])
    found = set(zip(run.affected["fault_id"].astype(str), run.affected["participant"].astype(str), strict=True))
    assert len(found) == len(run.affected), "a participant is affected only once by a fault"
    return found


def test_unequal_seeds_are_not_paired(tmp_path: Path, runs: dict[str, Path]) -> None:
    other = _seeded(sample_history(Lane.VIRTUAL, clients=60, losing=0.0), 2).write(tmp_path / "other")
    comparison = compare([runs["virtual"], other])
    assert {row.gaps[0].method for row in comparison.rows} == {"independent runs"}
    assert any("not paired: their seeds differ" in note for note in comparison.notes)


def test_different_schedules_are_said_to_be_different_and_are_not_paired(tmp_path: Path) -> None:
    """First line of everything that is printed; equal fault ids and names prove nothing."""
    first = clean_history(clients=30).write(tmp_path / "first")
    other = clean_history(clients=30)
    other.experiment = replace(other.experiment, faults=(CutFault(at=11.0, cohorts=("alpha",)),))
    comparison = compare([first, other.write(tmp_path / "other")])
    assert comparison.headline.startswith("Different experiments: ")
    assert to_markdown(comparison).startswith("## Different experiments: ")
    assert {row.gaps[0].method for row in comparison.rows} <= {"independent runs", "none"}


def test_a_setting_that_differs_is_named_and_runs_stay_paired(tmp_path: Path, runs: dict[str, Path]) -> None:
    other = sample_history(Lane.VIRTUAL, clients=60, losing=0.0)
    other.experiment = replace(other.experiment, client=ClientConfig(probe_after=5.0))
    comparison = compare([runs["virtual"], other.write(tmp_path / "other")])
    assert comparison.headline.startswith("Different experiments, in client.probe_after 4.0 → 5.0: ")
    assert comparison.rows[0].gaps[0].pairs == 9 * 60


def test_changed_settings_are_named_by_their_path() -> None:
    a = experiment()
    b = replace(a, faults=(CutFault(at=11.0, cohorts=("alpha",)),), title="another title")
    assert settings_changed(a, b) == ["faults[0].at 10.0 → 11.0"]


def test_episodes_without_a_detection_take_no_part_in_it() -> None:
    """Their other clocks do; a missing value never makes a difference unknown or silent."""
    rng = np.random.default_rng(3)
    first, other = made_run(rng), made_run(rng, slower=2.0)
    for run in (first, other):
        run.evidence.episodes.loc[::4, "detection_s"] = np.nan
    pairing = Pairing(first, other)
    for metric in ("detection_s.mean", "detection_s.p95"):
        gap = pairing.gap(metric)
        assert gap is not None
        assert gap.bounds(0.9975)[0] > 0
    assert pairing.pairs == 900
    small = paired_sums(
        first.sums, other.sums, cluster_names(first.experiment, 1, first.affected, real=False), "detection_s.mean", 0.0
    )
    assert small is not None
    assert small.bounds(0.9975)[0] > 0


# --- lanes ------------------------------------------------------------------------------------------------------------


def test_lanes_agree_within_a_margin(runs: dict[str, Path]) -> None:
    """Equivalence is shown, not the absence of a difference."""
    comparison = compare([runs["model"], runs["virtual"]])
    assert comparison.labels == ("model", "virtual")
    assert set(_verdicts(comparison).values()) == {"agree"}
    assert comparison.headline == "The lanes agree within their margins in 10 of 10 comparisons"
    margins = {row.metric: row.gaps[0].margin for row in comparison.rows if row.judged}
    assert (margins["success_rate"], margins["excess_s.p50"], margins["excess_s.p95"]) == (0.02, 0.25, 0.5)
    assert "margin 0.250 s" in to_markdown(comparison)


def test_lanes_that_are_far_apart_differ(runs: dict[str, Path]) -> None:
    comparison = compare([runs["model"], runs["slow"]])
    assert _verdicts(comparison)["excess_s.p50"] == "differs"
    unbroken = replace(comparison, checks=())
    assert "differ in" in unbroken.headline
    assert unbroken.exit_code() is ExitCode.PASS
    assert unbroken.exit_code(fail_on_worse=True) is ExitCode.FAIL


def test_few_data_leave_agreement_undecided(tmp_path: Path) -> None:
    """Two thin runs show no difference; that is no agreement."""
    model = clean_history(clients=3).write(tmp_path / "model")
    virtual = clean_history(clients=3)
    virtual.lane = Lane.VIRTUAL
    virtual.events[:] = [replace(event, lane=Lane.VIRTUAL) for event in virtual.events]
    comparison = compare([model, virtual.write(tmp_path / "virtual")])
    assert _verdicts(comparison)["success_rate"] == "undecided"
    assert comparison.exit_code(fail_on_worse=True) is ExitCode.INCONCLUSIVE


def test_margins_are_configurable(runs: dict[str, Path]) -> None:
    narrow = compare([runs["model"], runs["virtual"]], Margins(metrics={"success_rate": 1e-6}))
    assert _verdicts(narrow)["success_rate"] == "undecided"
    wide = compare([runs["model"], runs["slow"]], Margins(seconds=60.0, tail_seconds=60.0, count=50.0))
    assert set(_verdicts(wide).values()) == {"agree"}


@pytest.mark.parametrize(
    "low, high, near, found",
    [
        (-0.3, 0.3, (-0.2, 0.2), Change.AGREE),
        (-0.3, 0.3, (-0.2, 0.26), Change.UNDECIDED),
        (0.26, 0.6, (0.3, 0.5), Change.DIFFERS),
        (-0.6, -0.26, (-0.5, -0.3), Change.DIFFERS),
        (0.1, 0.6, (0.2, 0.5), Change.UNDECIDED),
        (0.01, 0.1, (0.02, 0.09), Change.AGREE),
    ],
)
def test_agreement_is_decided_by_the_margin(low: float, high: float, near: tuple[float, float], found: Change) -> None:
    """A difference that is shown, but smaller than the margin, is agreement."""
    assert agreement(0.25, low, high, near) is found


# --- runs that say nothing, and runs that fail newly ------------------------------------------------------------------


def _without_episodes(where: Path) -> Path:
    empty = LogBuilder(experiment((), (TARGET,)))
    for who in ("c0", "c1", "c2", "c3"):
        empty.join(who)
    return empty.end().write(where)


def test_a_run_without_data_is_inconclusive(tmp_path: Path) -> None:
    """Either way round: nothing was compared, so nothing passes."""
    good, empty = clean_history(clients=60).write(tmp_path / "good"), _without_episodes(tmp_path / "empty")
    for order in ([good, empty], [empty, good]):
        comparison = compare(order)
        assert comparison.exit_code(fail_on_worse=True) is ExitCode.INCONCLUSIVE
        assert "No comparison".lower() in comparison.headline.lower()
        assert comparison.tone == "inconclusive"


@pytest.mark.parametrize("status", [RunStatus.HARNESS_FAILED, RunStatus.INTERRUPTED, RunStatus.NOT_STARTED])
@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_was_not_carried_out_is_a_harness_failure(tmp_path: Path, status: RunStatus, first: bool) -> None:
    good, bad = clean_history(clients=60).write(tmp_path / "good"), clean_history(clients=60)
    bad.status = status
    broken = bad.write(tmp_path / "bad")
    comparison = compare([broken, good] if first else [good, broken])
    assert comparison.exit_code() is ExitCode.HARNESS
    assert comparison.headline.startswith("No comparison: ")
    assert "told so" in comparison.headline


def test_a_newly_broken_invariant_fails_without_any_flag(tmp_path: Path) -> None:
    good = clean_history(clients=60)
    bad = clean_history(clients=60).server(40.0, "c1", LogEventKind.PARTICIPANT_ANNOUNCED)
    first, other = good.write(tmp_path / "good"), bad.write(tmp_path / "bad")
    comparison = compare([first, other])
    assert comparison.exit_code() is ExitCode.FAIL
    (check,) = (check for check in comparison.checks if check.fails)
    assert (check.kind, check.change, check.after) == ("invariant", CheckChange.NEWLY_BROKEN, Verdict.FAIL)
    assert check.name in comparison.headline
    repaired = compare([other, first])
    assert repaired.exit_code() is ExitCode.PASS
    assert [check.change for check in repaired.checks] == [CheckChange.NO_LONGER_BROKEN]


def test_a_newly_missed_target_fails_without_any_flag(tmp_path: Path) -> None:
    first = sample_history(Lane.VIRTUAL, clients=100, losing=0.0).write(tmp_path / "good")
    other = sample_history(Lane.VIRTUAL, clients=100, losing=0.4).write(tmp_path / "bad")
    comparison = compare([first, other])
    assert comparison.exit_code() is ExitCode.FAIL
    missed = {check.name for check in comparison.checks if check.change is CheckChange.NEWLY_MISSED}
    assert "success_rate" in missed
    assert compare([other, other]).exit_code() is ExitCode.PASS, "a target that the first missed too is not new"


def test_an_invariant_that_no_longer_applies_is_shown_and_does_not_fail(tmp_path: Path) -> None:
    first = clean_history(clients=60).write(tmp_path / "good")
    base = compare([first, first])
    name = next(check.name for check in base.sides[0].checks if check.kind == "invariant")
    before = base.sides[0]
    after = replace(
        before,
        checks=tuple(
            replace(check, verdict=Verdict.NOT_APPLICABLE) if check.name == name else check for check in before.checks
        ),
    )
    (found,) = changed_checks(before, after)
    assert (found.change, found.fails) == (CheckChange.NEWLY_NOT_APPLICABLE, False)


def test_doubts_of_the_laboratory_leave_the_comparison_inconclusive(runs: dict[str, Path]) -> None:
    comparison = compare([runs["virtual"], runs["virtual"]])
    first, other = comparison.sides
    doubtful = replace(comparison, sides=(first, replace(other, doubts=("the worker was starved",))))
    assert doubtful.exit_code() is ExitCode.INCONCLUSIVE
    failed = replace(comparison, sides=(first, replace(other, failures=("the log is cut off",))))
    assert failed.exit_code() is ExitCode.HARNESS
    assert "the log is cut off" in failed.headline


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_are_written(runs: dict[str, Path], tmp_path: Path) -> None:
    """JSON reads back, Markdown names the runs, HTML needs no network and says its numbers in words."""
    out = tmp_path / "deep" / "out"
    comparison = write_comparison(read_runs([runs["virtual"], runs["lossy"]]), out)
    assert msgspec.json.decode((out / "compare.json").read_bytes(), type=Comparison) == comparison
    assert comparison.headline in (out / "compare.md").read_text(encoding="utf-8")
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 2
    assert "http" not in page
    assert page.index("Worse than the first run") < page.index("<table")
    assert "half back, from the heal" in page


def test_a_comparison_that_cannot_be_written_is_one_line(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HarnessError, match="cannot write the comparison"):
        write_comparison(read_runs([runs["virtual"], runs["slow"]]), tmp_path / "file" / "out")


def test_a_comparison_of_one_run_is_an_error(runs: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="at least two"):
        compare([runs["model"]])


def test_the_experiments_file_is_what_runs_are_compared_by(runs: dict[str, Path]) -> None:
    """The helper writes the experiment that the run had."""
    (run,) = read_runs([runs["model"]])
    assert (runs["model"] / "experiment.toml").read_text(encoding="utf-8") == to_toml(run.experiment)
    assert np.isfinite(run.estimate("downtime_less_outage_s.restricted_mean", 0.95).value)


# --- false alarms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)], ids=["paired", "unpaired"])
def test_false_alarms_hold_for_the_whole_table(seeds: tuple[int, int]) -> None:
    """Runs of an equal system, drops within an event correlated by 0.05; worse and better both count.

    The bound allows for the simulation's own noise (binomial, one in a thousand).
    """
    rng, tables = np.random.default_rng(9), 20
    alarms = 0
    for _ in range(tables):
        first, other = (made_run(rng, correlation=0.05, seed=seed) for seed in seeds)
        judged = compare_measured([first, other]).judged
        assert len(judged) == len(JUDGED)
        alarms += any(gap.verdict in (Change.WORSE, Change.BETTER) for _, gap in judged)
    assert alarms <= stats.binom.ppf(0.999, tables, 0.05)


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)], ids=["paired", "unpaired"])
def test_lost_participants_are_found(seeds: tuple[int, int]) -> None:
    rng = np.random.default_rng(10)
    first, other = made_run(rng, seed=seeds[0]), made_run(rng, seed=seeds[1], success=0.85)
    rate = next(gap for metric, gap in compare_measured([first, other]).judged if metric == "success_rate")
    assert rate.verdict is Change.WORSE
