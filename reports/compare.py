"""Compares runs with the first of them: lanes of one experiment, or builds and settings of one system.

Runs of one lane are judged for *progress*: a change counts when its whole interval lies on one side of zero. The 5 %
for false alarms, in either direction, is divided evenly by the judged rows of the table (Bonferroni), so that it holds
for all of them together. Runs of different lanes are judged for *agreement* (two one-sided tests, Schuirmann 1987):
they agree when the interval of the difference at 95 % on either side lies within a stated margin, they differ when it
lies beyond.

Equal seeds and an equal schedule are paired (:mod:`reports.paired`). Otherwise means are compared by their standard
errors (:mod:`reports.unpaired`), and of quantiles two independent intervals are combined
(:func:`reports.stats.difference`). Writes and shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, Verdict
from resilience.experiment.spec import Experiment

from .comparison import (
    FALSE_ALARMS,
    JUDGED,
    METRICS,
    Change,
    ChangedCheck,
    CheckChange,
    CheckResultLine,
    ComparedRun,
    Comparison,
    ComparisonRow,
    Difference,
    progress,
)
from .measured import Measured, read_runs
from .paired import (
    PAIRED_METRICS,
    PairedMean,
    PairedQuantile,
    Pairs,
    cluster_names,
    episode_values,
    match,
    paired_mean,
    paired_sums,
    stated_correlation,
)
from .stats import Floats
from .summary import finite_or_none
from .unpaired import independent_bounds

EQUIVALENCE = 0.95
"""The confidence of each of the two one-sided tests for agreement."""

_SETTINGS_SHOWN = 4


def confidence_of(runs: int) -> float:
    """The confidence of each one-sided bound when so many runs are compared."""
    return 1 - FALSE_ALARMS / (2 * len(JUDGED) * max(runs - 1, 1))


class Margins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Within which two lanes count as equal, and no participant could tell them apart.

    ``seconds``: of means and medians; ``tail_seconds``: of higher quantiles; ``share``: of the success rate;
    ``count``: of dials. ``metrics``: of a metric by its name, before the others.
    """

    seconds: float = 0.25
    tail_seconds: float = 0.5
    share: float = 0.02
    count: float = 0.25
    metrics: dict[str, float] = {}

    def of(self, metric: str) -> float:
        """The margin of a metric, in its unit."""
        name, _, statistic = metric.partition(".")
        general = self.share if name == "success_rate" else self.count if not name.endswith("_s") else self.seconds
        tail = name.endswith("_s") and statistic in ("p90", "p95", "p99", "max")
        return self.metrics.get(metric, self.tail_seconds if tail else general)


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(runs: list[Path], margins: Margins | None = None) -> Comparison:
    """Compare each run directory with the first; :class:`~resilience.errors.UsageError` if fewer than two or broken."""
    if len(runs) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
        raise UsageError("compare needs at least two run directories; the others are compared with the first")
    return compare_measured(read_runs(runs), margins)


def compare_measured(runs: Sequence[Measured], margins: Margins | None = None) -> Comparison:
    """Compare each run with the first."""
    first, *others = runs
    confidence = confidence_of(len(runs))
    pairings = [Pairing(first, other) for other in others]
    judges = [Judge(pairing, confidence, margins or Margins()) for pairing in pairings]
    return Comparison(
        sides=tuple(run.side for run in runs),
        rows=tuple(_row(metric, runs, judges) for metric in METRICS),
        checks=tuple(change for other in others for change in changed_checks(first.side, other.side)),
        confidence=confidence,
        family=1 - FALSE_ALARMS,
        subject=_subject(runs),
        notes=_notes(runs, pairings),
    )


def _row(metric: str, runs: Sequence[Measured], judges: Sequence[Judge]) -> ComparisonRow:
    found = [run.estimate(metric, EQUIVALENCE) for run in runs]
    return ComparisonRow(
        metric=metric,
        judged=metric in JUDGED,
        values=tuple(finite_or_none(estimate.value) for estimate in found),
        sizes=tuple(estimate.n for estimate in found),
        gaps=tuple(judge.difference(metric) for judge in judges),
    )


