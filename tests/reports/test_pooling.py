"""The drops of several runs together: nothing merges that was apart, and one run is itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.build import analyse
from reports.expectations import Evidence, judge
from reports.metrics import group_summary
from reports.pooling import JudgedRun, judge_pooled, pool
from resilience.experiment.spec import Expectation, Op

from ..support.log_builder import LogBuilder, clean_history, sample_history


def judged(history: LogBuilder, seed: int, where: Path) -> JudgedRun:
    """A run of this history under another seed."""
    history.seed = seed
    log, episodes, summary = analyse(history.write(where / f"seed-{seed}"))
    return JudgedRun(summary, Evidence.of(log, episodes))


@pytest.fixture(scope="module", name="runs")
def _runs(tmp_path_factory: pytest.TempPathFactory) -> list[JudgedRun]:
    where = tmp_path_factory.mktemp("runs")
    return [judged(sample_history(clients=12, losing=0.1 * seed), seed, where) for seed in (1, 2, 3)]


def test_one_run_pooled_is_that_run(runs: list[JudgedRun]) -> None:
    pooled = pool(runs[:1])
    for item, expected in zip(_expectations(runs[0]), runs[0].summary.expectations, strict=True):
        assert judge(item, pooled) == expected
    assert group_summary(pooled.episodes, pooled).success_rate == runs[0].summary.success_rate


def _expectations(run: JudgedRun) -> list[Expectation]:
    return [
        Expectation(item.metric, Op(item.op), item.threshold, item.confidence, item.cohort, item.fault)
        for item in run.summary.expectations
    ]


def test_drops_and_events_of_all_runs_add_up(runs: list[JudgedRun]) -> None:
    pooled = pool(runs)
    rate = group_summary(pooled.episodes, pooled).success_rate
    alone = [run.summary.success_rate for run in runs]
    assert rate.affected == sum(one.affected for one in alone)
    assert rate.restored == sum(one.restored for one in alone)
    assert rate.events == sum(one.events for one in alone)
    assert rate.outcomes.gave_up == sum(one.outcomes.gave_up for one in alone)
    assert pooled.episodes["participant"].nunique() == sum(
        run.evidence.episodes["participant"].nunique() for run in runs
    )
    assert pooled.episodes["stratum"].nunique() == runs[0].evidence.episodes["stratum"].nunique()


def test_more_runs_prove_more(tmp_path: Path) -> None:
    runs = [judged(sample_history(clients=12, losing=0.0), seed, tmp_path) for seed in (1, 2)]
    bounds = [group_summary((found := pool(runs[:n])).episodes, found).success_rate.low or 0.0 for n in (1, 2)]
    assert bounds[0] < bounds[1]


def test_a_count_over_one_run_is_judged_in_each_and_the_worst_counts(runs: list[JudgedRun]) -> None:
    """The sum over runs is no figure that the threshold is about."""
    counts = [float(len(run.evidence.grace)) for run in runs]
    expectation = Expectation("grace_expirations", Op.AT_MOST, max(counts))
    result = judge_pooled(expectation, runs, pool(runs))
    assert (result.value, result.verdict.value) == (max(counts), "pass")
    assert result.population == "each repetition by itself"
    assert result.note == f"of seed-{counts.index(max(counts)) + 1}"


def test_a_run_without_any_episode_adds_nothing(tmp_path: Path) -> None:
    empty = clean_history()
    empty.events = [event for event in empty.events if not event.kind.value.startswith("fault.")]
    runs = [judged(clean_history(), 1, tmp_path), judged(empty, 2, tmp_path)]
    pooled = pool(runs)
    assert group_summary(pooled.episodes, pooled).success_rate.affected == 4
