"""Time to recovery when some clients did not recover. Pure functions on arrays; every formula names its source.

Three kinds of episode enter: *returned* at a known time; *never* returned (gave up, new identity, wrong state), with an
infinite time; *censored*, with only a lower bound. No episode is left out: a latency over survivors alone rewards
giving up. Bounds assume nothing about the censored (Manski 1990): the lower one takes each as returned when it was last
seen (:attr:`RecoveryTimes.if_back`), the upper one as lost (:attr:`RecoveryTimes.if_lost`).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from .rates import effective_drops
from .stats import Clusters, Floats, Interval

_EPSILON = 1e-12
"""Allowed rounding error of a share of drops."""


@dataclass(frozen=True)
class RecoveryTimes:
    """Durations of one clock, seconds. ``returned``: known; ``never``: infinite; else a lower bound."""

    COLUMNS = (*Clusters.COLUMNS, "returned", "never")
    """The columns of an episode frame that :meth:`of` reads, besides the clock's own."""

    seconds: Floats
    returned: NDArray[np.bool_]
    never: NDArray[np.bool_]
    clusters: Clusters

    @classmethod
    def of(cls, episodes: pd.DataFrame, clock: str, clusters: Clusters | None = None) -> RecoveryTimes:
        """From the affected rows of an episode frame, without those for which the clock is not defined (NaN).

        Read are the column ``clock`` and :attr:`COLUMNS`. Detection is known for every one of the others. ``clusters``:
        those of all these rows, if they are known already.
        """
        seconds = episodes[clock].to_numpy(dtype=np.float64)
        defined = ~np.isnan(seconds)
        if not defined.all():
            labels = episodes.loc[defined, list(Clusters.COLUMNS)]
            seconds, clusters = seconds[defined], Clusters.of_episodes(labels)
        elif clusters is None:
            clusters = Clusters.of_episodes(episodes)
        if clock == "detection_s":
            known = np.ones(len(seconds), dtype=bool)
            return cls(seconds, known, ~known, clusters)
        returned, never = (episodes[name].to_numpy(dtype=bool)[defined] for name in ("returned", "never"))
        return cls(seconds, returned, never, clusters)

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.seconds)

    @property
    def censored(self) -> int:
        """How many did not return within observation: the never and the censored."""
        return int((~self.returned).sum())

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Which are censored: neither returned nor lost when last seen."""
        return ~self.returned & ~self.never

    @cached_property
    def if_back(self) -> RecoveryTimes:
        """The most favourable completion: the censored returned when they were last seen."""
        return replace(self, returned=~self.never) if self.unknown.any() else self

    @cached_property
    def if_lost(self) -> RecoveryTimes:
        """The least favourable completion: the censored never return."""
        return replace(self, never=~self.returned) if self.unknown.any() else self

    @property
    def horizon(self) -> float:
        """The time up to which the curve is known, seconds; infinite if the remaining episodes never return."""
        return math.inf if self.never.any() else float(self.seconds.max(initial=0.0))

    def at_least(self, deadline: float) -> Floats:
        """Known and censored times as they were seen; those that never returned no less than ``deadline``."""
        return np.where(self.never, np.maximum(self.seconds, deadline), self.seconds)

    def up_to(self, deadline: float) -> Floats:
        """Times of at most ``deadline``; those that never returned count as that."""
        return np.where(self.never, deadline, np.minimum(self.seconds, deadline))

    def observed_up_to(self, deadline: float) -> float:
        """The last time, at most ``deadline``, up to which a restricted mean is known without assumptions."""
        complete = not self.unknown.any() or self.curve.at(self.horizon) >= 1 - _EPSILON
        return deadline if complete else min(deadline, self.horizon)

    @cached_property
    def curve(self) -> Curve:
        """The share returned by each time: one minus Kaplan-Meier."""
        return recovery_curve(self)


@dataclass(frozen=True)
class Curve:
    """The share returned as a step function: ``share[i]`` from ``seconds[i]`` on, 0 before the first."""

    seconds: Floats
    share: Floats

    def at(self, t: float) -> float:
        """The share returned by ``t`` seconds."""
        i = int(np.searchsorted(self.seconds, t, side="right")) - 1
        return float(self.share[i]) if i >= 0 else 0.0

    def quantile(self, level: float) -> float:
        """The first time by which the share ``level`` had returned; infinite if that was never observed."""
        reached = np.flatnonzero(self.share >= level - _EPSILON)
        return float(self.seconds[reached[0]]) if len(reached) and level <= 1 else math.inf

    def mean_up_to(self, limit: float) -> float:
        """The restricted mean: the area over the curve from 0 to ``limit``, seconds."""
        inside = self.seconds < limit
        edges = np.concatenate([[0.0], self.seconds[inside], [limit]])
        return float((np.diff(edges) * np.concatenate([[1.0], 1 - self.share[inside]])).sum())


def recovery_curve(times: RecoveryTimes) -> Curve:
    """Share returned over time: one minus the product-limit estimate of Kaplan and Meier 1958.

    Episodes that never return stay at risk beyond every observed time, which makes the curve the cumulative incidence
    of return; without censored ones it is the share of all that had returned.
    """
    if not times.unknown.any():
        seconds, counts = np.unique(times.seconds[times.returned], return_counts=True)
        return Curve(seconds, np.cumsum(counts) / max(len(times), 1))
    ended = np.sort(times.seconds[~times.never])
    first = np.flatnonzero(np.diff(ended, prepend=-math.inf) > 0)
    seconds, at_risk = ended[first], len(times) - first
    back = np.diff(np.searchsorted(np.sort(times.seconds[times.returned]), seconds, side="right"), prepend=0)
    share: Floats = 1 - np.cumprod((at_risk - back) / at_risk, dtype=np.float64)
    return Curve(seconds, share)


def recovery_band(times: RecoveryTimes, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Pointwise two-sided log-log band (Borgan and Liestoel 1990) at the curve's times, for independent drops."""
    if not len(times):
        return np.zeros(0), np.zeros(0)
    fit, seen = _fit(times)
    with warnings.catch_warnings():  # the band is undefined where the curve has reached 1, and equals the curve there
        warnings.simplefilter("ignore", RuntimeWarning)
        band = fit.cdf.confidence_interval(confidence, method="log-log")
    share = np.asarray(fit.cdf.probabilities, dtype=np.float64)
    sides = (np.asarray(side.probabilities, dtype=np.float64) for side in (band.low, band.high))
    low, high = (np.where(np.isnan(side), share, side)[seen] for side in sides)
    return low, high


