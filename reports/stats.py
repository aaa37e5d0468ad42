"""Clusters, means and verdicts for drops that come in events. Pure functions on arrays; every formula names its source.

Two rules hold throughout. *A bound is one-sided*: ``low`` and ``high`` are each a bound at the stated confidence, so a
verdict at 95 % is wrong in at most one run of twenty, and the pair is a 90 % two-sided interval. *Drops of one fault
are correlated*: n drops in a few events are equivalent to fewer independent ones, ``effective_n``.

Equal faults (same kind, length, direction) are replicates and form a stratum; the number of each kind in a run is its
design, not chance, so variance stays within strata. Bounds of rates are in :mod:`reports.rates`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op

from .quantiles import t_quantile

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """The event of each observation. ``event``: code 0..k-1 per observation; ``stratum``: code per event.

    ``participant``: code per observation, where the same people take part in several events.
    """

    COLUMNS = ("event", "stratum", "participant")
    """The columns of an episode frame that :meth:`of_episodes` reads."""

    event: Integers
    stratum: Integers
    participant: Integers | None = None

    @classmethod
    def of(cls, events: pd.Series[Any], strata: pd.Series[Any], participants: pd.Series[Any] | None = None) -> Clusters:
        """From columns of labels, one per observation."""
        codes, _ = pd.factorize(events)
        kinds, _ = pd.factorize(strata)
        first = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]  # of equal codes the first one is written last
        people = None if participants is None else pd.factorize(participants)[0].astype(np.int64)
        return cls(codes.astype(np.int64), kinds[first].astype(np.int64), people)

    @classmethod
    def of_episodes(cls, episodes: pd.DataFrame) -> Clusters:
        """The events of rows of an episode frame, from its :attr:`COLUMNS`."""
        return cls.of(*(episodes[name] for name in cls.COLUMNS))

    @classmethod
    def single(cls, labels: pd.Series[Any]) -> Clusters:
        """From one column of labels; all events are replicates of one another."""
        return cls.of(labels, pd.Series("all", index=labels.index))

    @cached_property
    def sizes(self) -> Integers:
        """Observations per event."""
        return np.bincount(self.event, minlength=len(self.stratum)).astype(np.int64)

    @cached_property
    def crossing(self) -> Integers:
        """A code for each participant in each event, per observation, of about as many as there are observations."""
        people = np.zeros_like(self.event) if self.participant is None else self.participant
        codes: Integers = self.event * (int(people.max(initial=0)) + 1) + people
        if int(codes.max(initial=0)) <= 4 * len(codes):
            return codes
        inverse: Integers = np.unique(codes, return_inverse=True)[1].astype(np.int64)
        return inverse

    @cached_property
    def people(self) -> int:
        """The number of participants; 0 if they are not known."""
        return 0 if self.participant is None else int(self.participant.max(initial=-1)) + 1

    @cached_property
    def strata(self) -> Integers:
        """The stratum of each observation."""
        return self.stratum[self.event]

    @cached_property
    def stratum_sizes(self) -> Integers:
        """Observations per stratum."""
        return np.bincount(self.strata).astype(np.int64)

    @cached_property
    def met(self) -> NDArray[np.bool_]:
        """Which codes of :attr:`crossing` there are."""
        return np.bincount(self.crossing) > 0

    @property
    def events(self) -> int:
        """The number of events."""
        return len(self.stratum)

    @cached_property
    def spare(self) -> int:
        """Degrees of freedom between events: events less strata."""
        return self.events - len(np.unique(self.stratum))

    def sums(self, values: Floats) -> Floats:
        """The sum of ``values`` per event."""
        return np.bincount(self.event, weights=values, minlength=self.events).astype(np.float64)

    def centred(self, values: Floats) -> Floats:
        """``values`` less the mean of their stratum."""
        totals = np.bincount(self.strata, weights=values)
        return values - (totals / np.maximum(self.stratum_sizes, 1))[self.strata]


@dataclass(frozen=True)
class Interval:
    """Two one-sided bounds. ``method`` names in words how they were computed.

    ``source`` is where ``correlation`` came from: estimated, stated (the experiment's default) or none.
    """

    low: float
    high: float
    method: str
    effective_n: float = math.nan
    design_effect: float = 1.0
    correlation: float = 0.0
    source: str = "none"


NO_INTERVAL = Interval(math.nan, math.nan, "none")


# --- correlation within events ----------------------------------------------------------------------------------------


def design_effect(correlation: float, sizes: Integers) -> float:
    """The factor by which clustering inflates a variance: ``1 + (m - 1) * correlation``, m the size-weighted mean size.

    Source: Kish 1965, section 5.4; for unequal sizes Kish 1987. Never below 1.
    """
    total = int(sizes.sum())
    weighted = float((sizes.astype(np.float64) ** 2).sum()) / total if total else 1.0
    return max(1.0 + (weighted - 1.0) * correlation, 1.0)


def anova_correlation(values: Floats, clusters: Clusters) -> float:
    """Within-event correlation by the analysis-of-variance estimator, clipped to 0 and 1; NaN if undefined.

    ``(MSB - MSW) / (MSB + (m0 - 1) MSW)``. Source: Donner 1986; for binary data Ridout, Demetrio and Firth 1999, who
    recommend it. Means of strata are subtracted first.
    """
    return _anova_of_residuals(clusters.centred(values), clusters)


def _anova_of_residuals(centred: Floats, clusters: Clusters) -> float:
    n, sizes = len(centred), clusters.sizes.astype(np.float64)
    if clusters.spare < 1 or n <= clusters.events:
        return math.nan
    sums = clusters.sums(centred)
    between = float((sums**2 / sizes).sum())
    within = float((centred**2).sum()) - between
    msb, msw = between / clusters.spare, within / (n - clusters.events)
    per_stratum = clusters.stratum_sizes.astype(np.float64)
    m0 = (n - float((sizes**2 / per_stratum[clusters.stratum]).sum())) / clusters.spare
    spread = msb + (m0 - 1) * msw
    return float(np.clip((msb - msw) / spread, 0.0, 1.0)) if spread > 0 else math.nan


# --- means ------------------------------------------------------------------------------------------------------------


def mean_interval(values: Floats, clusters: Clusters, confidence: float, stated: float) -> Interval:
    """Bounds of the mean of clustered, non-negative values: never narrower than any of three t intervals.

    1. Over events: linearised variance, ``spare`` degrees of freedom (Cochran 1977, section 6.3).
    2. Over events and participants, where people are in several events (Cameron, Gelbach and Miller 2011).
    3. At the ``stated`` correlation: t on the effective number of values (Kish 1965).

    The upper bound is the larger of ``mean + half`` and ``mean * exp(half / mean)``, the interval of the logarithm:
    durations are skewed, and a few events show too few of the long ones (see docs/statistics.md).
    """
    n = len(values)
    strata = clusters.events - clusters.spare
    if n - strata < 1:
        return NO_INTERVAL
    residuals = clusters.centred(values)
    estimate = _anova_of_residuals(residuals, clusters)
    correlation = max(stated, estimate)
    effect = design_effect(correlation, clusters.sizes)
    stated_half = _stated_half(residuals, clusters, confidence, stated)
    half, method = max(
        (stated_half, "t with design effect"),
        (_half_over_events(residuals, clusters, confidence), "t over events"),
        (_half_over_participants(residuals, clusters, confidence), "t over events and participants"),
    )
    mean = float(values.mean())
    source = "estimated" if correlation > stated else "stated"
    high = mean if mean <= 0 else mean * math.exp(min(half / mean, _LARGEST_EXPONENT))
    return Interval(max(mean - half, 0.0), max(mean + half, high), method, n / effect, effect, correlation, source)


_LARGEST_EXPONENT = 700.0


def _stated_half(residuals: Floats, clusters: Clusters, confidence: float, stated: float) -> float:
    """Half the width at the stated correlation, with the standard deviation within strata."""
    n, strata = len(residuals), clusters.events - clusters.spare
    spread = math.sqrt(float((residuals**2).sum()) / (n - strata))
    effective = n / design_effect(stated, clusters.sizes)
    return t_quantile(confidence, max(effective - 1, 1.0)) * spread / math.sqrt(effective)


def _half_over_events(residuals: Floats, clusters: Clusters, confidence: float) -> float:
    """Half the width by the variance between events; 0 without a spare degree of freedom."""
    if clusters.spare < 1:
        return 0.0
    variance = _variance_between_events(residuals, clusters)
    return t_quantile(confidence, clusters.spare) * math.sqrt(variance)


def _half_over_participants(residuals: Floats, clusters: Clusters, confidence: float) -> float:
    """Half the width by the variance between events plus that between participants, less that of their crossing."""
    n, number = len(residuals), clusters.people
    if clusters.spare < 1 or clusters.participant is None or number in (1, n):
        return 0.0
    person = np.bincount(clusters.participant, weights=residuals)
    crossed = np.bincount(clusters.crossing, weights=residuals)[clusters.met].astype(np.float64)
    between_people = number / (number - 1) * float((person**2).sum()) / n**2
    both = len(crossed) / (len(crossed) - 1) * float((crossed**2).sum()) / n**2
    between_events = _variance_between_events(residuals, clusters)
    variance = max(between_events + between_people - both, between_people, between_events)
    return t_quantile(confidence, min(clusters.spare, number - 1)) * math.sqrt(variance)


def _variance_between_events(residuals: Floats, clusters: Clusters) -> float:
    """The linearised variance of a ratio of sums over events, within strata.

    An event without a replicate gets the mean variance of the others, by squared size (the "average" adjustment of
    single-unit strata, Lumley 2010, section 3.2).
    """
    sizes, stratum = clusters.sizes.astype(np.float64), clusters.stratum
    members = np.bincount(stratum).astype(np.float64)[stratum]
    replicated = members > 1
    sums = clusters.sums(residuals)
    inflated = (members / np.maximum(members - 1, 1) * sums**2)[replicated].sum()
    squares = float((sizes**2).sum()) / float((sizes[replicated] ** 2).sum())
    return float(inflated) * squares / len(residuals) ** 2


# --- differences, verdicts --------------------------------------------------------------------------------------------


def difference(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float]:
    """Bounds of ``b - a`` for two independent estimates, each as (value, low, high).

    Square-and-add: for proportions with Wilson bounds this is Newcombe 1998, method 10; in general MOVER, Zou and
    Donner 2008. An unknown bound makes the difference's bound unknown (NaN or infinite).
    """
    (pa, la, ua), (pb, lb, ub) = a, b
    gap = pb - pa
    return gap - math.hypot(pb - lb, ua - pa), gap + math.hypot(ub - pb, pa - la)


def verdict(op: Op, threshold: float, low: float, high: float) -> Verdict:
    """Pass only if the whole interval is on the good side, fail only if the whole interval is on the bad side."""
    if math.isnan(low) or math.isnan(high):
        return Verdict.INCONCLUSIVE
    good, bad = {
        Op.AT_LEAST: (low >= threshold, high < threshold),
        Op.ABOVE: (low > threshold, high <= threshold),
        Op.AT_MOST: (high <= threshold, low > threshold),
        Op.BELOW: (high < threshold, low >= threshold),
    }[op]
    return Verdict.PASS if good else Verdict.FAIL if bad else Verdict.INCONCLUSIVE


def worst_verdict(*verdicts: Verdict) -> Verdict:
    """Fail before inconclusive before pass."""
    order = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    return min(verdicts, key=order.index)
