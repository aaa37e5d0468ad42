"""Intervals and verdicts for drops that come in clusters. Pure functions on arrays; every formula names its source.

Two ideas run through it. *A bound is one-sided*: ``low`` and ``high`` are each a bound at the stated confidence, so a
verdict at 95 % is wrong in at most one run of twenty, and the pair is a 90 % two-sided interval. *Drops of one fault
are correlated*: n drops in a few events are worth fewer independent ones, ``effective_n``.

Faults that are alike (same kind, length, direction) are replicates and form a stratum; how many of each kind a run
has is its design, not chance, so resampling and variance stay within strata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ESTIMATE_FROM = 10
"""Fewest fault events from which a correlation is estimated."""

RESAMPLE_FROM = 20
"""Fewest fault events over which an interval is resampled."""

MIN_DEGREES_OF_FREEDOM = 5
"""Fewest degrees of freedom between events (events less strata) for an estimate; twice as many for resampling."""

MIN_COUNT = 10
"""A rate needs this many drops of either kind, or its correlation cannot be told from noise."""

LINEARISE_FROM_EVENTS = 400
"""Fault events from which resampling them tells no more than its own normal limit does."""

RESAMPLES = 2000
_SALT = 0x5EED


@dataclass(frozen=True)
class Clusters:
    """Which event each observation belongs to. ``event``: code 0..k-1 per observation; ``stratum``: code per event."""

    event: Integers
    stratum: Integers

    @classmethod
    def of(cls, events: pd.Series[Any], strata: pd.Series[Any]) -> Clusters:
        """From two columns of labels, one per observation."""
        codes, _ = pd.factorize(events)
        kinds, _ = pd.factorize(strata)
        first = np.unique(codes, return_index=True)[1]
        return cls(codes.astype(np.int64), kinds[first].astype(np.int64))

    @classmethod
    def single(cls, labels: pd.Series[Any]) -> Clusters:
        """From one column of labels; all events are replicates of one another."""
        return cls.of(labels, pd.Series("all", index=labels.index))

    @property
    def sizes(self) -> Integers:
        """Observations per event."""
        return np.bincount(self.event, minlength=len(self.stratum)).astype(np.int64)

    @property
    def events(self) -> int:
        """How many events there are."""
        return len(self.stratum)

    @property
    def spare(self) -> int:
        """Degrees of freedom between events: events less strata."""
        return self.events - len(np.unique(self.stratum))

    def sums(self, values: Floats) -> Floats:
        """The sum of ``values`` per event."""
        return np.bincount(self.event, weights=values, minlength=self.events).astype(np.float64)

    def centred(self, values: Floats) -> Floats:
        """``values`` less the mean of their stratum."""
        stratum = self.stratum[self.event]
        totals, counts = np.bincount(stratum, weights=values), np.bincount(stratum)
        return values - (totals / np.maximum(counts, 1))[stratum]


@dataclass(frozen=True)
class Interval:
    """Two one-sided bounds and how they were found. ``method`` says in words how.

    ``source`` says where ``correlation`` came from: estimated, stated (the experiment's default) or none.
    """

    low: float
    high: float
    method: str
    effective_n: float = math.nan
    design_effect: float = 1.0
    correlation: float = 0.0
    source: str = "none"


NO_INTERVAL = Interval(math.nan, math.nan, "none")


# --- proportions ------------------------------------------------------------------------------------------------------


def wilson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """One-sided Wilson score bounds of a proportion, each at ``confidence``; (NaN, NaN) when ``n`` is 0.

    Source: Wilson 1927; equals ``scipy.stats.binomtest(..).proportion_ci(2 * confidence - 1, "wilson")`` for whole
    numbers. Written out because effective numbers are not whole.
    """
    if n <= 0:
        return math.nan, math.nan
    z = float(stats.norm.ppf(confidence))
    p, spread = successes / n, z * z / n
    middle = (p + spread / 2) / (1 + spread)
    half = z * math.sqrt(p * (1 - p) / n + spread / (4 * n)) / (1 + spread)
    low = 0.0 if successes <= 0 else max(middle - half, 0.0)
    high = 1.0 if successes >= n else min(middle + half, 1.0)
    return low, high


def rate_interval(
    success: NDArray[np.bool_], clusters: Clusters, confidence: float, stated: float, seed: int
) -> Interval:
    """Bounds of a success rate over clustered drops; ``stated`` is the correlation assumed when it cannot be estimated.

    Many events (20, with failures in at least five of them): stratified bootstrap over events, never narrower than
    Wilson's interval for independent drops. Otherwise Wilson on the effective number of drops (Kish 1965; Dean and
    Pagano 2015).
    """
    values, n = success.astype(np.float64), len(success)
    if n == 0:
        return NO_INTERVAL
    correlation, source = correlation_of(values, clusters, stated)
    effect = design_effect(correlation, clusters.sizes)
    if _many(clusters) and int((clusters.sums(1 - values) > 0).sum()) >= MIN_DEGREES_OF_FREEDOM:
        low, high = _resampled_mean(values, clusters, confidence, seed)
        plain_low, plain_high = wilson(values.sum(), n, confidence)
        bounds = min(low, plain_low), max(high, plain_high)
        return Interval(*bounds, "bootstrap over events", n / effect, effect, correlation, source)
    low, high = wilson(values.sum() / effect, n / effect, confidence)
    return Interval(low, high, "Wilson with design effect", n / effect, effect, correlation, source)


# --- correlation within events ----------------------------------------------------------------------------------------


def design_effect(correlation: float, sizes: Integers) -> float:
    """By how much clustering inflates a variance: ``1 + (m - 1) * correlation`` with m the size-weighted mean size.

    Source: Kish 1965, section 5.4; for unequal sizes Kish 1987. Never below 1.
    """
    total = int(sizes.sum())
    weighted = float((sizes.astype(np.float64) ** 2).sum()) / total if total else 1.0
    return max(1.0 + (weighted - 1.0) * correlation, 1.0)


def anova_correlation(values: Floats, clusters: Clusters) -> float:
    """Within-event correlation by the analysis-of-variance estimator, kept within 0 and 1; NaN when undefined.

    ``(MSB - MSW) / (MSB + (m0 - 1) MSW)``. Source: Donner 1986; for binary data Ridout, Demetrio and Firth 1999, who
    recommend it. Means of strata are taken out first.
    """
    n, sizes = len(values), clusters.sizes.astype(np.float64)
    if clusters.spare < 1 or n <= clusters.events:
        return math.nan
    centred = clusters.centred(values)
    sums = clusters.sums(centred)
    between = float((sums**2 / sizes).sum())
    within = float((centred**2).sum()) - between
    msb, msw = between / clusters.spare, within / (n - clusters.events)
    per_stratum = np.bincount(clusters.stratum[clusters.event]).astype(np.float64)
    m0 = (n - float((sizes**2 / per_stratum[clusters.stratum]).sum())) / clusters.spare
    spread = msb + (m0 - 1) * msw
    return float(np.clip((msb - msw) / spread, 0.0, 1.0)) if spread > 0 else math.nan


def correlation_of(values: Floats, clusters: Clusters, stated: float) -> tuple[float, str]:
    """The correlation to work with and where it came from: estimated when the data can tell, else as stated."""
    enough = clusters.events >= ESTIMATE_FROM and clusters.spare >= MIN_DEGREES_OF_FREEDOM
    ones = int((values == 1).sum())
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    rare = binary and min(ones, len(values) - ones) < MIN_COUNT
    estimate = anova_correlation(values, clusters) if enough and not rare else math.nan
    return (stated, "stated") if math.isnan(estimate) else (estimate, "estimated")


# --- means ------------------------------------------------------------------------------------------------------------


def mean_interval(values: Floats, clusters: Clusters, confidence: float, stated: float, seed: int) -> Interval:
    """Bounds of the mean of clustered, non-negative values.

    Many events: stratified bootstrap over events (Davison and Hinkley 1997, section 3.8, strategy 1; percentile
    interval). Very many (400): the normal limit of the same, by linearisation. Otherwise Student's t on the effective
    number, with the standard deviation within strata.
    """
    n = len(values)
    strata = clusters.events - clusters.spare
    if n - strata < 1:
        return NO_INTERVAL
    correlation, source = correlation_of(values, clusters, stated)
    effect = design_effect(correlation, clusters.sizes)
    if _many(clusters):
        if clusters.events >= LINEARISE_FROM_EVENTS:
            bounds, method = _linearised_mean(values, clusters, confidence), "linearised over events"
        else:
            bounds, method = _resampled_mean(values, clusters, confidence, seed), "bootstrap over events"
        return Interval(*bounds, method, n / effect, effect, correlation, source)
    spread = math.sqrt(float((clusters.centred(values) ** 2).sum()) / (n - strata))
    effective = n / effect
    half = float(stats.t.ppf(confidence, max(effective - 1, 1.0))) * spread / math.sqrt(effective)
    mean = float(values.mean())
    return Interval(max(mean - half, 0.0), mean + half, "t with design effect", effective, effect, correlation, source)


def _many(clusters: Clusters) -> bool:
    return clusters.events >= RESAMPLE_FROM and clusters.spare >= 2 * MIN_DEGREES_OF_FREEDOM


def _resampled_mean(values: Floats, clusters: Clusters, confidence: float, seed: int) -> tuple[float, float]:
    """Percentiles of the mean when events are drawn again, with replacement, within their strata."""
    rng = np.random.default_rng([_SALT, seed])
    sums, sizes = clusters.sums(values), clusters.sizes.astype(np.float64)
    totals, counts = np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for stratum in np.unique(clusters.stratum):
        members = np.flatnonzero(clusters.stratum == stratum)
        drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
        totals += drawn @ sums[members]
        counts += drawn @ sizes[members]
    low, high = np.quantile(totals / counts, [1 - confidence, confidence])
    return float(low), float(high)


def _linearised_mean(values: Floats, clusters: Clusters, confidence: float) -> tuple[float, float]:
    """Normal bounds of a mean over clusters, as a ratio of two sums; Cochran 1977, section 6.3, within strata."""
    mean, sizes = float(values.mean()), clusters.sizes.astype(np.float64)
    residuals = clusters.sums(values) - mean * sizes
    members = np.bincount(clusters.stratum).astype(np.float64)
    centred = residuals - (np.bincount(clusters.stratum, weights=residuals) / members)[clusters.stratum]
    inflation = (members / np.maximum(members - 1, 1))[clusters.stratum]
    half = float(stats.norm.ppf(confidence)) * math.sqrt(float((inflation * centred**2).sum())) / len(values)
    return max(mean - half, 0.0), mean + half


# --- differences, verdicts, planning ----------------------------------------------------------------------------------


def difference(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float]:
    """Bounds of ``b - a`` for two independent estimates, each as (value, low, high).

    Square-and-add: for proportions with Wilson bounds this is Newcombe 1998, method 10; in general MOVER, Zou and
    Donner 2008. An unknown bound makes the difference's bound unknown (NaN or infinite).
    """
    (pa, la, ua), (pb, lb, ub) = a, b
    gap = pb - pa
    return gap - math.hypot(pb - lb, ua - pa), gap + math.hypot(ub - pb, pa - la)


def verdict(op: Op, threshold: float, low: float, high: float) -> Verdict:
    """Pass only if the whole interval is on the good side, fail only if the whole of it is on the bad side."""
    if math.isnan(low) or math.isnan(high):
        return Verdict.INCONCLUSIVE
    good, bad = {
        Op.AT_LEAST: (low >= threshold, high < threshold),
        Op.ABOVE: (low > threshold, high <= threshold),
        Op.AT_MOST: (high <= threshold, low > threshold),
        Op.BELOW: (high < threshold, low >= threshold),
    }[op]
    return Verdict.PASS if good else Verdict.FAIL if bad else Verdict.INCONCLUSIVE
