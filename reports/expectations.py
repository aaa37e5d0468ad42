"""Judges one expectation on the episodes. Knows on which population a metric is judged, and names it in words.

The reconnection rule (SPEC section 6): an outage longer than the threshold cannot be reconnected within it, so
``reconnection_s`` is judged on outages that healed within the threshold, with ``excess_s`` over all outages as a
secondary estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.experiment.spec import CLOCKS, Expectation, Statistics

from .frames import RunHistory
from .stats import NO_INTERVAL, Clusters, Floats, Interval, mean_interval, rate_interval
from .stats import verdict as judged
from .summary import ExpectationResult, SecondaryEstimate, finite_or_none
from .survival import RecoveryTimes, quantile_interval, restricted_values


@dataclass(frozen=True)
class Estimate:
    """A metric's value, its bounds, its sample size, and a note for the reader."""

    value: float
    interval: Interval
    n: int
    note: str | None = None


NOTHING = Estimate(math.nan, NO_INTERVAL, 0, "nothing was measured")


@dataclass(frozen=True)
class Evidence:
    """The data on which expectations are judged. ``round_trips``: session_id, cohort, value (s)."""

    episodes: pd.DataFrame
    round_trips: pd.DataFrame
    grace: pd.DataFrame
    statistics: Statistics
    seed: int

    @classmethod
    def of(cls, log: RunHistory, episodes: pd.DataFrame) -> Evidence:
        """Collect the data from a run, up to its end."""
        frame = log.frame[log.frame["t"] <= log.end]
        owners = frame[frame["role"] == "client"].dropna(subset=["session_id", "cohort"]).drop_duplicates("session_id")
        cohorts = pd.Series(owners["cohort"].astype(str).to_numpy(), index=owners["session_id"].astype(str).to_numpy())

        def rows(kind: LogEventKind) -> pd.DataFrame:
            found = frame.loc[frame["kind"] == kind.value, ["t", "session_id", "cause", "value"]]
            sessions = found["session_id"].astype(str)
            return found.assign(session_id=sessions, cohort=cohorts.reindex(sessions).to_numpy())

        detached = rows(LogEventKind.SESSION_DETACHED)
        round_trips = rows(LogEventKind.HEARTBEAT_ACKED).dropna(subset=["value"])
        return cls(
            episodes,
            round_trips,
            detached[detached["cause"] == DetachCause.GRACE],
            log.experiment.statistics,
            log.info.seed,
        )

    def affected(self, cohort: str | None, fault: str | None) -> pd.DataFrame:
        """The affected episodes of this cohort and fault."""
        rows = self.episodes[self.episodes["affected"]]
        rows = rows if cohort is None else rows[rows["cohort"] == cohort]
        return rows if fault is None else rows[rows["kind"] == fault]


def judge(expectation: Expectation, evidence: Evidence) -> ExpectationResult:
    """The expectation's value, bounds and verdict. Without data it never passes."""
    name, _, statistic = expectation.metric.partition(".")
    rows = evidence.affected(expectation.cohort, expectation.fault)
    population, beside = "all affected episodes", tuple[SecondaryEstimate, ...]()
    if name == "reconnection_s":
        limit = expectation.threshold
        beside = (_secondary_excess(rows, statistic, expectation, evidence),)
        rows = rows[rows["healed_at"] - rows["fault_at"] <= limit]
        population = f"affected episodes whose outage healed within {limit:g} s"
    elif name in ("heartbeat_rtt_s", "grace_expirations"):
        population = "all heartbeats answered" if name == "heartbeat_rtt_s" else "the whole run"
    estimate = estimate_metric(expectation, rows, evidence)
    interval = estimate.interval
    return ExpectationResult(
        metric=expectation.metric,
        op=expectation.op.value,
        threshold=expectation.threshold,
        value=finite_or_none(estimate.value),
        low=finite_or_none(interval.low),
        high=finite_or_none(interval.high),
        verdict=judged(expectation.op, expectation.threshold, interval.low, interval.high),
        confidence=expectation.confidence,
        cohort=expectation.cohort,
        fault=expectation.fault,
        population=population,
        n=estimate.n,
        method=interval.method,
        note=estimate.note,
        beside=beside,
    )


def _secondary_excess(
    rows: pd.DataFrame, statistic: str, expectation: Expectation, evidence: Evidence
) -> SecondaryEstimate:
    estimate = clock_estimate(rows, "excess_s", statistic, expectation.confidence, evidence)
    return SecondaryEstimate(
        metric=f"excess_s.{statistic}",
        population="all affected episodes, counted from the heal",
        value=finite_or_none(estimate.value),
        low=finite_or_none(estimate.interval.low),
        high=finite_or_none(estimate.interval.high),
        n=estimate.n,
    )


