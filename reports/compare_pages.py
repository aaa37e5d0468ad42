"""Writes a comparison: JSON, Markdown, HTML. Computes nothing; all show the same comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import formatting
from .compare import Margins, compare_measured
from .compare_charts import comparison_charts
from .comparison import Comparison, ComparisonRow, Difference
from .measured import Measured
from .pages import render_page, write_formats
from .render import table, to_json


def write_comparison(runs: Sequence[Measured], out: Path, margins: Margins | None = None) -> Comparison:
    """Compare each run with the first and write ``compare.json``, ``compare.md`` and ``compare.html`` to ``out``.

    Raises :class:`~resilience.errors.HarnessError`, in one line, when ``out`` cannot be written.
    """
    comparison = compare_measured(runs, margins)
    affected = {run.side.label: run.affected for run in runs if run.affected is not None}
    charts = comparison_charts(comparison, affected, runs[0].experiment.statistics.deadline)
    page = render_page(
        "compare.html.j2", comparison=comparison, charts=charts, certainty=certainty(comparison), span=span
    )
    json, markdown = to_json(comparison), to_markdown(comparison)
    write_formats(out / "compare", "the comparison", json=json, markdown=markdown, page=page)
    return comparison


def certainty(comparison: Comparison) -> str:
    """How sure the verdicts are, in a sentence."""
    if comparison.across_lanes:
        return (
            "Lanes agree in a metric when the 95 % one-sided bounds of the difference, both, lie within the margin "
            "(two one-sided tests); they differ when its whole interval lies beyond; anything else is undecided."
        )
    each = formatting.percent(2 * comparison.confidence - 1)
    return (
        f"Each interval at {each}: for runs of an equal system the probability of any change in the judged rows, worse "
        f"or better, is at most {formatting.percent(1 - comparison.family)}. A change counts when its whole interval "
        "lies on one side of zero."
    )


def to_markdown(comparison: Comparison) -> str:
    """For a pull-request comment: the verdict, the biggest changes first, the checks that changed."""
    head = ["metric", *comparison.labels, "change", "relative", "interval", "verdict"]
    rows = [_markdown_row(comparison, row, gap) for row, gap in comparison.ordered]
    sides = [
        f"- **{side.label}**: {side.experiment}, lane {side.lane}, seed {side.seed}, verdict {side.verdict.value}"
        for side in comparison.sides
    ]
    notes = [f"- {note}" for note in (*comparison.notes, *comparison.doubts)]
    parts = [
        f"## {comparison.headline}",
        comparison.also,
        _checks(comparison),
        table(head, rows),
        certainty(comparison),
    ]
    return "\n\n".join([part for part in parts if part] + ["\n".join(sides + notes)]) + "\n"


def _checks(comparison: Comparison) -> str:
    rows = [
        [check.change.value, f"{check.kind} `{check.name}`", check.label, check.detail] for check in comparison.checks
    ]
    return table(["change", "what", "run", "detail"], rows) if rows else ""


def _markdown_row(comparison: Comparison, row: ComparisonRow, gap: Difference) -> list[str]:
    several = len(comparison.sides) > 2  # noqa: PLR2004 - then a metric has more than one difference
    said = verdict_words(row, gap)
    return [
        f"`{row.metric}`",
        *(formatting.metric_value(row.metric, value) for value in row.values),
        formatting.change(row.metric, gap.absolute),
        formatting.relative(gap.relative),
        span(row.metric, gap),
        f"{gap.label}: {said}" if several else said,
    ]


def verdict_words(row: ComparisonRow, gap: Difference) -> str:
    """``agree within 0.250 s``, ``worse``, ``differs (not judged)``."""
    if gap.margin is not None:
        return f"{gap.verdict.value}, margin {formatting.change(row.metric, gap.margin).lstrip('+')}"
    return gap.verdict.value if row.judged else f"{gap.verdict.value} (not judged)"


def span(metric: str, gap: Difference) -> str:
    """``−0.10 s … +0.40 s``: the bounds of a difference; an open end is named."""
    if gap.low is None and gap.high is None:
        return formatting.DASH
    low = "no lower bound" if gap.low is None else formatting.change(metric, gap.low)
    return f"{low} … {'no upper bound' if gap.high is None else formatting.change(metric, gap.high)}"
