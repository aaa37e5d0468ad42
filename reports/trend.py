"""Many runs in the order of time: a few metrics with intervals, and where they changed.

Each run is compared with the one before it (a *step*) and with the first (a *drift*, which no single step need show).
The 5 % for false alarms are divided by all these comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from resilience.errors import ExitCode, UsageError
from resilience.lab.run_directory import read_run_info

from . import formatting
from .compare import EQUIVALENCE, Judge, Margins, Pairing, changed_checks
from .compare_charts import trend_chart
from .comparison import FALSE_ALARMS, Change, ChangedCheck, ComparedRun
from .measured import Measured, read_runs
from .pages import render_page, write_formats
from .render import table, to_json
from .summary import finite_or_none

SCHEMA_VERSION = 1
TREND_METRICS = (
    "success_rate",
    "detection_s.mean",
    "downtime_s.restricted_mean",
    "excess_s.restricted_mean",
    "excess_s.p95",
    "attempts.mean",
)
_SHOWN = (Change.WORSE, Change.BETTER, Change.DIFFERS)
_LEAST = 2


class TrendPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A metric in one run; bounds are one-sided, each at 95 %. ``step``, ``drift``: against the run before, the first.

    Both are null where nothing changed, or where there is nothing to compare with.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    step: Change | None = None
    drift: Change | None = None


class TrendLine(msgspec.Struct, frozen=True, kw_only=True):
    """One metric in every run."""

    metric: str
    points: tuple[TrendPoint, ...]


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """``trend.json``: the runs in the order of time. ``checks``: what changed in invariants and targets, run by run."""

    schema_version: int = SCHEMA_VERSION
    runs: tuple[ComparedRun, ...]
    lines: tuple[TrendLine, ...]
    checks: tuple[ChangedCheck, ...]
    confidence: float

    @property
    def changes(self) -> list[str]:
        """Every change in words, the newest run's first."""
        found = []
        for i in range(len(self.runs) - 1, -1, -1):
            label = self.runs[i].label
            for line in self.lines:
                step, drift = line.points[i].step, line.points[i].drift
                found += [f"{label}: {line.metric} {step.value} than the run before"] if step else []
                found += [f"{label}: {line.metric} {drift.value} than the first run"] if drift and not step else []
            found += [f"{label}: {check.change.value}: {check.name}" for check in self.checks if check.label == label]
        return found

    @property
    def newest_worse(self) -> bool:
        """Whether the newest run is worse than the one before it or than the first in any metric."""
        last = [line.points[-1] for line in self.lines]
        return any(Change.WORSE in (point.step, point.drift) for point in last)

    @property
    def newest_failed(self) -> bool:
        """Whether the newest run breaks an invariant or misses a target that the one before did not."""
        return any(check.fails for check in self.checks if check.label == self.runs[-1].label)

    @property
    def headline(self) -> str:
        """What is true of the newest run, in one sentence."""
        newest = self.runs[-1]
        if newest.broken:
            return f"The newest run says nothing: {newest.broken}"
        worse = [line.metric for line in self.lines if Change.WORSE in (line.points[-1].step, line.points[-1].drift)]
        if self.newest_failed or worse:
            failed = [check.name for check in self.checks if check.fails and check.label == newest.label]
            return f"The newest run is worse: {', '.join([*failed, *worse])}"
        return f"No deterioration in the newest of {len(self.runs)} runs"

    @property
    def tone(self) -> str:
        """Fail, inconclusive or pass: the colour of the headline."""
        if self.runs[-1].broken or not self.runs[-1].affected:
            return "inconclusive"
        return "fail" if self.newest_failed or self.newest_worse else "pass"

    def exit_code(self, *, fail_on_worse: bool = False) -> ExitCode:
        """By the newest run: 4 if it was not carried out, 1 if it fails newly, 3 without data, else 0."""
        newest = self.runs[-1]
        if newest.broken:
            return ExitCode.HARNESS
        if self.newest_failed or (fail_on_worse and self.newest_worse):
            return ExitCode.FAIL
        return ExitCode.PASS if newest.affected else ExitCode.INCONCLUSIVE


