"""Computes the summary from a run's log and its episodes. Formulas live in ``stats``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Hashable, Mapping
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import Lane, Role, Verdict
from resilience.lab.run_directory import RunStatus

from .episodes import CLOCKS
from .event_results import event_results, rows_of
from .expectations import (
    Estimate,
    Evidence,
    attempts_estimate,
    judge,
    missed,
    round_trip_estimate,
    success_estimate,
    time_estimate,
    unanswered,
)
from .failures import failure_groups
from .frames import RunHistory
from .invariants import run_checks
from .laboratory import death_is_certain, judge_laboratory, untimed_failures, withhold
from .rates import RateDesign, clopper_pearson, correlation_limit, events_needed, low_bound
from .shown_states import page_results
from .stats import NO_INTERVAL, Clusters
from .summary import (
    AttemptRow,
    Attempts,
    ExpectationResult,
    GroupSummary,
    Invariant,
    Laboratory,
    LatencySummary,
    Outcomes,
    QuantileBounds,
    RoundTrip,
    SuccessRate,
    Summary,
    WindowResult,
    finite_or_none,
)
from .survival import RecoveryTimes
from .windows import windows_frame

_NO_EVENTS = {"verdict": Verdict.NOT_APPLICABLE, "detail": "the run kept episodes, no events", "checked": 0}

CONFIDENCE = 0.95
"""Confidence of every bound for which no expectation states another."""


def summarise(log: RunHistory, episodes: pd.DataFrame) -> Summary:
    """The whole result of a run; ``episodes`` as made by :func:`reports.episodes.episodes_frame`."""
    evidence = Evidence.of(log, episodes)
    expectations = tuple(judge(expectation, evidence) for expectation in log.experiment.expectations)
    invariants = run_checks(log)
    if log.recorded_episodes is not None:
        invariants = tuple(msgspec.structs.replace(item, **_NO_EVENTS) for item in invariants)
    whole = group_summary(episodes, evidence)
    laboratory = judge_laboratory(log, episodes, expectations, evidence)
    expectations, invariants = withhold(log, laboratory, expectations, invariants)
    verdict, reasons = _overall(log, expectations, invariants, whole.success_rate.affected, laboratory)
    info = log.info
    return Summary(
        experiment=info.experiment,
        title=log.experiment.title or info.experiment,
        experiment_digest=info.experiment_digest if log.judged_by is None else log.experiment.digest,
        lane=info.lane,
        seed=info.seed,
        started_at=info.started_at,
        duration_s=info.duration_s,
        wall_s=info.wall_s,
        peak_rss_mb=info.peak_rss_mb,
        versions=info.versions,
        status=info.status,
        cause=info.cause,
        verdict=verdict,
        reasons=reasons,
        participants=_participants(log),
        confidence=CONFIDENCE,
        expectations=expectations,
        **msgspec.structs.asdict(whole),
        heartbeat_rtt_s=_round_trip(evidence),
        grace_expirations=len(evidence.grace),
        invariants=invariants,
        by_cohort=_split(episodes, "cohort", evidence),
        by_fault=_split(episodes, "kind", evidence),
        by_attempt=_by_attempt(episodes),
        windows=_windows(log, episodes),
        reproduce=_reproduce(log),
        laboratory=laboratory,
        failures=failure_groups(log, episodes),
        by_event=event_results(episodes, log.experiment.statistics.deadline),
        pages=page_results(log, episodes),
    )


def _overall(
    log: RunHistory,
    expectations: tuple[ExpectationResult, ...],
    invariants: tuple[Invariant, ...],
    affected: int,
    laboratory: Laboratory,
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict with its reasons in words, each once, in this order.

    A run that was not carried out, or whose evidence is incomplete or contradicts itself, is inconclusive. A doubt
    about the laboratory forbids every verdict but that on what no lateness can do: a server that ended, an invariant
    broken that does not depend on time. Then: fail if anything failed, inconclusive if anything is undecided, else
    pass.
    """
    if log.info.status != RunStatus.COMPLETED:
        what = "was interrupted" if log.info.status == RunStatus.INTERRUPTED else "could not be carried out"
        return Verdict.INCONCLUSIVE, (f"the run {what}: {log.info.cause or 'no cause given'}", *log.problems)
    if laboratory.failures:
        return Verdict.INCONCLUSIVE, laboratory.failures
    death = [log.info.cause] if log.info.cause else []
    broken = [f"{item.name}: {item.detail}" for item in invariants if _is_new(item, death)]
    if laboratory.doubts:
        certain = [f"{item.name}: {item.detail}" for item in untimed_failures(invariants) if _is_new(item, death)]
        certain = [*(death if death_is_certain(log) else ()), *certain]
        return (Verdict.FAIL if certain else Verdict.INCONCLUSIVE), (*certain, *laboratory.doubts)
    failed = [*death, *[missed(item) for item in expectations if item.verdict is Verdict.FAIL], *broken]
    if failed:
        return Verdict.FAIL, tuple(dict.fromkeys(failed))
    unknown = ["no episode: no fault reached any participant"] if not affected else []
    unknown += [] if expectations else ["the experiment has no expectation: nothing was asked of the run"]
    unknown += [unanswered(item) for item in expectations if item.verdict is Verdict.INCONCLUSIVE]
    unknown += [f"{item.name}: {item.detail}" for item in invariants if item.verdict is Verdict.INCONCLUSIVE]
    return (Verdict.INCONCLUSIVE, tuple(dict.fromkeys(unknown))) if unknown else (Verdict.PASS, ())