@dataclass(frozen=True)
class Pairing:
    """How one run is compared with the first."""

    first: Measured
    other: Measured

    @property
    def real(self) -> bool:
        """Whether either run was on a real machine's clock."""
        return Lane.REAL.value in (self.first.side.lane, self.other.side.lane)

    @property
    def across_lanes(self) -> bool:
        """Whether the two runs are of different lanes."""
        return self.first.side.lane != self.other.side.lane

    @cached_property
    def obstacle(self) -> str | None:
        """Why the two cannot be paired; None if they are."""
        if not same_schedule(self.first.experiment, self.other.experiment):
            return "their schedules differ"
        if self.first.side.seed != self.other.side.seed:
            return "their seeds differ"
        found = self._matched if self._in_full else self._mean("success_rate")
        return None if found else "too few fault events, or too few episodes with a partner in the other run"

    @property
    def _in_full(self) -> bool:
        return self.first.affected is not None and self.other.affected is not None

    @cached_property
    def _names(self) -> pd.DataFrame:
        """Cluster and stratum of every fault id."""
        rows = self.other.affected if self.other.affected is not None else self.first.affected
        empty = pd.DataFrame({"fault_id": [], "event": [], "stratum": []})
        names = empty if rows is None else rows
        return cluster_names(self.first.experiment, self.first.side.seed, names, real=self.real)

    @cached_property
    def _matched(self) -> Pairs | None:
        first, other = self.first.affected, self.other.affected
        return None if first is None or other is None else match(first, other, self._names)

    @property
    def pairs(self) -> int | None:
        """How many episodes have a partner; None if the runs are not paired by participant."""
        return len(self._matched.first) if self._in_full and not self.obstacle and self._matched else None

    def gap(self, metric: str) -> PairedMean | PairedQuantile | None:
        """The paired difference of a metric; None where there is none."""
        if self.obstacle:
            return None
        return self._mean(metric) if metric in PAIRED_METRICS else self._quantile(metric)

    @cached_property
    def _stated(self) -> float:
        return stated_correlation(self.first.experiment, real=self.real)

    def _mean(self, metric: str) -> PairedMean | None:
        first, other, pairs = self.first, self.other, self._matched
        if not self._in_full:
            return paired_sums(first.sums, other.sums, self._names, metric, self._stated)
        if pairs is None or first.affected is None or other.affected is None:
            return None
        deadline = first.experiment.statistics.deadline
        values = [episode_values(metric, rows, deadline) for rows in (first.affected, other.affected)]
        gaps = values[1][pairs.other] - values[0][pairs.first]
        known = ~np.isnan(gaps)
        kept = pairs.where(known)
        return paired_mean(gaps[known], kept, self._stated, shares=metric == "success_rate") if kept else None

    def _quantile(self, metric: str) -> PairedQuantile | None:
        """None if the runs hold no episodes, or if an episode's time was not observed to its end."""
        clock, _, statistic = metric.partition(".")
        pairs, first, other = self._matched, self.first.affected, self.other.affected
        if pairs is None or first is None or other is None or clock not in first.columns:
            return None
        if any((~rows["returned"] & ~rows["never"]).any() for rows in (first, other)):
            return None
        a, b = (_times(rows, clock) for rows in (first, other))
        kept = pairs.where(~np.isnan(a[pairs.first]) & ~np.isnan(b[pairs.other]))
        level = float(statistic.removeprefix("p")) / 100
        return PairedQuantile(a[kept.first], b[kept.other], level, kept, self._stated) if kept else None


