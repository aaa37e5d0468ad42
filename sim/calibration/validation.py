"""Compares runs with their predictions and judges every goal. Console, JSON and HTML are made of its one result."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from reports.summary import finite_or_none
from resilience.errors import ExitCode
from resilience.eventlog.vocabulary import Verdict

from .accepted_gaps import AcceptedGap, accepted
from .agreement import (
    METRICS,
    TAIL,
    by_experiment,
    distance,
    p95,
    paired_difference,
    pooled,
    prediction_interval,
    quantile_pairs,
    run_metrics,
    values_of,
)
from .calibration_file import CalibrationRun, Machine, Repeat
from .goals import MIN_EPISODES, MIN_INTERVALS, GoalKind, GoalResult, Goals, by_bounds, by_limit
from .measured_run import MeasuredRun

SCHEMA_VERSION = 1
ALL = "all runs"


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of one run, and the interval that was predicted of it; null where it has no value."""

    run: str
    metric: str
    measured: float | None
    low: float | None
    high: float | None
    covers: bool | None


class ExperimentLine(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment, measured and predicted by paired replay; seconds.

    ``distance``: Wasserstein-1 of the excess. ``noise``: the mean of that between two replications of the model, which
    no model can be expected to beat by far. ``repeat``: the mean of that between two fitted runs of the experiment, if
    there were two: what the machine itself repeats no better. ``measured_quantiles`` and ``predicted_quantiles``: from
    1 to 99 %.
    """

    experiment: str
    runs: int
    episodes: int
    predicted_episodes: int
    success: tuple[float | None, float | None]
    mean: tuple[float | None, float | None]
    tail: tuple[float | None, float | None]
    distance: float | None
    noise: float | None
    repeat: float | None
    measured_quantiles: tuple[float, ...]
    predicted_quantiles: tuple[float, ...]


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """A run that could not be replayed, and why."""

    run: str
    reason: str


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """``validation.json``. ``confidence``: of each prediction interval; ``replications`` of each run."""

    schema_version: int = SCHEMA_VERSION
    calibration: str
    calibrated_at: str
    machine: Machine
    runs: tuple[CalibrationRun, ...]
    goals: Goals
    results: tuple[GoalResult, ...]
    lines: tuple[ExperimentLine, ...]
    predictions: tuple[Prediction, ...]
    excluded: tuple[Excluded, ...]
    gaps: tuple[AcceptedGap, ...]
    replications: int
    confidence: float

    @property
    def verdict(self) -> Verdict:
        """Fail if a goal is missed, inconclusive if one is not decided or there is none, else pass."""
        found = [result.verdict for result in self.results]
        if Verdict.FAIL in found:
            return Verdict.FAIL
        return Verdict.PASS if found and all(each is Verdict.PASS for each in found) else Verdict.INCONCLUSIVE

    @property
    def exit_code(self) -> ExitCode:
        """0 pass, 1 a goal is missed, 3 not decided."""
        codes = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL}
        return codes.get(self.verdict, ExitCode.INCONCLUSIVE)

    @property
    def headline(self) -> str:
        """What is true, in one sentence."""
        of = {
            verdict: [each for each in self.results if each.verdict is verdict]
            for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
        }
        if of[Verdict.FAIL]:
            missed = ", ".join(f"{each.goal.value} ({each.scope})" for each in of[Verdict.FAIL])
            return f"The model misses {len(of[Verdict.FAIL])} of {len(self.results)} goals: {missed}"
        if not self.results:
            return f"Not decided: the model lane can repeat none of {len(self.runs)} runs"
        if of[Verdict.INCONCLUSIVE]:
            return f"Not decided: {len(of[Verdict.INCONCLUSIVE])} of {len(self.results)} goals have too little data"
        taken = sum(each.accepted is not None for each in self.results)
        note = f", {taken} of them by accepted gaps" if taken else ""
        return (
            f"The model agrees with {len(self.runs) - len(self.excluded)} runs: {len(self.results)} goals are met{note}"
        )


def judge(runs: Sequence[MeasuredRun], goals: Goals, gaps: Sequence[AcceptedGap]) -> tuple[GoalResult, ...]:
    """Every goal: of each experiment, then of all runs together."""
    results = [result for name, group in by_experiment(runs).items() for result in _of_experiment(name, group, goals)]
    return (*(_with_accepted_gaps(result, gaps) for result in results), *_of_all(runs, goals))


def _of_experiment(name: str, runs: Sequence[MeasuredRun], goals: Goals) -> list[GoalResult]:
    measured, predicted = _both(runs, "excess_s")
    success = [float(values.mean()) if len(values) else math.nan for values in _both(runs, "success_rate")]
    mean, n = float(measured.mean()) if len(measured) else math.nan, len(measured)
    apart = distance(measured, predicted) / mean if mean else math.nan
    ratio = p95(predicted) / p95(measured) if p95(measured) else math.nan
    tail_limit = goals.tail_high - 1.0 if ratio > 1 else 1.0 - goals.tail_low
    rows = (
        (GoalKind.SUCCESS, success[1] - success[0], goals.success, f"within {goals.success * 100:g} points"),
        (GoalKind.DISTANCE, apart, goals.distance, f"at most {goals.distance:.0%} of the mean"),
        (GoalKind.TAIL, ratio - 1.0, tail_limit, f"ratio from {goals.tail_low:g} to {goals.tail_high:g}"),
    )
    return [
        GoalResult(
            goal=goal,
            scope=name,
            verdict=by_limit(round(abs(gap), 9), limit, n, MIN_EPISODES),
            value=finite_or_none(gap + 1.0 if goal is GoalKind.TAIL else gap),
            gap=finite_or_none(abs(gap)),
            limit=words,
            n=n,
            detail="" if n >= MIN_EPISODES else f"fewer than {MIN_EPISODES} affected episodes",
        )
        for goal, gap, limit, words in rows
    ]


def _with_accepted_gaps(result: GoalResult, gaps: Sequence[AcceptedGap]) -> GoalResult:
    if result.verdict is not Verdict.FAIL or result.gap is None:
        return result
    entry = accepted(gaps, result.scope, result.goal, result.gap)
    return result if entry is None else msgspec.structs.replace(result, verdict=Verdict.PASS, accepted=entry.cause)


def _of_all(runs: Sequence[MeasuredRun], goals: Goals) -> list[GoalResult]:
    covers = [each.covers for each in predictions_of(runs) if each.covers is not None]
    share = sum(covers) / len(covers) if covers else math.nan
    coverage = GoalResult(
        goal=GoalKind.COVERAGE,
        scope=ALL,
        verdict=by_limit(goals.coverage - share, 0.0, len(covers), MIN_INTERVALS),
        value=finite_or_none(share),
        gap=finite_or_none(max(goals.coverage - share, 0.0)),
        limit=f"at least {goals.coverage:.0%} of the intervals",
        n=len(covers),
    )
    excess = _both(runs, "excess_s")[0]
    mean = float(excess.mean()) if len(excess) else math.nan
    return [
        coverage,
        _equivalence(runs, GoalKind.EQUIVALENT_SUCCESS, "success_rate", goals.equivalent_success, goals),
        _equivalence(runs, GoalKind.EQUIVALENT_EXCESS, "excess_s", goals.equivalent_excess * mean, goals),
    ]


def _equivalence(runs: Sequence[MeasuredRun], goal: GoalKind, metric: str, margin: float, goals: Goals) -> GoalResult:
    found = paired_difference(runs, metric, goals.confidence) if runs else None
    unit = f"{margin * 100:g} points" if goal is GoalKind.EQUIVALENT_SUCCESS else f"{margin * 1000:.3g} ms"
    limit = f"both one-sided {goals.confidence:.0%} bounds within {unit}"
    if found is None:
        why = "too few episodes have a partner, or too few fault events"
        undecided = Verdict.INCONCLUSIVE
        return GoalResult(goal=goal, scope=ALL, verdict=undecided, value=None, gap=None, limit=limit, n=0, detail=why)
    return GoalResult(
        goal=goal,
        scope=ALL,
        verdict=by_bounds(found.low, found.high, margin),
        value=found.mean,
        gap=max(abs(found.low), abs(found.high)),
        limit=limit,
        n=found.pairs,
        low=found.low,
        high=found.high,
    )


def _both(runs: Sequence[MeasuredRun], metric: str) -> tuple[np.ndarray, np.ndarray]:
    measured = pooled([values_of(metric, run.measured, run.deadline) for run in runs])
    return measured, pooled([values_of(metric, run.predicted, run.deadline) for run in runs])


def predictions_of(runs: Sequence[MeasuredRun]) -> tuple[Prediction, ...]:
    """The prediction interval of each metric of each run, and whether it holds what was measured."""
    return tuple(each for run in runs for each in _predictions(run))


def _predictions(run: MeasuredRun) -> list[Prediction]:
    found = run_metrics(run.measured, run.deadline)
    others = [run_metrics(rows, run.deadline) for rows in run.replications]
    lines = []
    for metric in (*METRICS, TAIL):
        low, high, _ = prediction_interval([each[metric] for each in others])
        known = not any(math.isnan(each) for each in (low, high, found[metric]))
        lines.append(
            Prediction(
                run=run.label,
                metric=metric,
                measured=finite_or_none(found[metric]),
                low=finite_or_none(low),
                high=finite_or_none(high),
                covers=low <= found[metric] <= high if known else None,
            )
        )
    return lines


def lines_of(runs: Sequence[MeasuredRun], repeats: Sequence[Repeat] = ()) -> tuple[ExperimentLine, ...]:
    """One line for each experiment; ``repeats``: how far the fitted runs of some are apart."""
    known = {each.experiment: each.distance for each in repeats}
    return tuple(_line(name, group, known.get(name)) for name, group in by_experiment(runs).items())


def _line(name: str, runs: Sequence[MeasuredRun], repeat: float | None) -> ExperimentLine:
    measured, predicted = _both(runs, "excess_s")
    both = len(measured) > 0 and len(predicted) > 0
    quantiles = quantile_pairs(measured, predicted) if both else (np.empty(0), np.empty(0))
    success = _both(runs, "success_rate")
    return ExperimentLine(
        experiment=name,
        runs=len(runs),
        episodes=len(measured),
        predicted_episodes=len(predicted),
        success=(_mean(success[0]), _mean(success[1])),
        mean=(_mean(measured), _mean(predicted)),
        tail=(finite_or_none(p95(measured)), finite_or_none(p95(predicted))),
        distance=finite_or_none(distance(measured, predicted)),
        noise=finite_or_none(_noise(runs)),
        repeat=None if repeat is None or not len(measured) else repeat * float(measured.mean()),
        measured_quantiles=tuple(round(float(each), 6) for each in quantiles[0]),
        predicted_quantiles=tuple(round(float(each), 6) for each in quantiles[1]),
    )


def _noise(runs: Sequence[MeasuredRun]) -> float:
    """Wasserstein-1 between neighbouring replications of all these runs together, on average."""
    count = min((len(run.replications) for run in runs), default=0)
    samples = [pooled([values_of("excess_s", run.replications[i], run.deadline) for run in runs]) for i in range(count)]
    apart = [distance(a, b) for a, b in zip(samples[::2], samples[1::2], strict=False)]
    return float(np.mean(apart)) if apart else math.nan


def _mean(values: np.ndarray) -> float | None:
    return finite_or_none(float(values.mean())) if len(values) else None
