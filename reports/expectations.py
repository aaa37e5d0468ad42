"""Judges one expectation on the episodes. Knows on which population a metric is judged, and says results in words.

The reconnection rule (SPEC section 6): an outage longer than the threshold cannot be reconnected within it, so
``reconnection_s`` is judged on outages that healed within the threshold *and* ``excess_s`` on all; the verdict is the
worse of both. Detection and downtime are shown with them: a client that notices a loss late has a short reconnection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import DetachCause, LogEventKind, Role, Verdict
from resilience.experiment.spec import CLOCKS, Expectation, Op, Statistics

from . import formatting
from .frames import RunHistory
from .participant_events import ARRIVALS
from .rates import RateDesign, events_needed, rate_interval
from .stats import NO_INTERVAL, Clusters, Floats, Interval, mean_interval, worst_verdict
from .stats import verdict as judged
from .summary import ExpectationResult, SecondaryEstimate, finite_or_none
from .survival import RecoveryTimes, quantile_interval


@dataclass(frozen=True)
class Estimate:
    """A metric's value, its bounds, its sample size, a note for the reader, and the events among its values."""

    value: float
    interval: Interval
    n: int
    note: str | None = None
    clusters: Clusters | None = None

    @property
    def bounded(self) -> tuple[float, float, float]:
        """The value and its bounds, as :func:`reports.stats.difference` takes them."""
        return self.value, self.interval.low, self.interval.high


NOTHING = Estimate(math.nan, NO_INTERVAL, 0, "nothing was measured")


_JUDGED = frozenset((*RecoveryTimes.COLUMNS, "fault_at", "healed_at", "heal_s", "attempts", *CLOCKS))


@dataclass(frozen=True)
class Evidence:
    """The data on which expectations are judged. ``round_trips``: session_id, cohort, value (s).

    ``target``: the first expectation about the success rate that asks for at least so much.
    """

    episodes: pd.DataFrame
    round_trips: pd.DataFrame
    grace: pd.DataFrame
    statistics: Statistics
    target: Expectation | None = None

    @classmethod
    def of(cls, log: RunHistory, episodes: pd.DataFrame) -> Evidence:
        """Collect the data from a run, up to its end."""
        cohorts = _cohort_of_session(log)
        detached = _of_sessions(log, LogEventKind.SESSION_DETACHED, cohorts)
        return cls(
            episodes,
            _of_sessions(log, LogEventKind.HEARTBEAT_ACKED, cohorts).dropna(subset=["value"]),
            detached[detached["cause"] == DetachCause.GRACE],
            log.experiment.statistics,
            next((item for item in log.experiment.expectations if _asks_for_a_rate(item)), None),
        )

    def affected(self, cohort: str | None, fault: str | None) -> pd.DataFrame:
        """The affected episodes of this cohort and fault."""
        return self.episodes.loc[self._are_affected(cohort, fault)]

    def affected_columns(self, cohort: str | None, fault: str | None) -> pd.DataFrame:
        """The same with the columns alone that an expectation can be judged by: copies of all take long."""
        return self.episodes.loc[self._are_affected(cohort, fault), [name for name in self.episodes if name in _JUDGED]]

    def count_affected(self, cohort: str | None) -> int:
        """How many episodes of this cohort are affected."""
        return int(self._are_affected(cohort, None).sum())

    def _are_affected(self, cohort: str | None, fault: str | None) -> pd.Series:
        found: pd.Series = self.episodes["affected"]
        found = found if cohort is None else found & (self.episodes["cohort"] == cohort)
        return found if fault is None else found & (self.episodes["kind"] == fault)


def _cohort_of_session(log: RunHistory) -> pd.Series:
    """By session, the cohort of the first client that joined or restored it."""
    owners = log.rows(*ARRIVALS, role=Role.CLIENT).dropna(subset=["session_id", "cohort"])
    return owners.drop_duplicates("session_id").set_index("session_id")["cohort"]