def estimate_metric(expectation: Expectation, rows: pd.DataFrame, evidence: Evidence) -> Estimate:
    """The expectation's metric over affected rows of an episode frame.

    A metric of the whole run is computed over the run.
    """
    name, _, statistic = expectation.metric.partition(".")
    confidence = expectation.confidence
    if name in CLOCKS:
        return clock_estimate(rows, name, statistic, confidence, evidence)
    if name == "success_rate":
        return success_estimate(rows, confidence, evidence)
    if name == "attempts":
        values = rows["attempts"].to_numpy(dtype=np.float64)
        clusters = Clusters.of(rows["event"], rows["stratum"])
        return plain_estimate(values, statistic, clusters, confidence, evidence)
    if expectation.fault is not None:
        return Estimate(math.nan, NO_INTERVAL, 0, "this metric belongs to the run, not to a kind of fault")
    if name == "heartbeat_rtt_s":
        return round_trip_estimate(
            _of_cohort(evidence.round_trips, expectation.cohort), statistic, confidence, evidence
        )
    count = float(len(_of_cohort(evidence.grace, expectation.cohort)))
    seen = len(evidence.affected(expectation.cohort, None))
    return Estimate(count, Interval(count, count, "exact"), seen, None) if seen else NOTHING


def _of_cohort(rows: pd.DataFrame, cohort: str | None) -> pd.DataFrame:
    return rows if cohort is None else rows[rows["cohort"] == cohort]


def success_estimate(rows: pd.DataFrame, confidence: float, evidence: Evidence) -> Estimate:
    """Restored / affected, over affected rows of an episode frame."""
    if rows.empty:
        return NOTHING
    back = rows["returned"].to_numpy(dtype=bool)
    clusters = Clusters.of(rows["event"], rows["stratum"])
    interval = rate_interval(back, clusters, confidence, evidence.statistics.correlation, evidence.seed)
    return Estimate(float(back.mean()), interval, len(rows))


def clock_estimate(rows: pd.DataFrame, clock: str, statistic: str, confidence: float, evidence: Evidence) -> Estimate:
    """One statistic of one clock over affected rows of an episode frame, seconds; infinite if it was not reached."""
    return time_estimate(RecoveryTimes.of(rows, clock), statistic, confidence, evidence)


def time_estimate(times: RecoveryTimes, statistic: str, confidence: float, evidence: Evidence) -> Estimate:
    """Like :func:`clock_estimate`, for durations that were already selected."""
    if not len(times):
        return NOTHING
    if statistic in ("mean", "restricted_mean"):
        return _mean_time(times, statistic, confidence, evidence)
    if statistic == "max":
        return _longest(times)
    level = float(statistic.removeprefix("p")) / 100
    interval = quantile_interval(times, level, confidence, evidence.statistics.correlation)
    return Estimate(times.curve.quantile(level), interval, len(times))


def _mean_time(times: RecoveryTimes, statistic: str, confidence: float, evidence: Evidence) -> Estimate:
    deadline, stated = evidence.statistics.deadline, evidence.statistics.correlation
    restricted = statistic == "restricted_mean"
    values = restricted_values(times, deadline) if restricted else times.at_least(deadline)
    interval = mean_interval(values, times.clusters, confidence, stated, evidence.seed)
    if restricted or not times.censored:
        return Estimate(float(values.mean()), interval, len(times))
    note = f"{times.censored} of {len(times)} were not back: the mean has no upper bound; restricted_mean has one"
    return Estimate(float(values.mean()), _unbounded(interval), len(times), note)


def _longest(times: RecoveryTimes) -> Estimate:
    value = float(times.seconds[times.returned].max(initial=0.0)) if times.returned.any() else math.nan
    interval = Interval(value, value, "exact")
    if not times.censored:
        return Estimate(value, interval, len(times))
    return Estimate(value, _unbounded(interval), len(times), f"{times.censored} of {len(times)} were not back")


def _unbounded(interval: Interval) -> Interval:
    low = interval.low
    return NO_INTERVAL if math.isnan(low) else Interval(low, math.inf, f"{interval.method}, lower bound")


def round_trip_estimate(rows: pd.DataFrame, statistic: str, confidence: float, evidence: Evidence) -> Estimate:
    """A statistic of heartbeat round trips, seconds; the sessions are the clusters."""
    values = rows["value"].to_numpy(dtype=np.float64)
    return plain_estimate(values, statistic, Clusters.single(rows["session_id"]), confidence, evidence)


def plain_estimate(
    values: Floats, statistic: str, clusters: Clusters, confidence: float, evidence: Evidence
) -> Estimate:
    """A statistic of values that are all known. ``max`` is of this run only and has no interval."""
    n, stated = len(values), evidence.statistics.correlation
    if not n:
        return NOTHING
    if statistic == "mean":
        return Estimate(float(values.mean()), mean_interval(values, clusters, confidence, stated, evidence.seed), n)
    if statistic == "max":
        return Estimate(float(values.max()), Interval(float(values.max()), float(values.max()), "exact"), n)
    level = float(statistic.removeprefix("p")) / 100
    known_all = np.ones(n, dtype=bool)
    times = RecoveryTimes(values, known_all, ~known_all, clusters)
    return Estimate(times.curve.quantile(level), quantile_interval(times, level, confidence, stated), n)


def unanswered(result: ExpectationResult) -> str:
    """Why an expectation is inconclusive, in words."""
    if result.n == 0:
        return result.note or "nothing was measured"
    return result.note or "the interval includes the threshold: more drops would decide"