def _times(rows: pd.DataFrame, clock: str) -> Floats:
    """The times of one clock; infinite for who never returned, NaN where there is none."""
    seconds = rows[clock].to_numpy(dtype=np.float64)
    return seconds if clock == "detection_s" else np.where(rows["never"].to_numpy(dtype=bool), np.inf, seconds)


@dataclass(frozen=True)
class Judge:
    """Judges the difference of one run to the first; ``confidence`` of each one-sided bound."""

    pairing: Pairing
    confidence: float
    margins: Margins

    def difference(self, metric: str) -> Difference:
        """The difference in one metric, with its verdict."""
        first, other = (run.estimate(metric, self.confidence) for run in (self.pairing.first, self.pairing.other))
        if not (first.n and other.n) or any(map(math.isnan, (*first.bounded, *other.bounded))):
            return self._result(Change.NO_DATA, method="none")
        if not (math.isfinite(first.value) and math.isfinite(other.value)):  # a quantile that was not reached
            low, high = other.interval.low - first.interval.high, other.interval.high - first.interval.low
            return self._result(self._verdict(metric, math.inf, low, high, (-math.inf, math.inf)), method="ranges")
        paired = self.pairing.gap(metric)
        gap = paired.mean if paired else other.value - first.value
        bounds = paired.bounds if paired else self._independent(metric)
        (low, high), near = bounds(self.confidence), bounds(EQUIVALENCE)
        lanes = self.pairing.across_lanes and metric in JUDGED
        shown = near if lanes else (low, high)
        return Difference(
            label=self.pairing.other.side.label,
            absolute=gap,
            relative=finite_or_none(gap / first.value) if first.value else None,
            low=finite_or_none(shown[0]),
            high=finite_or_none(shown[1]),
            verdict=self._verdict(metric, gap, low, high, near),
            confidence=EQUIVALENCE if lanes else self.confidence,
            method=f"paired, t with {paired.spare} degrees of freedom" if paired else "independent runs",
            pairs=self.pairing.pairs if paired else None,
            margin=self.margins.of(metric) if lanes else None,
        )

    def _independent(self, metric: str) -> Callable[[float], tuple[float, float]]:
        runs = self.pairing.first, self.pairing.other
        means = runs[0].mean(metric), runs[1].mean(metric)

        def bounds(confidence: float) -> tuple[float, float]:
            estimates = runs[0].estimate(metric, confidence), runs[1].estimate(metric, confidence)
            return independent_bounds(means, estimates, confidence)

        return bounds

    def _result(self, verdict: Change, method: str) -> Difference:
        return Difference(
            label=self.pairing.other.side.label,
            absolute=None,
            relative=None,
            low=None,
            high=None,
            verdict=verdict,
            confidence=self.confidence,
            method=method,
        )

    def _verdict(self, metric: str, gap: float, low: float, high: float, near: tuple[float, float]) -> Change:
        if metric in JUDGED and self.pairing.across_lanes:
            return agreement(self.margins.of(metric), low, high, near)
        return progress(metric, gap, low, high)


def agreement(margin: float, low: float, high: float, near: tuple[float, float]) -> Change:
    """Agree if ``near``, the interval of two one-sided tests, is within the margin; differ if [low, high] is beyond."""
    if -margin < near[0] and near[1] < margin:
        return Change.AGREE
    return Change.DIFFERS if low > margin or high < -margin else Change.UNDECIDED


# --- invariants and targets -------------------------------------------------------------------------------------------


def changed_checks(first: ComparedRun, other: ComparedRun) -> list[ChangedCheck]:
    """The invariants and expectations with another verdict than before, the failed first."""
    before = {(check.kind, check.name): check.verdict for check in first.checks}
    found = []
    for check in other.checks:
        was = before.get((check.kind, check.name))
        change = _check_change(check, was)
        if change is not None:
            found.append(
                ChangedCheck(
                    label=other.label,
                    kind=check.kind,
                    name=check.name,
                    before=was,
                    after=check.verdict,
                    change=change,
                    detail=check.detail,
                )
            )
    return sorted(found, key=lambda check: not check.fails)