def _of_sessions(log: RunHistory, kind: LogEventKind, cohorts: pd.Series) -> pd.DataFrame:
    """``t``, ``session_id``, ``cause``, ``value`` and ``cohort`` of the events of one kind, up to the run's end."""
    found = log.rows(kind)[["t", "session_id", "cause", "value"]]
    found = found[found["t"] <= log.end]
    return found.assign(cohort=cohorts.reindex(found["session_id"]).array)


def _asks_for_a_rate(expectation: Expectation) -> bool:
    return expectation.metric == "success_rate" and expectation.op in (Op.AT_LEAST, Op.ABOVE)


def judge(expectation: Expectation, evidence: Evidence) -> ExpectationResult:
    """The expectation's value, bounds and verdict. Without data it never passes."""
    name, _, statistic = expectation.metric.partition(".")
    rows = evidence.affected_columns(expectation.cohort, expectation.fault)
    population, beside = "all affected episodes", tuple[SecondaryEstimate, ...]()
    if name == "reconnection_s":
        limit = expectation.threshold
        beside = _beside_reconnection(rows, statistic, expectation, evidence)
        rows = rows[_time_to_heal(rows) <= limit]
        population = f"affected episodes whose outage healed within {limit:g} s"
    elif name in ("heartbeat_rtt_s", "grace_expirations"):
        population = "all heartbeats answered" if name == "heartbeat_rtt_s" else "the whole run"
    estimate = estimate_metric(expectation, rows, evidence)
    interval = estimate.interval
    alone = judged(expectation.op, expectation.threshold, interval.low, interval.high)
    clusters = estimate.clusters
    return ExpectationResult(
        metric=expectation.metric,
        op=expectation.op.value,
        threshold=expectation.threshold,
        value=finite_or_none(estimate.value),
        low=finite_or_none(interval.low),
        high=finite_or_none(interval.high),
        verdict=worst_verdict(alone, *(item.verdict for item in beside if item.verdict is not None)),
        confidence=expectation.confidence,
        cohort=expectation.cohort,
        fault=expectation.fault,
        population=population,
        n=estimate.n,
        method=interval.method,
        note=estimate.note,
        beside=beside,
        verdict_alone=alone,
        events=clusters.events if clusters else None,
        events_needed=_events_needed(expectation, estimate) if alone is Verdict.INCONCLUSIVE else None,
    )


def _time_to_heal(rows: pd.DataFrame) -> pd.Series:
    """Seconds from the fault to the last heal before the return; NaN where the link never healed."""
    return rows["heal_s"] if "heal_s" in rows else rows["healed_at"] - rows["fault_at"]


def _beside_reconnection(
    rows: pd.DataFrame, statistic: str, expectation: Expectation, evidence: Evidence
) -> tuple[SecondaryEstimate, ...]:
    """The excess, which is judged, and detection and downtime, which are not."""
    populations = {
        "excess_s": "all affected episodes, counted from the heal",
        "detection_s": "all affected episodes",
        "downtime_s": "all affected episodes",
    }
    found = []
    for clock, population in populations.items():
        estimate = clock_estimate(rows, clock, statistic, expectation.confidence, evidence)
        low, high = estimate.interval.low, estimate.interval.high
        found.append(
            SecondaryEstimate(
                metric=f"{clock}.{statistic}",
                population=population,
                value=finite_or_none(estimate.value),
                low=finite_or_none(low),
                high=finite_or_none(high),
                n=estimate.n,
                verdict=judged(expectation.op, expectation.threshold, low, high) if clock == "excess_s" else None,
            )
        )
    return tuple(found)