def _fit(times: RecoveryTimes) -> tuple[Any, NDArray[np.bool_]]:
    """Scipy's fit, and which of its steps lie within the observation."""
    from scipy import stats  # noqa: PLC0415 - half a second, which a run without censored episodes need not wait for

    beyond = float(times.seconds.max()) + 1.0
    seconds = np.where(times.never, beyond, times.seconds)
    fit = stats.ecdf(stats.CensoredData.right_censored(seconds, ~times.returned))
    return fit, np.asarray(fit.cdf.quantiles) < beyond


def quantile_interval(times: RecoveryTimes, level: float, confidence: float, stated: float) -> Interval:
    """Bounds of a quantile: the order statistics of the exact sign test, on the effective number of drops.

    Source: Thompson 1936; for clustered samples Woodruff 1952, with the effective number of Korn and Graubard 1998. The
    upper bound is infinite if there were too few drops, or too few returns, to bound it.
    """
    value = times.curve.quantile(level)
    late = ~times.returned | (times.seconds > value)
    effective = effective_drops(late, times.clusters, confidence, stated)
    lower, upper = _levels(effective.n, level, confidence)
    return Interval(
        times.if_back.curve.quantile(lower),
        times.if_lost.curve.quantile(upper),
        "order statistics on the effective number of drops",
        effective.n,
        effective.design_effect,
        effective.correlation,
        effective.source,
    )


def _levels(n: float, level: float, confidence: float) -> tuple[float, float]:
    """The shares of ``n`` drops between whose times of return the quantile lies; the upper may exceed 1."""
    below_any = (1 - level) ** n
    low = 0.0 if below_any > 1 - confidence else float(special.bdtrik(1 - confidence, n, level))
    high = 0.0 if below_any > confidence else float(special.bdtrik(confidence, n, level))
    return low / n, (high + 1) / n
