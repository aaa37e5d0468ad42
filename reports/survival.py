"""Time to recovery when some clients did not recover. Pure functions on arrays; every formula names its source.

Three kinds of episode enter: *returned* at a known time; *never* returned (gave up, new identity, wrong state), with an
infinite time; *censored*, with only a lower bound. No episode is left out: a latency over survivors alone rewards
giving up.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .stats import Clusters, Floats, Interval, correlation_of, design_effect

_EPSILON = 1e-12
"""Allowed rounding error of a share of drops."""


@dataclass(frozen=True)
class RecoveryTimes:
    """Durations of one clock, seconds. ``returned``: known; ``never``: infinite; else a lower bound."""

    seconds: Floats
    returned: NDArray[np.bool_]
    never: NDArray[np.bool_]
    clusters: Clusters

    @classmethod
    def of(cls, episodes: pd.DataFrame, clock: str) -> RecoveryTimes:
        """From the affected rows of an episode frame that have this clock. Detection is known where there is one."""
        episodes = episodes[episodes[clock].notna()]
        clusters = Clusters.of(episodes["event"], episodes["stratum"])
        seconds = episodes[clock].to_numpy(dtype=np.float64)
        if clock == "detection_s":
            known = np.ones(len(seconds), dtype=bool)
            return cls(seconds, known, ~known, clusters)
        return cls(seconds, episodes["returned"].to_numpy(dtype=bool), episodes["never"].to_numpy(dtype=bool), clusters)

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.seconds)

    @property
    def censored(self) -> int:
        """How many did not return within observation: the never and the censored."""
        return int((~self.returned).sum())

    @property
    def horizon(self) -> float:
        """The time up to which the curve is known, seconds; infinite if the remaining episodes never return."""
        return math.inf if self.never.any() else float(self.seconds.max(initial=0.0))

    def at_least(self, deadline: float) -> Floats:
        """Known times unchanged; the others as observed, and no less than ``deadline``."""
        return np.where(self.returned, self.seconds, np.maximum(self.seconds, deadline))

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


def recovery_curve(times: RecoveryTimes) -> Curve:
    """Share returned over time, by Kaplan and Meier 1958 through ``scipy.stats.ecdf``.

    Episodes that never return stay at risk beyond every observed time, which makes the curve the cumulative incidence
    of return.
    """
    if not len(times):
        return Curve(np.zeros(0), np.zeros(0))
    fit, seen = _fit(times)
    share = np.asarray(fit.cdf.probabilities, dtype=np.float64)
    return Curve(np.asarray(fit.cdf.quantiles, dtype=np.float64)[seen], share[seen])


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
    beyond = float(times.seconds.max()) + 1.0
    seconds = np.where(times.never, beyond, times.seconds)
    fit = stats.ecdf(stats.CensoredData.right_censored(seconds, ~times.returned))
    return fit, np.asarray(fit.cdf.quantiles) < beyond


def restricted_values(times: RecoveryTimes, deadline: float) -> Floats:
    """One value per episode whose mean is the restricted mean, ``∫ S(t) dt`` from 0 to ``deadline``, seconds.

    Without censoring before the deadline these are ``min(time, deadline)``. With it they are the
    infinitesimal-jackknife pseudo-values of the Kaplan-Meier restricted mean (Andersen, Hansen and Klein 2004; Jaeckel
    1972), so that the same cluster-aware interval serves both.
    """
    unknown = ~times.returned & ~times.never & (times.seconds < deadline)
    known = np.where(times.never, deadline, np.minimum(times.seconds, deadline))
    return _pseudo_values(times, deadline) if unknown.any() else known


def _pseudo_values(times: RecoveryTimes, deadline: float) -> Floats:
    seconds = np.where(times.never, np.inf, times.seconds)
    n = len(seconds)
    grid = np.unique(seconds[times.returned & (seconds <= deadline)])
    at_risk = n - np.searchsorted(np.sort(seconds), grid, side="left").astype(np.float64)
    back = np.searchsorted(np.sort(seconds[times.returned]), grid, side="right").astype(np.float64)
    back = np.diff(back, prepend=0.0)
    survival = np.cumprod(1 - back / at_risk)
    widths = np.diff(np.append(grid, deadline))
    ahead = np.cumsum((survival * widths)[::-1])[::-1]  # the part of the restricted mean after each time of return
    first = float(grid[0]) if len(grid) else deadline
    mean = first + float(ahead[0]) if len(grid) else deadline
    left = np.maximum(at_risk - back, 1.0)
    own = np.append(ahead * n / left, 0.0)
    drift = np.concatenate([[0.0], np.cumsum(ahead * n * back / (left * at_risk))])
    passed = np.searchsorted(grid, np.minimum(seconds, deadline), side="right")
    returns = times.returned & (seconds <= deadline)
    jump = np.where(returns, own[np.searchsorted(grid, np.where(returns, seconds, 0.0))], 0.0)
    return np.asarray(mean - jump + drift[passed], dtype=np.float64)


def quantile_interval(times: RecoveryTimes, level: float, confidence: float, stated: float) -> Interval:
    """Bounds of a quantile: where the curve crosses the score test's bounds for ``level``, on the effective number.

    Source: Woodruff 1952, with the null variance as in Wilson's test: ``level ± z sqrt(level (1 - level) /
    effective_n)``. The upper bound is infinite if there were too few drops, or too few returns, to bound it.
    """
    value = times.curve.quantile(level)
    late = (~times.returned | (times.seconds > value)).astype(np.float64)
    correlation, source = correlation_of(late, times.clusters, stated)
    effect = design_effect(correlation, times.clusters.sizes)
    effective = len(times) / effect
    half = float(stats.norm.ppf(confidence)) * math.sqrt(level * (1 - level) / effective)
    low = min(times.curve.quantile(max(level - half, 0.0)), times.horizon)
    high = times.curve.quantile(level + half)
    return Interval(low, high, "Woodruff with design effect", effective, effect, correlation, source)