def _events_needed(expectation: Expectation, estimate: Estimate) -> int | None:
    """With about how many events like these the expectation would be decided; None if the lack is another one."""
    interval, threshold, clusters = estimate.interval, expectation.threshold, estimate.clusters
    if clusters is None or estimate.note or not math.isfinite(estimate.value) or estimate.value == threshold:
        return None
    if expectation.metric == "success_rate":
        design = RateDesign.of(clusters, interval.correlation, expectation.confidence)
        return events_needed(design, estimate.value, threshold)
    toward = interval.high if estimate.value < threshold else interval.low
    ratio = abs(toward - estimate.value) / abs(threshold - estimate.value)
    return math.ceil(clusters.events * ratio**2) if math.isfinite(ratio) else None


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
        return attempts_estimate(rows, statistic, confidence, evidence)
    if expectation.fault is not None:
        return Estimate(math.nan, NO_INTERVAL, 0, "this metric belongs to the run, not to a kind of fault")
    if name == "heartbeat_rtt_s":
        return round_trip_estimate(
            _of_cohort(evidence.round_trips, expectation.cohort), statistic, confidence, evidence
        )
    count = float(len(_of_cohort(evidence.grace, expectation.cohort)))
    seen = evidence.count_affected(expectation.cohort)
    return Estimate(count, Interval(count, count, "exact"), seen, None) if seen else NOTHING


def attempts_estimate(
    rows: pd.DataFrame, statistic: str, confidence: float, evidence: Evidence, clusters: Clusters | None = None
) -> Estimate:
    """Dials per affected episode; those that the run's end cut off might have dialled any number of times more.

    ``clusters``: those of the rows, if they are known already.
    """
    values, clusters = rows["attempts"].to_numpy(dtype=np.float64), clusters or Clusters.of_episodes(rows)
    estimate = plain_estimate(values, statistic, clusters, confidence, evidence)
    cut_off = int((~rows["returned"] & ~rows["never"]).sum())
    if not cut_off:
        return estimate
    note = f"{cut_off} of {len(rows)} were still dialling, or about to, when the run ended"
    return replace(estimate, interval=_unbounded(estimate.interval), note=note)


def _of_cohort(rows: pd.DataFrame, cohort: str | None) -> pd.DataFrame:
    return rows if cohort is None else rows[rows["cohort"] == cohort]


def success_estimate(
    rows: pd.DataFrame, confidence: float, evidence: Evidence, clusters: Clusters | None = None
) -> Estimate:
    """Restored / affected, over affected rows of an episode frame.

    The censored count as lost, except in the upper bound. ``clusters``: those of the rows, if they are known already.
    """
    if rows.empty:
        return NOTHING
    back, possible = rows["returned"].to_numpy(dtype=bool), ~rows["never"].to_numpy(dtype=bool)
    clusters = clusters or Clusters.of_episodes(rows)
    interval = rate_interval(back, clusters, confidence, evidence.statistics.correlation, possible)
    censored = int((possible & ~back).sum())
    note = f"{censored} of {len(rows)} were not back when the run ended: a longer run would tell" if censored else None
    return Estimate(float(back.mean()), interval, len(rows), note, clusters)


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
    return Estimate(times.curve.quantile(level), interval, len(times), clusters=times.clusters)


def _mean_time(times: RecoveryTimes, statistic: str, confidence: float, evidence: Evidence) -> Estimate:
    deadline, stated = evidence.statistics.deadline, evidence.statistics.correlation
    if statistic == "restricted_mean":
        return _restricted_mean(times, deadline, confidence, stated)
    values = times.at_least(deadline)
    interval = mean_interval(values, times.clusters, confidence, stated)
    if not times.censored:
        return Estimate(float(values.mean()), interval, len(times), clusters=times.clusters)
    note = f"{times.censored} of {len(times)} were not back: the mean has no upper bound; restricted_mean has one"
    return Estimate(float(values.mean()), _unbounded(interval), len(times), note, times.clusters)