def _is_new(item: Invariant, death: list[str]) -> bool:
    """Whether a broken invariant says more than that the server failed."""
    return item.verdict is Verdict.FAIL and item.detail not in death


_SUMMARISED = [*RecoveryTimes.COLUMNS, "came_back_by", "attempts", *CLOCKS]
"""The columns that are read of affected episodes: a copy of all of them takes as long as the rest."""


def group_summary(episodes: pd.DataFrame, evidence: Evidence) -> GroupSummary:
    """Every number of a set of episodes."""
    return _summary_of(episodes.loc[episodes["affected"], _SUMMARISED], count_outcomes(episodes), evidence)


def _summary_of(affected: pd.DataFrame, outcomes: Outcomes, evidence: Evidence) -> GroupSummary:
    clusters = Clusters.of_episodes(affected)
    return GroupSummary(
        success_rate=_success(affected, outcomes, clusters, evidence),
        attempts=_attempts(affected, clusters, evidence),
        **{clock: latency(RecoveryTimes.of(affected, clock, clusters), CLOCKS[clock], evidence) for clock in CLOCKS},
    )


def _success(affected: pd.DataFrame, outcomes: Outcomes, clusters: Clusters, evidence: Evidence) -> SuccessRate:
    estimate = success_estimate(affected, CONFIDENCE, evidence, clusters)
    restored, interval = int(affected["returned"].sum()), estimate.interval
    plain_low, plain_high = clopper_pearson(restored, len(affected), CONFIDENCE)
    limit, needed = _proof(affected, clusters, estimate, evidence)
    informed = interval is not NO_INTERVAL
    return SuccessRate(
        value=finite_or_none(estimate.value),
        low=finite_or_none(interval.low),
        high=finite_or_none(interval.high),
        confidence=CONFIDENCE,
        restored=restored,
        rejoined=int((affected["returned"] & (affected["came_back_by"] == "rejoined")).sum()),
        affected=len(affected),
        outcomes=outcomes,
        plain_low=finite_or_none(plain_low),
        plain_high=finite_or_none(plain_high),
        method=interval.method,
        events=clusters.events,
        effective_n=finite_or_none(interval.effective_n),
        design_effect=interval.design_effect if informed else None,
        correlation=interval.correlation if informed else None,
        correlation_source=interval.source,
        correlation_limit=limit,
        events_needed=needed,
    )


def _proof(
    affected: pd.DataFrame, clusters: Clusters, estimate: Estimate, evidence: Evidence
) -> tuple[float | None, int | None]:
    """``correlation_limit`` and ``events_needed`` of a success rate."""
    target, value = evidence.target, estimate.value
    if target is None or affected.empty:
        return None, None
    design = RateDesign.of(clusters, estimate.interval.correlation, target.confidence)
    lost = clusters.sums(1.0 - affected["returned"].to_numpy(dtype=np.float64))
    limit = correlation_limit(design, lost, target.threshold)
    proven = low_bound(design, lost) >= target.threshold
    possible = not proven and value > target.threshold
    return limit, events_needed(design, value, target.threshold) if possible else None


def count_outcomes(episodes: pd.DataFrame) -> Outcomes:
    """The number of episodes by outcome."""
    return Outcomes(**{str(name): int(n) for name, n in episodes["outcome"].value_counts(sort=False).items()})


def _counted(codes: np.ndarray, names: pd.Index[Any]) -> Outcomes:
    """The same of outcomes by their places in ``names``."""
    return Outcomes(**{str(names[code]): int(n) for code, n in enumerate(np.bincount(codes)) if n})


def latency(times: RecoveryTimes, clock: str, evidence: Evidence) -> LatencySummary:
    """The times of one clock; ``clock`` says in words from what to what it runs."""
    mean, restricted, longest = (
        time_estimate(times, statistic, CONFIDENCE, evidence) for statistic in ("mean", "restricted_mean", "max")
    )
    quantiles = {name: time_estimate(times, name, CONFIDENCE, evidence) for name in _QUANTILES}
    return LatencySummary(
        clock=clock,
        mean=finite_or_none(mean.value),
        low=finite_or_none(mean.interval.low),
        high=finite_or_none(mean.interval.high),
        restricted_mean=finite_or_none(restricted.value),
        restricted_low=finite_or_none(restricted.interval.low),
        restricted_high=finite_or_none(restricted.interval.high),
        deadline=evidence.statistics.deadline,
        **{name: finite_or_none(found.value) for name, found in quantiles.items()},
        max=finite_or_none(longest.value),
        n=len(times),
        censored=times.censored,
        bounds={
            name: QuantileBounds(finite_or_none(found.interval.low), finite_or_none(found.interval.high))
            for name, found in quantiles.items()
        },
    )


