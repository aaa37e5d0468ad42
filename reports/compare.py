"""Compares two or more runs with the first: lanes of one experiment, or builds of one system.

Intervals are at 99 % so that about ten comparisons together stay under 5 % false alarms. Runs are treated as
independent; runs of one seed share their faults, which only makes the interval wider than needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pandas as pd

from resilience.errors import UsageError
from resilience.experiment.spec import Expectation, Op

from . import formatting
from .build import analyse
from .charts import Chart, gaps, overlay
from .expectations import Estimate, Evidence, estimate_metric
from .frames import RunHistory
from .render import comparison_html, table, to_json
from .stats import difference
from .summary import Summary, finite_or_none

CONFIDENCE = 0.995
"""Confidence of each one-sided bound: 99 % two-sided."""

SCHEMA_VERSION = 1
METRICS = (
    "success_rate",
    "detection_s.mean",
    "reconnection_s.restricted_mean",
    "reconnection_s.p50",
    "reconnection_s.p95",
    "excess_s.restricted_mean",
    "excess_s.p50",
    "excess_s.p95",
    "attempts.mean",
    "heartbeat_rtt_s.p50",
)
"""The compared metrics. All but the success rate are better when lower."""

INFORMATIVE = frozenset({"heartbeat_rtt_s.p50"})
"""Shown, but not judged: they differ with the networks of the runs, not with the system."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One run compared with the first. ``relative``: share of the first's value. Bounds: of ``absolute``."""

    label: str
    absolute: float | None
    relative: float | None
    low: float | None
    high: float | None
    verdict: str


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One metric: its value and sample size in each run, and the difference of each later run to the first."""

    metric: str
    values: tuple[float | None, ...]
    sizes: tuple[int, ...]
    gaps: tuple[Difference, ...]


class ComparedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs."""

    label: str
    experiment: str
    experiment_digest: str
    lane: str
    seed: int
    verdict: str
    versions: dict[str, str]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``compare.json``. ``confidence`` is of each one-sided bound; ``notes`` name differences between the runs."""

    schema_version: int = SCHEMA_VERSION
    sides: tuple[ComparedRun, ...]
    rows: tuple[ComparisonRow, ...]
    confidence: float
    notes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """A short name per run."""
        return tuple(side.label for side in self.sides)

    @property
    def worse(self) -> bool:
        """Whether any run is significantly worse than the first in any metric."""
        return any(gap.verdict == WORSE for row in self.rows for gap in row.gaps)

    @property
    def headline(self) -> str:
        """The result in a few words; runs of different lanes are compared for agreement, others for progress."""
        found = [(row.metric, gap.verdict) for row in self.rows for gap in row.gaps]
        shown = [metric for metric, verdict in found if verdict in (WORSE, BETTER, DIFFERS)]
        if len({side.lane for side in self.sides}) > 1:
            if set(shown) - INFORMATIVE:
                return f"The lanes differ in {len(shown)} of {len(found)} comparisons"
            exception = f", except in {', '.join(dict.fromkeys(shown))}" if shown else ""
            return f"No difference shown between the lanes{exception}"
        return "Worse than the first run" if self.worse else "No deterioration shown"


WORSE, BETTER, DIFFERS, NO_CHANGE, NO_DATA = "worse", "better", "differs", "no change shown", "no data"


@dataclass(frozen=True)
class _AnalysedRun:
    label: str
    log: RunHistory
    episodes: pd.DataFrame
    summary: Summary
    evidence: Evidence


def compare(runs: list[Path]) -> Comparison:
    """Compare each run directory with the first; :class:`~resilience.errors.UsageError` if fewer than two or broken."""
    return _compared(_read(runs))


def write_comparison(runs: list[Path], out: Path) -> Comparison:
    """:func:`compare`, and write ``compare.json``, ``compare.md`` and ``compare.html`` to ``out``."""
    read = _read(runs)
    comparison = _compared(read)
    page = comparison_html(comparison, _charts(read, comparison))
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "compare.json").write_bytes(to_json(comparison))
        (out / "compare.md").write_text(to_markdown(comparison), encoding="utf-8")
        (out / "compare.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot write the comparison: {error.strerror}") from error
    return comparison


def _read(runs: list[Path]) -> list[_AnalysedRun]:
    if len(runs) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
        raise UsageError("compare needs at least two run directories; the others are compared with the first")
    analysed = [analyse(run) for run in runs]
    labels = _labels([summary for _, _, summary in analysed])
    return [
        _AnalysedRun(label, log, episodes, summary, Evidence.of(log, episodes))
        for label, (log, episodes, summary) in zip(labels, analysed, strict=True)
    ]


def _labels(summaries: list[Summary]) -> list[str]:
    """The shortest of lane, experiment and seed that tells all runs apart; numbered if none does."""
    choices = (
        [summary.lane.value for summary in summaries],
        [f"{summary.lane.value} seed {summary.seed}" for summary in summaries],
        [f"{summary.experiment} {summary.lane.value} seed {summary.seed}" for summary in summaries],
    )
    unique = (labels for labels in choices if len(set(labels)) == len(labels))
    return next(unique, [f"{i}: {label}" for i, label in enumerate(choices[0], 1)])


def _compared(runs: list[_AnalysedRun]) -> Comparison:
    return Comparison(
        sides=tuple(_side(run) for run in runs),
        rows=tuple(_row(metric, runs) for metric in METRICS),
        confidence=CONFIDENCE,
        notes=_notes(runs),
    )


def _side(run: _AnalysedRun) -> ComparedRun:
    info = run.log.info
    return ComparedRun(
        label=run.label,
        experiment=info.experiment,
        experiment_digest=info.experiment_digest,
        lane=info.lane.value,
        seed=info.seed,
        verdict=run.summary.verdict.value,
        versions=info.versions,
    )


def _notes(runs: list[_AnalysedRun]) -> tuple[str, ...]:
    infos = [run.log.info for run in runs]
    notes = []
    if len({info.experiment_digest for info in infos}) > 1:
        notes.append("the runs are of different experiments: a difference may come from the settings")
    if len({info.seed for info in infos}) > 1:
        notes.append("the runs have different seeds: fault times may differ")
    notes += [f"{run.label} is {run.summary.status}: {run.summary.cause}" for run in runs if run.summary.cause]
    return tuple(notes)


def _row(metric: str, runs: list[_AnalysedRun]) -> ComparisonRow:
    expectation = Expectation(metric, Op.AT_LEAST, 0.0, CONFIDENCE)
    found = [estimate_metric(expectation, run.evidence.affected(None, None), run.evidence) for run in runs]
    gaps_found = [_gap(metric, found[0], other, run.label) for other, run in zip(found[1:], runs[1:], strict=True)]
    values, sizes = tuple(finite_or_none(estimate.value) for estimate in found), tuple(estimate.n for estimate in found)
    return ComparisonRow(metric=metric, values=values, sizes=sizes, gaps=tuple(gaps_found))


def _gap(metric: str, first: Estimate, other: Estimate, label: str) -> Difference:
    a, b = _triple(first), _triple(other)
    if not (first.n and other.n) or any(map(math.isnan, (*a, *b))):
        return Difference(label=label, absolute=None, relative=None, low=None, high=None, verdict=NO_DATA)
    if not (
        math.isfinite(a[0]) and math.isfinite(b[0])
    ):  # a quantile that was not reached: only whole intervals compare
        verdict = _verdict(metric, b[1] - a[2], b[2] - a[1])
        return Difference(label=label, absolute=None, relative=None, low=None, high=None, verdict=verdict)
    low, high = difference(a, b)
    gap = b[0] - a[0]
    return Difference(
        label=label,
        absolute=gap,
        relative=finite_or_none(gap / a[0]) if a[0] else None,
        low=finite_or_none(low),
        high=finite_or_none(high),
        verdict=_verdict(metric, low, high),
    )


def _triple(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.interval.low, estimate.interval.high


def _verdict(metric: str, low: float, high: float) -> str:
    """By the whole interval: it must lie on one side of no change."""
    more, less = (BETTER, WORSE) if metric == "success_rate" else (WORSE, BETTER)
    more, less = (DIFFERS, DIFFERS) if metric in INFORMATIVE else (more, less)
    return more if low > 0 else less if high < 0 else NO_CHANGE


# --- output ---------------------------------------------------------------------------------------------------------


def to_markdown(comparison: Comparison) -> str:
    """For a pull-request comment: the change of each metric from the first run."""
    head = ["metric", *comparison.labels, "change", "relative", "interval", "verdict"]
    rows = [line for row in comparison.rows for line in _markdown_rows(row)]
    sides = [
        f"- **{side.label}**: {side.experiment}, seed {side.seed}, verdict {side.verdict}" for side in comparison.sides
    ]
    notes = [f"- {note}" for note in comparison.notes]
    said = f"Each interval at {2 * comparison.confidence - 1:.0%}, so that all together stay under 5 % false alarms."
    return "\n\n".join([f"## {comparison.headline}", "\n".join(sides + notes), table(head, rows), said]) + "\n"


def _markdown_rows(row: ComparisonRow) -> list[list[str]]:
    values = [formatting.metric_value(row.metric, value) for value in row.values]
    return [
        [
            f"`{row.metric}`",
            *values,
            formatting.change(row.metric, gap.absolute),
            formatting.relative(gap.relative),
            formatting.span(row.metric, gap.low, gap.high),
            gap.verdict if len(row.gaps) == 1 else f"{gap.label}: {gap.verdict}",
        ]
        for gap in row.gaps
    ]


def _charts(runs: list[_AnalysedRun], comparison: Comparison) -> list[Chart]:
    deadline = runs[0].log.experiment.statistics.deadline
    lanes = {run.label: run.evidence.affected(None, None) for run in runs}
    charts = [overlay(lanes, deadline)] if all(len(rows) for rows in lanes.values()) else []
    lines = [line for row in comparison.rows for line in _forest_lines(row)]
    return [*charts, gaps(pd.DataFrame(lines))] if lines else charts


def _forest_lines(row: ComparisonRow) -> list[dict[str, object]]:
    base = row.values[0]
    return [
        {
            "label": row.metric if len(row.gaps) == 1 else f"{row.metric} ({gap.label})",
            "gap": gap.relative,
            "low": gap.low / base,
            "high": gap.high / base,
            "verdict": gap.verdict,
        }
        for gap in row.gaps
        if base and gap.relative is not None and gap.low is not None and gap.high is not None
    ]
