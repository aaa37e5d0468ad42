"""A run as a comparison needs it: what it was, and its metrics with bounds. Compares nothing.

:class:`Measured` is what a run directory that was read and a stored baseline have in common; what is measured of
evidence alone, :class:`MeasuredEvidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from resilience.experiment.spec import Expectation, Experiment, Op
from resilience.lab.run_directory import RunStatus

from . import formatting
from .build import analyse
from .comparison import CheckResultLine, ComparedRun
from .expectations import NOTHING, Estimate, Evidence, estimate_metric
from .paired import PAIRED_METRICS, WindowSums, episode_values, window_sums
from .stats import Clusters, Interval, mean_interval
from .summary import Summary
from .unpaired import RunMean, run_mean


class Measured(Protocol):
    """What a comparison needs of a run: a run directory that was read, or a baseline."""

    @property
    def side(self) -> ComparedRun:
        """The run's description."""

    @property
    def experiment(self) -> Experiment:
        """Its experiment."""

    @property
    def sums(self) -> tuple[WindowSums, ...]:
        """Its sums per fault window."""

    @property
    def affected(self) -> pd.DataFrame | None:
        """The affected rows of its episode frame; None if they are not stored."""

    def estimate(self, metric: str, confidence: float) -> Estimate:
        """A metric of the whole run with one-sided bounds."""

    def mean(self, metric: str) -> RunMean | None:
        """A metric of the whole run as a mean over its episodes; None if it is none, or has no error."""


@dataclass(frozen=True)
class MeasuredEvidence:
    """The metrics of one run, or of several runs that are pooled."""

    evidence: Evidence
    _known: dict[tuple[str, float], Estimate] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def affected(self) -> pd.DataFrame:
        """The affected rows of the episode frame."""
        return self.evidence.affected(None, None).reset_index(drop=True)

    def estimate(self, metric: str, confidence: float) -> Estimate:
        """A metric of the whole with one-sided bounds; a comparison asks for each several times."""
        key = (metric, confidence)
        if key not in self._known:
            self._known[key] = self._estimate(metric, confidence)
        return self._known[key]

    def _estimate(self, metric: str, confidence: float) -> Estimate:
        if metric == "downtime_less_outage_s.restricted_mean":
            return _less_outage(self.affected, confidence, self.evidence)
        return estimate_metric(Expectation(metric, Op.AT_LEAST, 0.0, confidence), self.affected, self.evidence)

    def mean(self, metric: str) -> RunMean | None:
        """A metric of the whole as a mean over the episodes; None if it is none, or has no error."""
        statistics = self.evidence.statistics
        known = metric in PAIRED_METRICS and len(self.affected) > 0
        return run_mean(metric, self.affected, statistics.deadline, statistics.correlation) if known else None


@dataclass(frozen=True, kw_only=True)
class AnalysedRun(MeasuredEvidence):
    """A run directory that was read."""

    side: ComparedRun
    experiment: Experiment

    @cached_property
    def sums(self) -> tuple[WindowSums, ...]:
        """Its sums per fault window."""
        return window_sums(self.affected, self.experiment.statistics.deadline)


def _less_outage(rows: pd.DataFrame, confidence: float, evidence: Evidence) -> Estimate:
    """Downtime less the outage itself; moved to be positive, as :func:`reports.stats.mean_interval` wants values."""
    if rows.empty:
        return NOTHING
    statistics = evidence.statistics
    values = episode_values("downtime_less_outage_s.restricted_mean", rows, statistics.deadline)
    rows, values = rows[~np.isnan(values)], values[~np.isnan(values)]
    if rows.empty:
        return NOTHING
    least = min(float(values.min()), 0.0)
    found = mean_interval(values - least, Clusters.of_episodes(rows), confidence, statistics.correlation)
    return Estimate(float(values.mean()), Interval(found.low + least, found.high + least, found.method), len(rows))


# --- reading ----------------------------------------------------------------------------------------------------------


def read_runs(runs: Sequence[Path]) -> list[AnalysedRun]:
    """Read and label run directories; :class:`~resilience.errors.UsageError` for a broken one."""
    analysed = [analyse(run) for run in runs]
    labels = _labels([summary for _, _, summary in analysed])
    return [
        AnalysedRun(Evidence.of(log, episodes), side=compared_run(label, summary), experiment=log.experiment)
        for label, (log, episodes, summary) in zip(labels, analysed, strict=True)
    ]


def _labels(summaries: list[Summary]) -> list[str]:
    """The shortest of lane, experiment and seed that tells all runs apart; numbered if none does."""
    choices = (
        [summary.lane.value for summary in summaries],
        [f"{summary.lane.value} seed {summary.seed}" for summary in summaries],
        [f"{summary.experiment} {summary.lane.value} seed {summary.seed}" for summary in summaries],
    )
    unique = (labels for labels in choices if len(set(labels)) == len(labels))
    return next(unique, [f"{i}: {label}" for i, label in enumerate(choices[0], 1)])


def compared_run(label: str, summary: Summary) -> ComparedRun:
    """A run's description, from its summary."""
    return ComparedRun(
        label=label,
        experiment=summary.experiment,
        experiment_digest=summary.experiment_digest,
        lane=summary.lane.value,
        seed=summary.seed,
        started_at=summary.started_at,
        status=RunStatus(summary.status),
        cause=summary.cause,
        verdict=summary.verdict,
        versions=summary.versions,
        affected=summary.success_rate.affected,
        failures=summary.laboratory.failures,
        doubts=summary.laboratory.doubts,
        checks=(*_targets(summary), *_invariants(summary)),
    )


def _targets(summary: Summary) -> list[CheckResultLine]:
    lines = []
    for item in summary.expectations:
        name = formatting.scope(item)
        bounds = formatting.interval(item.metric, item.low, item.high)
        detail = f"{formatting.measured(item)} ({bounds}), target {formatting.target(item)}"
        lines.append(CheckResultLine(kind="target", name=name, verdict=item.verdict, detail=detail))
    return lines


def _invariants(summary: Summary) -> list[CheckResultLine]:
    return [
        CheckResultLine(kind="invariant", name=item.name, verdict=item.verdict, detail=item.detail)
        for item in summary.invariants
    ]