def _restricted_mean(times: RecoveryTimes, deadline: float, confidence: float, stated: float) -> Estimate:
    """Censored episodes count as back when last seen in the lower bound, as lost in the upper one."""
    shortest = mean_interval(times.if_back.up_to(deadline), times.clusters, confidence, stated)
    until = times.observed_up_to(deadline)
    value = times.curve.mean_up_to(until)
    if not times.unknown.any():
        capped = replace(shortest, high=min(shortest.high, deadline))
        return Estimate(value, capped, len(times), clusters=times.clusters)
    longest = mean_interval(times.if_lost.up_to(deadline), times.clusters, confidence, stated)
    interval = replace(shortest, high=min(longest.high, deadline))
    note = f"{int(times.unknown.sum())} of {len(times)} were not back when the run ended: "
    note += "the lower bound takes them as back then, the upper one as lost"
    note += f"; the value is up to {until:.3g} s, the last time observed" if until < deadline else ""
    return Estimate(value, interval, len(times), note, times.clusters)


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
        interval = mean_interval(values, clusters, confidence, stated)
        return Estimate(float(values.mean()), interval, n, clusters=clusters)
    if statistic == "max":
        return Estimate(float(values.max()), Interval(float(values.max()), float(values.max()), "exact"), n)
    level = float(statistic.removeprefix("p")) / 100
    known_all = np.ones(n, dtype=bool)
    times = RecoveryTimes(values, known_all, ~known_all, clusters)
    return Estimate(times.curve.quantile(level), quantile_interval(times, level, confidence, stated), n)


# --- results in words -------------------------------------------------------------------------------------------------


def missed(result: ExpectationResult) -> str:
    """Why an expectation failed: value, the bound that shows it, and the target, of each metric that missed it."""
    parts = [_against_target(result, result)] if result.verdict_alone is Verdict.FAIL else []
    parts += [_against_target(item, result) for item in result.beside if item.verdict is Verdict.FAIL]
    return "; ".join(parts)


def unanswered(result: ExpectationResult) -> str:
    """Why an expectation is inconclusive, and what would decide it."""
    parts = [_undecided(result)] if result.verdict_alone is Verdict.INCONCLUSIVE else []
    parts += [_against_target(item, result) for item in result.beside if item.verdict is Verdict.INCONCLUSIVE]
    return "; ".join(parts)


def _undecided(result: ExpectationResult) -> str:
    if result.n == 0:
        return f"{formatting.scope(result)}: {result.note or 'nothing was measured'}"
    said = _against_target(result, result)
    if result.note or result.events is None:
        return f"{said}; {result.note}" if result.note else said
    there = formatting.pluralise(result.events, "fault event")
    if result.events_needed is None:
        return f"{said}: more fault events than the {there} of this run may decide"
    needed = max(result.events_needed, result.events + 1)
    return f"{said}: {there} cannot decide this, about {needed:,} like these would"


def _against_target(item: ExpectationResult | SecondaryEstimate, result: ExpectationResult) -> str:
    """``success_rate 93.1 %, at most 94.2 % with 95 % confidence, target ≥ 95 %``."""
    name = formatting.scope(msgspec.structs.replace(result, metric=item.metric))
    value = formatting.metric_value(item.metric, item.value) if item.value is not None else "not reached"
    return ", ".join([f"{name} {value}", *_bounds_in_words(item, result), f"target {formatting.target(result)}"])


def _bounds_in_words(item: ExpectationResult | SecondaryEstimate, result: ExpectationResult) -> list[str]:
    """The bound that shows a miss, or both; nothing where there is none."""
    if item.low == item.high:
        return []
    failed = (result.verdict_alone if item is result else item.verdict) is Verdict.FAIL
    above = result.op in (Op.AT_LEAST.value, Op.ABOVE.value)
    bounds = {"at least": None if failed and above else item.low, "at most": item.high if above or not failed else None}
    words = [f"{side} {formatting.metric_value(item.metric, at)}" for side, at in bounds.items() if at is not None]
    return [f"{' and '.join(words)} with {formatting.percent(result.confidence)} confidence"] if words else []