def _check_change(check: CheckResultLine, was: Verdict | None) -> CheckChange | None:
    """An invariant breaks newly unless it was broken; a target is missed newly only if it was met."""
    invariant, now = check.kind == "invariant", check.verdict
    if now is was:
        return None
    if now is Verdict.FAIL:
        met = CheckChange.NEWLY_MISSED if was is Verdict.PASS else None
        return CheckChange.NEWLY_BROKEN if invariant else met
    if was is Verdict.FAIL and now is Verdict.PASS:
        return CheckChange.NO_LONGER_BROKEN if invariant else CheckChange.NO_LONGER_MISSED
    if now is Verdict.NOT_APPLICABLE:
        return CheckChange.NEWLY_NOT_APPLICABLE
    return CheckChange.NEWLY_UNDECIDED if now is Verdict.INCONCLUSIVE and was is not None else None


# --- what the runs have in common -------------------------------------------------------------------------------------


def same_schedule(a: Experiment, b: Experiment) -> bool:
    """Whether the same participants meet the same faults at the same moments of the same quiz."""
    parts = ("duration", "ramp", "cohorts", "faults", "quiz")
    return all(getattr(a, part) == getattr(b, part) for part in parts)


def settings_changed(a: Experiment, b: Experiment) -> list[str]:
    """``client.probe_after 4.0 → 4.4`` for each value that differs; names and titles are left out."""
    here, there = (dict(_flat("", msgspec.to_builtins(experiment))) for experiment in (a, b))
    keys = [key for key in dict.fromkeys([*here, *there]) if key not in ("name", "title", "seed")]
    changed = [key for key in keys if here.get(key) != there.get(key)]
    return [f"{key} {here.get(key, 'default')} → {there.get(key, 'default')}" for key in changed]


def _flat(prefix: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [item for key, part in value.items() for item in _flat(f"{prefix}.{key}".lstrip("."), part)]
    if isinstance(value, list | tuple):
        return [item for i, part in enumerate(value) for item in _flat(f"{prefix}[{i}]", part)]
    return [(prefix, value)]


def _subject(runs: Sequence[Measured]) -> str:
    """Whether the runs are of different experiments, or of one with different settings; empty if of one."""
    first, *others = runs
    unlike = [run for run in others if run.side.experiment_digest != first.side.experiment_digest]
    if not unlike:
        return ""
    changed = list(dict.fromkeys(line for run in unlike for line in settings_changed(first.experiment, run.experiment)))
    if not all(same_schedule(first.experiment, run.experiment) for run in unlike):
        return "Different experiments"
    more = f" and {len(changed) - _SETTINGS_SHOWN} more" if len(changed) > _SETTINGS_SHOWN else ""
    listed = ", ".join(changed[:_SETTINGS_SHOWN]) or "no setting that their files show"
    return f"Different experiments, in {listed}{more}"


def _notes(runs: Sequence[Measured], pairings: Sequence[Pairing]) -> tuple[str, ...]:
    first = runs[0].side
    notes = [why for run in runs if (why := run.side.broken)]
    for pairing in pairings:
        side, apart = pairing.other.side, pairing.obstacle
        by = "fault window" if pairing.pairs is None else "fault and participant"
        how = f"episodes are paired by {by}" if apart is None else f"not paired: {apart}"
        notes.append(f"{side.label} against {first.label}: {how}")
        notes += [f"{side.label}: {check}" for check in _versions_changed(first, side)]
    return tuple(notes)


def _versions_changed(first: ComparedRun, other: ComparedRun) -> list[str]:
    names = [name for name in {**first.versions, **other.versions} if name in first.versions and name in other.versions]
    changed = [name for name in names if first.versions[name] != other.versions[name]]
    return [f"{name} {first.versions[name]} → {other.versions[name]}" for name in changed]