def read_in_order(runs: Sequence[Path]) -> list[Measured]:
    """Read run directories, the oldest first."""
    if len(runs) < _LEAST:
        raise UsageError("trend needs at least two run directories")
    started = [(read_run_info(run).started_at, i) for i, run in enumerate(runs)]
    return list(read_runs([runs[i] for _, i in sorted(started)]))


def trend_of(runs: Sequence[Measured], margins: Margins | None = None) -> Trend:
    """The trend of runs in the order of time."""
    steps = list(pairwise(runs))
    confidence = 1 - FALSE_ALARMS / (2 * len(TREND_METRICS) * max(2 * len(steps) - 1, 1))
    judges = [
        (_judge(before, run, confidence, margins), _judge(runs[0], run, confidence, margins)) for before, run in steps
    ]
    return Trend(
        runs=tuple(run.side for run in runs),
        lines=tuple(_line(metric, runs, judges) for metric in TREND_METRICS),
        checks=tuple(check for before, run in steps for check in changed_checks(before.side, run.side)),
        confidence=confidence,
    )


def _judge(first: Measured, other: Measured, confidence: float, margins: Margins | None) -> Judge:
    return Judge(Pairing(first, other), confidence, margins or Margins())


def _line(metric: str, runs: Sequence[Measured], judges: Sequence[tuple[Judge, Judge]]) -> TrendLine:
    points = []
    for i, run in enumerate(runs):
        found = run.estimate(metric, EQUIVALENCE)
        step, drift = judges[i - 1] if i else (None, None)
        points.append(
            TrendPoint(
                value=finite_or_none(found.value),
                low=finite_or_none(found.interval.low),
                high=finite_or_none(found.interval.high),
                n=found.n,
                step=_change(step, metric),
                drift=_change(drift, metric) if i > 1 else None,
            )
        )
    return TrendLine(metric=metric, points=tuple(points))


def _change(judge: Judge | None, metric: str) -> Change | None:
    verdict = judge.difference(metric).verdict if judge else None
    return verdict if verdict in _SHOWN else None


# --- output -----------------------------------------------------------------------------------------------------------


def write_trend(runs: Sequence[Measured], out: Path, margins: Margins | None = None) -> Trend:
    """:func:`trend_of`, and write ``trend.json``, ``trend.md`` and ``trend.html`` to ``out``.

    Raises :class:`~resilience.errors.HarnessError`, in one line, when ``out`` cannot be written.
    """
    trend = trend_of(runs, margins)
    page = render_page("trend.html.j2", trend=trend, chart=trend_chart(trend), cell=cell, certainty=certainty(trend))
    write_formats(out / "trend", "the trend", json=to_json(trend), markdown=to_markdown(trend), page=page)
    return trend


def certainty(trend: Trend) -> str:
    """How sure the marks are, in a sentence."""
    return (
        "Each run is compared with the run before it and with the first, each interval at "
        f"{formatting.percent(2 * trend.confidence - 1)}, so that runs of an equal system show any change in at most "
        f"{formatting.percent(FALSE_ALARMS)} of all tables. Bounds of single values are one-sided, each at 95 %; "
        "runs of one seed are compared pair by pair, which finds changes that such bounds do not show."
    )


def to_markdown(trend: Trend) -> str:
    """One table, a line for each run, and the changes in words."""
    head = ["run", "started", "seed", "verdict", *(line.metric for line in trend.lines)]
    rows = [
        [
            run.label,
            run.started_at[:16].replace("T", " "),
            str(run.seed),
            run.verdict.value,
            *(cell(line, i) for line in trend.lines),
        ]
        for i, run in enumerate(trend.runs)
    ]
    changes = "\n".join(f"- {change}" for change in trend.changes) or "No change shown."
    return "\n\n".join([f"## {trend.headline}", changes, table(head, rows), certainty(trend)]) + "\n"


def cell(line: TrendLine, i: int) -> str:
    """``0.39 s, worse than before, better than the first``."""
    point = line.points[i]
    marks = [f"{point.step.value} than before"] if point.step else []
    marks += [f"{point.drift.value} than the first"] if point.drift else []
    return ", ".join([formatting.metric_value(line.metric, point.value), *marks])
