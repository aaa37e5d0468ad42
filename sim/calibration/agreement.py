"""How far measured episodes are from predicted ones: distances, ratios, intervals, tests. Pure functions of frames.

``measured`` and ``predicted`` are the affected rows of episode frames. Seconds throughout. A time that never came
counts as the experiment's deadline, so that both sides mean the same by a mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from reports.paired import episode_values, match, paired_mean
from reports.stats import Floats

from .measured_run import MeasuredRun

METRICS = ("success_rate", "detection_s", "downtime_s", "excess_s", "attempts")
"""Those of a run of which a prediction interval is made: means over its affected episodes; and :data:`TAIL`."""

TAIL = "excess_s.p95"

_PAIRED = {
    "success_rate": "success_rate",
    "detection_s": "detection_s.mean",
    "downtime_s": "downtime_s.restricted_mean",
    "excess_s": "excess_s.restricted_mean",
    "attempts": "attempts.mean",
}


def values_of(metric: str, rows: pd.DataFrame, deadline: float) -> Floats:
    """One value per affected episode that has one; ``metric`` is one of :data:`METRICS`."""
    values = episode_values(_PAIRED[metric], rows, deadline)
    return values[~np.isnan(values)]


def p95(values: Floats) -> float:
    """The time by which 95 % were back; NaN of none."""
    return float(np.quantile(values, 0.95, method="inverted_cdf")) if len(values) else math.nan


def run_metrics(rows: pd.DataFrame, deadline: float) -> dict[str, float]:
    """Every metric of one run for which a prediction interval is made; NaN where it has no value."""
    means = {metric: _mean(values_of(metric, rows, deadline)) for metric in METRICS}
    return means | {TAIL: p95(values_of("excess_s", rows, deadline))}


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def distance(measured: Floats, predicted: Floats) -> float:
    """Wasserstein-1 between two samples, in their unit; NaN where one is empty."""
    return float(wasserstein_distance(measured, predicted)) if len(measured) and len(predicted) else math.nan


def prediction_interval(replications: Sequence[float]) -> tuple[float, float, float]:
    """Least and greatest of R replications, and the probability ``(R - 1) / (R + 1)`` that they hold the next one.

    That holds whatever the distribution (Wilks 1941). NaN where no replication has a value.
    """
    known = np.asarray([value for value in replications if not math.isnan(value)])
    if not len(known):
        return math.nan, math.nan, 0.0
    return float(known.min()), float(known.max()), (len(known) - 1) / (len(known) + 1)


@dataclass(frozen=True)
class PairedDifference:
    """Predicted less measured, over all pairs of all runs: mean and one-sided bounds, each at the same confidence."""

    mean: float
    low: float
    high: float
    pairs: int


def paired_difference(runs: Sequence[MeasuredRun], metric: str, confidence: float) -> PairedDifference | None:
    """The mean difference over the pairs of all these runs; None where too few episodes have a partner.

    Clusters are the physical events of every run; events of one kind of fault form a stratum across runs.
    """
    measured = _keyed(runs, [run.measured for run in runs], metric)
    predicted = _keyed(runs, [run.predicted for run in runs], metric)
    names = pd.concat([_numbered(run.clusters, i) for i, run in enumerate(runs)])
    pairs = match(measured, predicted, names)
    if pairs is None:
        return None
    gaps = (
        predicted["value"].to_numpy(dtype=np.float64)[pairs.other]
        - measured["value"].to_numpy(dtype=np.float64)[pairs.first]
    )
    kept = pairs.where(~np.isnan(gaps))
    if kept is None:
        return None
    gaps, stated = gaps[~np.isnan(gaps)], max(run.correlation for run in runs)
    found = paired_mean(gaps, kept, stated, shares=metric == "success_rate")
    return PairedDifference(found.mean, *found.bounds(confidence), len(gaps))


def _keyed(runs: Sequence[MeasuredRun], rows: Sequence[pd.DataFrame], metric: str) -> pd.DataFrame:
    """The value of each episode of several runs under the fault and participant of its run."""
    parts = [
        pd.DataFrame(
            {
                "fault_id": _of_run(frame["fault_id"], i),
                "participant": _of_run(frame["participant"], i),
                "value": episode_values(_PAIRED[metric], frame, run.deadline),
            }
        )
        for i, (run, frame) in enumerate(zip(runs, rows, strict=True))
    ]
    return pd.concat(parts, ignore_index=True)


def _of_run(column: pd.Series[str], number: int) -> pd.Series[str]:
    return f"{number} " + column.astype(str)


def _numbered(clusters: pd.DataFrame, number: int) -> pd.DataFrame:
    found = clusters.assign(cluster=_of_run(clusters["cluster"], number))
    return found.set_axis([f"{number} {name}" for name in clusters.index])


def quantile_pairs(measured: Floats, predicted: Floats, points: int = 99) -> tuple[Floats, Floats]:
    """Quantiles of both at equal shares, for a Q-Q picture."""
    shares = np.arange(1, points + 1) / (points + 1)
    return np.quantile(measured, shares), np.quantile(predicted, shares)


def pooled(parts: Sequence[Floats]) -> Floats:
    """All values of several runs."""
    return np.concatenate(parts) if parts else np.empty(0)


def by_experiment(runs: Sequence[MeasuredRun]) -> Mapping[str, list[MeasuredRun]]:
    """The runs of each experiment, in the order of their first run."""
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        groups.setdefault(run.experiment, []).append(run)
    return groups