_QUANTILES = ("p50", "p90", "p95", "p99")


def _attempts(affected: pd.DataFrame, clusters: Clusters, evidence: Evidence) -> Attempts:
    values = affected["attempts"].to_numpy(dtype=np.float64)
    mean = attempts_estimate(affected, "mean", CONFIDENCE, evidence, clusters)
    return Attempts(
        mean=finite_or_none(mean.value),
        low=finite_or_none(mean.interval.low),
        high=finite_or_none(mean.interval.high),
        p95=_quantile(values, 0.95),
        max=_quantile(values, 1.0),
        n=len(values),
    )


def _round_trip(evidence: Evidence) -> RoundTrip:
    rows = evidence.round_trips
    values = rows["value"].to_numpy(dtype=np.float64)
    mean = round_trip_estimate(rows, "mean", CONFIDENCE, evidence)
    return RoundTrip(
        mean=finite_or_none(mean.value),
        low=finite_or_none(mean.interval.low),
        high=finite_or_none(mean.interval.high),
        p50=_quantile(values, 0.5),
        p95=_quantile(values, 0.95),
        p99=_quantile(values, 0.99),
        max=_quantile(values, 1.0),
        n=len(values),
    )


def _quantile(values: np.ndarray, level: float) -> float | None:
    """The smallest value that at least the share ``level`` of the values does not exceed."""
    return finite_or_none(float(np.quantile(values, level, method="inverted_cdf"))) if len(values) else None


def _split(episodes: pd.DataFrame, column: str, evidence: Evidence) -> dict[str, GroupSummary]:
    affected = episodes.loc[episodes["affected"], [*_SUMMARISED, column]]
    mine, none = rows_of(affected.pop(column)), np.zeros(0, np.int64)
    outcomes, names = pd.factorize(episodes["outcome"])
    return {
        name: _summary_of(affected.take(mine.get(name, none)), _counted(outcomes[rows], names), evidence)
        for name, rows in sorted(rows_of(episodes[column]).items())
    }


def _by_attempt(episodes: pd.DataFrame) -> tuple[AttemptRow, ...]:
    counts = episodes.loc[episodes["affected"] & episodes["returned"], "attempts"].value_counts().sort_index()
    shares = counts.cumsum() / max(int(episodes["affected"].sum()), 1)
    return tuple(
        AttemptRow(attempts=int(number), restored=int(count), share=float(share))
        for number, count, share in zip(counts.index, counts, shares, strict=True)
    )


def _windows(log: RunHistory, episodes: pd.DataFrame) -> tuple[WindowResult, ...]:
    rows, none = rows_of(episodes["fault_id"]), np.zeros(0, np.int64)
    outcomes, names = pd.factorize(episodes["outcome"])
    return tuple(
        WindowResult(
            fault_id=row["fault_id"],
            kind=row["kind"],
            cohort=row["place"],
            planned_start=finite_or_none(row["planned_start"]),
            planned_end=finite_or_none(row["planned_end"]),
            started_at=finite_or_none(row["fault_at"]),
            ended_at=finite_or_none(row["healed_at"]),
            confirmed_at=finite_or_none(row["confirmed_at"]),
            cleared_at=finite_or_none(row["cleared_at"]),
            valid=(reason := _why_invalid(row)) is None,
            reason=reason,
            outcomes=_counted(outcomes[rows.get(str(row["fault_id"]), none)], names),
        )
        for row in windows_frame(log).to_dict("records")
    )


def _why_invalid(row: Mapping[Hashable, Any]) -> str | None:
    if pd.notna(row["invalid"]):
        return str(row["invalid"])
    missing = {
        "fault_at": "was planned but not injected",
        "confirmed_at": "no canary saw it begin",
        "healed_at": "was not undone before the run ended",
        "cleared_at": "no canary saw the link usable again",
    }
    return next((why for column, why in missing.items() if math.isnan(row[column])), None)


def _participants(log: RunHistory) -> int:
    actors = log.frame["actor"][log.frame["role"] == Role.CLIENT.value]
    return int((actors if log.recorded_episodes is None else log.recorded_episodes["participant"]).nunique())


def _reproduce(log: RunHistory) -> str:
    """The command that runs the same experiment again: the run's own resolved one, where there is a directory."""
    info = log.info
    words = ["resilience", "chaos" if info.lane is Lane.REAL else "sim", "run"]
    words.append(info.experiment if log.path is None else str(log.path / "experiment.toml"))
    words += [] if info.lane is Lane.REAL else ["--lane", info.lane.value]
    return shlex.join([*words, "--seed", str(info.seed)])
