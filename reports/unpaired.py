"""Differences between two runs that share no draw: other seeds, or another schedule. Pure; knows no file.

The bounds of a single run are made to be safe for a verdict on that run: they hold for the worst of what it may not
have shown. The difference of two such bounds finds little, so the means of two runs are compared by their standard
errors: each over the physical events of its own run, together with Student's t at the degrees of freedom of Welch 1947.
No error is believed that is smaller than that of the stated correlation, as of one run in
:func:`reports.stats.mean_interval`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import pandas as pd

from .expectations import Estimate
from .paired import episode_values, pooled, variance_if_stated, variance_over_events
from .quantiles import t_quantile
from .stats import Clusters, design_effect, difference


class StandardError(msgspec.Struct, frozen=True, kw_only=True):
    """The variance of a mean, and the degrees of freedom with which it is known."""

    variance: float
    freedom: float


class RunMean(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of one run as the mean of one value per affected episode.

    ``low`` and ``high``: the mean if the censored had returned when they were last seen, or never, in the order of
    size; equal if none is censored. ``seen``: by the variance between events; ``stated``: at the stated correlation.
    """

    low: float
    high: float
    seen: StandardError
    stated: StandardError


def run_mean(metric: str, rows: pd.DataFrame, deadline: float, stated: float) -> RunMean | None:
    """One of :data:`reports.paired.PAIRED_METRICS` over the affected rows of an episode frame.

    None if it is undefined for all of them, or if they are all of one event.
    """
    completions = (rows.assign(returned=~rows["never"]), rows.assign(never=~rows["returned"]))
    values = [episode_values(metric, completion, deadline) for completion in completions]
    known = ~pd.isna(values[0])
    if not known.any():
        return None
    rows, values = rows[known], [each[known] for each in values]
    clusters = pooled(Clusters.of_episodes(rows))
    if not clusters.spare:
        return None
    participant = pd.factorize(rows["participant"])[0]
    shares = metric == "success_rate"
    low, high = sorted(float(each.mean()) for each in values)
    worth = len(rows) / design_effect(stated, clusters.sizes)
    seen = max(variance_over_events(each, clusters, participant) for each in values)
    floor = max(variance_if_stated(each, clusters, stated, shares=shares) for each in values)
    return RunMean(
        low=low,
        high=high,
        seen=StandardError(variance=seen, freedom=clusters.spare),
        stated=StandardError(variance=floor, freedom=max(worth - 1, 1.0)),
    )


@dataclass(frozen=True)
class MeanDifference:
    """The mean of a second run less that of the first."""

    first: RunMean
    other: RunMean

    def bounds(self, confidence: float) -> tuple[float, float]:
        """One-sided bounds, each at ``confidence``, whatever became of the censored."""
        half = max(
            _half_width(self.first.seen, self.other.seen, confidence),
            _half_width(self.first.stated, self.other.stated, confidence),
        )
        return self.other.low - self.first.high - half, self.other.high - self.first.low + half


def independent_bounds(
    means: tuple[RunMean | None, RunMean | None], estimates: tuple[Estimate, Estimate], confidence: float
) -> tuple[float, float]:
    """One-sided bounds of a second run's metric less the first's: of their means, or, without those, of estimates.

    The ``estimates`` have their own bounds at ``confidence``; see :func:`reports.stats.difference`.
    """
    first, other = means
    if first and other:
        return MeanDifference(first, other).bounds(confidence)
    return difference(estimates[0].bounded, estimates[1].bounded)


def _half_width(a: StandardError, b: StandardError, confidence: float) -> float:
    """Student's t at Welch's degrees of freedom, times the standard error of the difference."""
    total = a.variance + b.variance
    if not total:
        return 0.0
    freedom = total**2 / (a.variance**2 / a.freedom + b.variance**2 / b.freedom)
    return t_quantile(confidence, freedom) * math.sqrt(total)
