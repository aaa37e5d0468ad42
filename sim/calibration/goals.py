"""The goals of a validation, and how a figure is judged by one. Pure.

``success`` and the three distances are judged for each experiment, by the figure itself; coverage and both equivalence
tests for all runs together. Too few data never pass and never fail.
"""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from resilience.eventlog.vocabulary import Verdict

MIN_EPISODES = 30
"""Fewer affected episodes than this say too little about a distribution."""

MIN_INTERVALS = 10
"""Of fewer prediction intervals than this no share of 90 % can be judged."""


class GoalKind(StrEnum):
    """What is asked of the model."""

    SUCCESS = "success"
    """The success rates differ by at most so many points."""
    DISTANCE = "distance"
    """Wasserstein-1 of the excess is at most so large a part of its mean."""
    TAIL = "tail"
    """The ratio of predicted to measured p95 of the excess is within these bounds."""
    COVERAGE = "coverage"
    """At least this share of the prediction intervals holds what was measured."""
    EQUIVALENT_SUCCESS = "equivalent_success"
    """Two one-sided tests: the paired difference of success lies within the margin."""
    EQUIVALENT_EXCESS = "equivalent_excess"
    """Two one-sided tests: the paired difference of the mean excess lies within the margin."""


class Goals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits. ``success``: points as a share; ``distance`` and ``equivalent_excess``: parts of the measured mean.

    ``confidence``: of each of the one-sided bounds of an equivalence test.
    """

    success: float = 0.01
    distance: float = 0.10
    tail_low: float = 0.9
    tail_high: float = 1.1
    coverage: float = 0.9
    equivalent_success: float = 0.01
    equivalent_excess: float = 0.10
    confidence: float = 0.95


class GoalResult(msgspec.Struct, frozen=True, kw_only=True):
    """One goal, judged. ``scope``: an experiment, or "all runs". ``gap``: how far ``value`` is from ideal, in its unit.

    ``low`` and ``high``: bounds of ``value`` where the goal is a test of bounds. ``accepted``: the cause of the
    accepted gap that covers a miss; the verdict is then a pass.
    """

    goal: GoalKind
    scope: str
    verdict: Verdict
    value: float | None
    gap: float | None
    limit: str
    n: int
    low: float | None = None
    high: float | None = None
    accepted: str | None = None
    detail: str = ""


def by_limit(gap: float, limit: float, n: int, least: int) -> Verdict:
    """Whether a gap is within its limit, where there are data enough to say so."""
    if n < least or not math.isfinite(gap):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if gap <= limit else Verdict.FAIL


def by_bounds(low: float, high: float, margin: float) -> Verdict:
    """Two one-sided tests: both bounds within the margin pass, an interval wholly beyond it fails."""
    if -margin < low and high < margin:
        return Verdict.PASS
    return Verdict.FAIL if low > margin or high < -margin else Verdict.INCONCLUSIVE
