"""Bounds of a success rate whose drops come in events. Pure functions on arrays; every formula names its source.

The bounds are those of Korn and Graubard 1998: Clopper and Pearson's exact bounds on an *effective* number of drops,
``n / design effect * (z / t) ** 2``. Two things are added, so that the verdict can only follow the evidence:

* The correlation is the larger of the stated and the estimated one, and the stated one is never worth more than the
  same drops in fewer events.
* **One more failure never improves a bound.** Failures that are spread evenly are worth more than clustered ones, so an
  additional failure could make the events look more alike and the plain bound better. Therefore each bound is the least
  favourable one to the system among those of all parts of the failures that were seen: a system with fewer failures
  cannot be proven worse, nor one with more failures proven better.

docs/statistics.md has the reasons, the sources and a table of how often the verdicts are wrong.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .quantiles import chi2_quantile, normal_quantile, t_quantile
from .stats import NO_INTERVAL, Clusters, Floats, Integers, Interval

LEAST_DEGREES_OF_FREEDOM = 5
"""With fewer spare degrees of freedom the t quantile is that of so many: else fewer events could prove more."""

CAUTION = 0.9
"""Confidence of the upper limit of the variance between events that enters a lower bound."""

MAX_TOTALS = 2048
"""Up to this many failures every smaller number of them is examined; of more, evenly spaced ones."""


def clopper_pearson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """One-sided exact bounds of a proportion, each at ``confidence``; (NaN, NaN) if ``n`` is 0.

    Source: Clopper and Pearson 1934; by the beta distribution, so that effective numbers need not be whole.
    """
    if n <= 0:
        return math.nan, math.nan
    counts, whole = np.array([successes], dtype=np.float64), np.array([n], dtype=np.float64)
    return float(_exact_low(counts, whole, confidence)[0]), float(_exact_high(counts, whole, confidence)[0])


def _exact_low(successes: Floats, n: Floats, confidence: float) -> Floats:
    some = np.maximum(successes, 1e-300)
    bound = special.betaincinv(some, np.maximum(n - successes, 0.0) + 1.0, 1.0 - confidence)
    return np.where(successes > 0, bound, 0.0)


def _exact_high(successes: Floats, n: Floats, confidence: float) -> Floats:
    failures = np.maximum(n - successes, 0.0)
    bound = special.betaincinv(np.maximum(successes, 0.0) + 1.0, np.maximum(failures, 1e-300), confidence)
    return np.where(failures > _ROUNDING * n, bound, 1.0)


_ROUNDING = 1e-12


# --- what the number and the size of the events allow -----------------------------------------------------------------


@dataclass(frozen=True)
class RateDesign:
    """The events of a rate, without their outcomes. ``sizes``: drops per event; ``stratum``: code per event, from 0.

    ``stated``: the correlation within events that is assumed unless a larger one is seen. ``caution``: the factor on
    the estimated variance between events.
    """

    sizes: Floats
    stratum: Integers
    stated: float
    confidence: float
    caution: float = 1.0

    @classmethod
    def of(cls, clusters: Clusters, stated: float, confidence: float) -> RateDesign:
        """The design of drops that were seen."""
        _, codes = np.unique(clusters.stratum, return_inverse=True)
        return cls(clusters.sizes.astype(np.float64), codes.astype(np.int64), stated, confidence)

    @cached_property
    def n(self) -> float:
        """The number of drops."""
        return float(self.sizes.sum())

    @cached_property
    def stratum_sizes(self) -> Floats:
        """Drops per stratum."""
        return np.bincount(self.stratum, weights=self.sizes).astype(np.float64)

    @cached_property
    def spare(self) -> int:
        """Degrees of freedom between events: events less strata."""
        return len(self.sizes) - len(self.stratum_sizes)

    @cached_property
    def weighted_size(self) -> float:
        """The mean size of an event, weighted by size."""
        return float((self.sizes**2).sum()) / self.n

    @cached_property
    def typical_size(self) -> float:
        """The size of an event in the expectation of the variance between events (Donner 1986); NaN if undefined."""
        if self.spare < 1:
            return math.nan
        return (self.n - float((self.sizes**2 / self.stratum_sizes[self.stratum]).sum())) / self.spare

    def cautious(self) -> RateDesign:
        """This design with an upper limit of the variance between events in place of its estimate.

        When few failures were seen, their clustering is underestimated as well: both errors favour the system, so a
        lower bound takes ``spare / chi2(1 - CAUTION, spare)`` times the estimate, with few events only as much of it as
        lets more events prove more.
        """
        if self.spare <= LEAST_DEGREES_OF_FREEDOM:
            return self
        limit = self.spare / chi2_quantile(1 - CAUTION, self.spare)
        return replace(self, caution=min((self.spare + 1) / (LEAST_DEGREES_OF_FREEDOM + 1), limit))

    def doubled(self, part: float) -> RateDesign:
        """Twice as many events, each with this part of the drops."""
        return replace(self, sizes=np.repeat(self.sizes * part, 2), stratum=np.repeat(self.stratum, 2))

    def correlation(self, failures: Floats, between: Floats) -> Floats:
        """The estimated correlation for each number of ``failures`` with this sum of squares ``between`` events.

        Analysis of variance for a binary outcome (Donner 1986), solved for the variance of one drop at the observed
        rate; from 0 to 1, and 0 where nothing can be estimated.
        """
        if self.spare < 1 or self.typical_size <= 1:
            return np.zeros_like(failures)
        share = failures / self.n
        variance = share * (1 - share)
        some = variance > 0
        ratio = np.divide(self.caution * between / self.spare, variance, out=np.zeros_like(variance), where=some)
        return np.clip((ratio - 1) / (self.typical_size - 1), 0.0, 1.0)

    def effective(self, failures: Floats, between: Floats) -> Floats:
        """The number of independent drops that these are equivalent to."""
        seen = np.maximum(self.correlation(failures, between), self.stated)
        several = (1 + (self.weighted_size - 1) * seen) * self._squared_ratio
        return self.n / np.where(seen > self.stated, several, np.minimum(several, self._single))

    @cached_property
    def _single(self) -> float:
        """What the stated correlation costs if all drops are in one event: it never costs more."""
        return 1 + (self.n - 1) * self.stated

    @cached_property
    def _squared_ratio(self) -> float:
        """``(t / z) ** 2``: what estimating a variance from events costs (Korn and Graubard 1998)."""
        freedom = max(self.spare, LEAST_DEGREES_OF_FREEDOM)
        return (t_quantile(self.confidence, freedom) / normal_quantile(self.confidence)) ** 2


# --- bounds -----------------------------------------------------------------------------------------------------------


def rate_interval(
    success: NDArray[np.bool_],
    clusters: Clusters,
    confidence: float,
    stated: float,
    possible: NDArray[np.bool_] | None = None,
) -> Interval:
    """Bounds of a success rate over clustered drops; ``stated`` is the least correlation that is assumed.

    ``possible``: which drops may have been successes, for all that was seen of them (the censored and the successes);
    the upper bound counts those as successes, the lower bound only ``success``.
    """
    if not len(success):
        return NO_INTERVAL
    design = RateDesign.of(clusters, stated, confidence)
    lost = clusters.sums((~success).astype(np.float64))
    surely_lost = lost if possible is None else clusters.sums((~possible).astype(np.float64))
    low, high = low_bound(design, lost), high_bound(design, surely_lost)
    worth = _worth(design, lost)
    method = "Clopper-Pearson on the effective number of drops"
    return Interval(low, high, method, worth.n, worth.design_effect, worth.correlation, worth.source)


@dataclass(frozen=True)
class EffectiveDrops:
    """``n``: the number of independent drops that some are equivalent to; the rest as in ``Interval``."""

    n: float
    design_effect: float
    correlation: float
    source: str


def effective_drops(marked: NDArray[np.bool_], clusters: Clusters, confidence: float, stated: float) -> EffectiveDrops:
    """What clustered drops are worth for the share of the ``marked``; there is at least one drop."""
    design = RateDesign.of(clusters, stated, confidence)
    return _worth(design, clusters.sums(marked.astype(np.float64)))


def _worth(design: RateDesign, failed: Floats) -> EffectiveDrops:
    total, between = np.array([failed.sum()]), np.array([_between(design, failed)])
    seen = float(design.correlation(total, between)[0])
    correlation = max(seen, design.stated)
    effect = max(1 + (design.weighted_size - 1) * correlation, 1.0)
    source = "estimated" if seen > design.stated else "stated"
    return EffectiveDrops(float(design.effective(total, between)[0]), effect, correlation, source)


def low_bound(design: RateDesign, failed: Floats) -> float:
    """The one-sided lower bound of the success rate; ``failed``: failures per event.

    The least of the bounds over every part of the failures, each number of them taken as clustered as the seen ones
    allow. So it never rises when a failure is added. Without a spare degree of freedom nothing shows how events differ:
    such a design proves no more than if each event had been two alike, half as large or as large.
    """
    cautious, totals = design.cautious(), _totals(failed)
    n = cautious.effective(totals, _most_clustered(design, failed, totals))
    low = float(_exact_low(n * (1 - totals / design.n), n, design.confidence).min())
    if design.spare:
        return low
    return min(low, *(low_bound(design.doubled(part), np.repeat(failed * part, 2)) for part in (0.5, 1.0)))


def high_bound(design: RateDesign, failed: Floats) -> float:
    """The one-sided upper bound of the success rate; ``failed``: failures per event.

    The least of the bounds over every part of the failures, each number of them taken as evenly spread as the seen ones
    allow (failures of an event beyond a limit are left out). So it never rises when a failure is added.
    """
    totals = _totals(failed)
    n = design.effective(totals, _least_clustered(design, failed, totals))
    return float(_exact_high(n * (1 - totals / design.n), n, design.confidence).min())


def _totals(failed: Floats) -> Floats:
    """The numbers of failures to examine, from none to all."""
    total = round(float(failed.sum()))
    if total < MAX_TOTALS:
        return np.arange(total + 1, dtype=np.float64)
    return np.unique(np.round(np.linspace(0, total, MAX_TOTALS)))


def _between(design: RateDesign, failed: Floats) -> float:
    """Sum of squares between the events of a stratum."""
    per_stratum = np.bincount(design.stratum, weights=failed)
    return float((failed**2 / design.sizes).sum() - (per_stratum**2 / design.stratum_sizes).sum())


def _most_clustered(design: RateDesign, failed: Floats, totals: Floats) -> Floats:
    """For each total, the largest sum of squares between events that such a part of the failures can have.

    The events with the largest share of failures keep theirs; the strata are as even as they can be.
    """
    share = failed / design.sizes
    order = np.argsort(-share, kind="stable")
    kept, squares = _running(failed[order]), _running((failed * share)[order])
    return np.maximum(np.interp(totals, kept, squares) - _most_even_strata(design, failed, totals), 0.0)


def _most_even_strata(design: RateDesign, failed: Floats, totals: Floats) -> Floats:
    """For each total, the least ``sum(failures ** 2 / size)`` over strata: all limited to one share of failures."""
    per_stratum = np.bincount(design.stratum, weights=failed).astype(np.float64)
    order = np.argsort(per_stratum / design.stratum_sizes, kind="stable")
    inside, sizes = per_stratum[order], design.stratum_sizes[order]
    share = inside / sizes
    rest = design.n - _running(sizes)
    reached = np.append(0.0, _running(inside)[:-1] + share * rest[:-1])
    limit = np.interp(totals, reached, np.append(0.0, share))
    whole = np.searchsorted(share, limit, side="right")
    squares: Floats = _running(inside * share)[whole] + limit**2 * rest[whole]
    return squares


def _least_clustered(design: RateDesign, failed: Floats, totals: Floats) -> Floats:
    """For each total, the least sum of squares between events that such a part of the failures can have.

    A convex problem: in every stratum the failures of an event are limited to a share that exceeds the stratum's own
    share by the same amount, the *slack*.
    """
    strata = [_LimitedStratum.of(design, failed, code) for code in range(len(design.stratum_sizes))]
    grid = np.unique(np.concatenate([np.zeros(1), *(stratum.slack for stratum in strata)]))
    reached = np.sum([stratum.totals(grid) for stratum in strata], axis=0)
    slack = np.interp(totals, reached, grid)
    return np.where(totals <= reached[0], 0.0, np.sum([stratum.between(slack) for stratum in strata], axis=0))


@dataclass(frozen=True)
class _LimitedStratum:
    """One stratum whose events' shares of failures are limited; events in the order of their share.

    ``slack[i]``: the limit's excess over the stratum's share when the limit is the share of event i. ``kept``,
    ``sizes``, ``squares``: running sums, from 0, over the events below the limit.
    """

    share: Floats
    slack: Floats
    kept: Floats
    sizes: Floats
    squares: Floats

    @classmethod
    def of(cls, design: RateDesign, failed: Floats, code: int) -> _LimitedStratum:
        mine = design.stratum == code
        failures, sizes = failed[mine], design.sizes[mine]
        order = np.argsort(failures / sizes, kind="stable")
        failures, sizes = failures[order], sizes[order]
        share, kept, running = failures / sizes, _running(failures), _running(sizes)
        slack = share - (kept[:-1] + share * (running[-1] - running[:-1])) / running[-1]
        slack = np.maximum.accumulate(np.maximum(slack, 0.0))
        return cls(share, slack, kept, running, _running(failures * share))

    def _limits(self, slack: Floats) -> tuple[NDArray[np.intp], Floats]:
        """How many events are below the limit, and the limit."""
        below = np.searchsorted(self.slack, slack, side="left")
        limit = (slack * self.sizes[-1] + self.kept[below]) / np.maximum(self.sizes[below], 1.0)
        return below, np.where(below == 0, self.share[0], limit)

    def totals(self, slack: Floats) -> Floats:
        """The failures that remain."""
        below, limit = self._limits(slack)
        kept: Floats = self.kept[below] + limit * (self.sizes[-1] - self.sizes[below])
        return kept

    def between(self, slack: Floats) -> Floats:
        """Their sum of squares between events."""
        below, limit = self._limits(slack)
        squares = self.squares[below] + limit**2 * (self.sizes[-1] - self.sizes[below])
        between: Floats = np.maximum(squares - self.totals(slack) ** 2 / self.sizes[-1], 0.0)
        return between


def _running(values: Floats) -> Floats:
    return np.append(0.0, np.cumsum(values))


# --- what would be needed ---------------------------------------------------------------------------------------------


def correlation_limit(design: RateDesign, failed: Floats, target: float) -> float | None:
    """The largest stated correlation at which the lower bound reaches ``target``; None where none does."""

    def reaches(correlation: float) -> bool:
        return low_bound(replace(design, stated=correlation), failed) >= target

    if not reaches(0.0):
        return None
    low, high = 0.0, 1.0
    if reaches(high):
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return low


_HALVINGS = 14
_MAX_EVENTS = 4096


def events_needed(design: RateDesign, share: float, target: float) -> int | None:
    """With how many events like these, in turn, each of this success ``share``, the target is decided.

    Proven met if ``share`` exceeds ``target``, else proven missed, at the design's stated correlation. None where not
    even 4096 events would.
    """

    def decides(events: int) -> bool:
        source = np.arange(events) % len(design.sizes)
        more = replace(design, sizes=design.sizes[source], stratum=design.stratum[source])
        n = more.effective(np.zeros(1), np.zeros(1))
        if share > target:
            return float(_exact_low(n * share, n, design.confidence)[0]) >= target
        return float(_exact_high(n * share, n, design.confidence)[0]) < target

    return least_number(decides, _MAX_EVENTS)


def least_number(decides: Callable[[int], bool], limit: int) -> int | None:
    """The smallest number from 1 to ``limit`` that ``decides``, as all larger ones then do; None where none does."""
    found = 1 + bisect_left(range(1, limit + 1), x=True, key=decides)
    return found if found <= limit else None
