"""The pictures of comparisons, trends and sweeps: data in, a chart with its words out. Judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import formatting, plots
from .charts import Chart, report_style, svg_of
from .comparison import Change, Comparison
from .drawings import sensible_limit
from .survival import RecoveryTimes

if TYPE_CHECKING:
    from .trend import Trend, TrendLine

_COLOURS = {
    Change.WORSE: "#d55e00",
    Change.DIFFERS: "#d55e00",
    Change.BETTER: "#009e73",
    Change.AGREE: "#009e73",
}
_MARKERS = {Change.WORSE: ">", Change.DIFFERS: "D", Change.BETTER: "<"}
"""A verdict has a shape too, so that no meaning rests on colour alone."""


def comparison_charts(comparison: Comparison, affected: Mapping[str, pd.DataFrame], deadline: float) -> list[Chart]:
    """Every chart for which there is data; ``affected``: rows of the episode frame of each run that has them."""
    with report_style():
        drawn = [_changes(comparison)]
        if len(affected) > 1 and all(len(rows) for rows in affected.values()):
            drawn.append(_curves(affected, deadline))
    return [chart for chart in drawn if chart is not None]


def _changes(comparison: Comparison) -> Chart | None:
    """Change of each metric in units of its interval, so that seconds, shares and dials fit one axis."""
    lines = []
    several = len(comparison.sides) > 2  # noqa: PLR2004 - then a metric has more than one difference
    for row, gap in comparison.ordered:
        base = row.values[0]
        if base and gap.absolute is not None and gap.low is not None and gap.high is not None:
            name = f"{row.metric} ({gap.label})" if several else row.metric
            shown = gap.verdict if row.judged else Change.NO_CHANGE
            lines.append((name, gap.absolute / base, gap.low / base, gap.high / base, shown))
    if not lines:
        return None
    fig = Figure(figsize=(10, 0.9 + 0.34 * len(lines)), layout="constrained")
    _forest(lines, fig.add_subplot())
    said = "; ".join(f"{name} {formatting.relative(gap)}, {verdict.value}" for name, gap, _, _, verdict in lines[:6])
    return Chart(
        "What changed",
        "Change against the first run as a share of its value; line: the interval of the change. Orange triangles are "
        "worse, green triangles better, a diamond is beyond its margin; grey: no change, or not judged.",
        f"Relative change of {len(lines)} metrics with intervals: {said}.",
        svg_of(fig),
    )


def _forest(lines: Sequence[tuple[str, float, float, float, Change]], axes: Axes) -> None:
    for y, (_, gap, low, high, verdict) in enumerate(lines):
        colour = _COLOURS.get(verdict, plots.MUTED)
        axes.plot([low, high], [y, y], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot([gap], [y], _MARKERS.get(verdict, "o"), color=colour, markersize=6)
    axes.axvline(0, color=plots.INK, linewidth=1)
    axes.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    ends = np.array([[abs(low), abs(high)] for _, _, low, high, _ in lines])
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0 if ends.max() > 0.05 else 2))  # noqa: PLR2004 - where whole percents say nothing
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("change against the first run")


def _curves(affected: Mapping[str, pd.DataFrame], deadline: float) -> Chart:
    fig = Figure(figsize=(10, 3.9), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True)
    medians = []
    for axes, clock in ((left, "excess_s"), (right, "downtime_s")):
        curves = {label: RecoveryTimes.of(rows, clock) for label, rows in affected.items()}
        plots.recovery(curves, sensible_limit(list(curves.values()), deadline), axes)
        axes.set_xlabel("seconds")
        halves = (f"{label} {times.curve.quantile(0.5):.2f} s" for label, times in curves.items())
        medians.append(
            f"half back, {'from the heal' if clock == 'excess_s' else 'from the fault'}: {', '.join(halves)}"
        )
    left.set_title("excess: link usable again → restored")
    right.set_title("downtime: link cut → restored")
    left.set_ylabel("share of affected participants back")
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return Chart(
        "Recovery curves of the compared runs",
        "Share of affected participants with a restored session (one minus Kaplan-Meier). Bands: pointwise 95 %, drops "
        "taken as independent.",
        f"Recovery curves of {len(affected)} runs; {'; '.join(medians)}.",
        svg_of(fig),
    )


def trend_chart(trend: Trend) -> Chart:
    """Every metric of a trend by run, with bounds; changes are marked by shape and colour."""
    with report_style():
        fig = Figure(figsize=(10, 7.2), layout="constrained")
        panels = fig.subplots(3, 2, sharex=True).ravel()
        for axes, line in zip(panels, trend.lines, strict=False):
            _trend_panel(line, axes)
        for axes in panels[-2:]:
            axes.set_xlabel("run, the oldest first")
        svg = svg_of(fig)
    ends = (
        f"{line.metric} from {formatting.metric_value(line.metric, line.points[0].value)} to "
        f"{formatting.metric_value(line.metric, line.points[-1].value)}"
        for line in trend.lines
    )
    changes = f" Changes: {'; '.join(trend.changes[:6])}." if trend.changes else " No change is marked."
    return Chart(
        "Trend",
        "Dot: the value in a run; line: its 95 % bounds. An orange triangle up is worse than the run before or the "
        "first, a green triangle down better (a diamond has no direction).",
        f"{len(trend.runs)} runs: {'; '.join(ends)}.{changes}",
        svg,
    )


def _trend_panel(line: TrendLine, axes: Axes) -> None:
    xs = np.arange(1, len(line.points) + 1)
    values = np.array([np.nan if point.value is None else point.value for point in line.points])
    axes.plot(xs, values, color=plots.MUTED, linewidth=0.8)
    shapes = {Change.WORSE: "^", Change.BETTER: "v", Change.DIFFERS: "D"}
    for x, point in zip(xs, line.points, strict=True):
        change = point.step or point.drift
        colour = _COLOURS[change] if change else plots.PALETTE[0]
        if point.low is not None and point.high is not None:
            axes.plot([x, x], [point.low, point.high], color=colour, linewidth=2)
        if point.value is not None:
            axes.plot([x], [point.value], shapes[change] if change else "o", color=colour, markersize=6)
    axes.set_title(line.metric)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    if line.metric == "success_rate":
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=1))
    axes.grid(visible=True, axis="y")
