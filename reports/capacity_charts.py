"""The pictures of a capacity report: data in, a chart with its words out. Judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from resilience.eventlog.vocabulary import Verdict

from . import formatting, plots
from .charts import Chart, report_style, svg_of
from .sweep import Sensitivity, StormCurve, Sweep, amount

if TYPE_CHECKING:
    from .capacity import CapacityReport, Level

_COLOURS = {Verdict.PASS: "#009e73", Verdict.FAIL: "#d55e00"}
_SHAPES = {Verdict.PASS: "o", Verdict.FAIL: "X"}
_DIGITS = FuncFormatter(lambda value, _: amount(value))
_HELD = 0.95
"""The share connected that is named in the words of a storm."""


def capacity_charts(report: CapacityReport) -> list[Chart]:
    """Every chart for which the sweep has data."""
    sweep = report.sweep
    with report_style():
        drawn = [_scan("Target by capacity", report.levels, sweep.decision.unit, sweep)]
        if sweep.storm:
            drawn.insert(0, _storm(sweep.storm, sweep))
        if len(report.loads) > 1 and sweep.load:
            drawn.append(_scan("Target by load, at the answer", report.loads, sweep.load.unit, sweep))
        if len(sweep.recoveries) > 1:
            drawn.append(_recovery_times(sweep))
        if sweep.sensitivities:
            drawn.append(_sensitivities(sweep))
    return drawn


def _storm(storm: StormCurve, sweep: Sweep) -> Chart:
    t = np.asarray(storm.seconds)
    fig = Figure(figsize=(10, 6.4), layout="constrained")
    top, middle, low = fig.subplots(3, 1, sharex=True)
    connected = np.asarray(storm.connected) / sweep.participants
    top.plot(t, connected, color=plots.PALETTE[0])
    top.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    top.set_ylabel("connected")
    middle.plot(t, storm.joins_per_s, color=plots.PALETTE[1])
    middle.axhline(storm.capacity_per_s, color=plots.INK, linewidth=1, linestyle="dashed")
    middle.text(
        t[-1], storm.capacity_per_s, f"capacity {amount(storm.capacity_per_s)} per second", ha="right", va="bottom"
    )
    middle.set_ylabel("joins per second")
    middle.yaxis.set_major_formatter(_DIGITS)
    low.plot(t, storm.queue_s, color=plots.PALETTE[2])
    low.set_ylabel("queued work, s")
    low.set_xlabel("seconds since the trigger")
    reached = np.flatnonzero(connected >= _HELD)
    lowest = int(np.argmin(connected))
    again = [i for i in reached if i > lowest]
    back = f"{t[again[0]]:g} s" if again else "never"
    return Chart(
        f"Storm curve with {amount(storm.decision)} {sweep.decision.unit}",
        "Connected participants, joins per second against capacity (dashed), and seconds of queued work.",
        f"Over {t[-1]:g} s the share connected falls to {formatting.percent(float(connected[lowest]))} and is back at "
        f"95 % after {back}; at most {max(storm.joins_per_s):,.0f} joins per second against a capacity of "
        f"{amount(storm.capacity_per_s)}; at most {max(storm.queue_s):.2f} s of queued work.",
        svg_of(fig),
    )


def _scan(title: str, levels: tuple[Level, ...], unit: str, sweep: Sweep) -> Chart:
    target = sweep.target
    fig = Figure(figsize=(10, 3.6), layout="constrained")
    axes = fig.add_subplot()
    for level in levels:
        colour = _COLOURS.get(level.verdict, plots.MUTED)
        if level.low is not None and level.high is not None:
            axes.plot([level.at, level.at], [level.low, level.high], color=colour, linewidth=2.4)
        axes.plot([level.at], [level.value], _SHAPES.get(level.verdict, "D"), color=colour, markersize=7)
    axes.axhline(target.threshold, color=plots.INK, linewidth=1, linestyle="dashed")
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(_DIGITS)
    axes.set_ylabel(target.metric)
    if target.metric == "success_rate":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=True, axis="y")
    limit = formatting.metric_value(target.metric, target.threshold)
    said = "; ".join(
        f"{amount(level.at)}: {formatting.metric_value(target.metric, level.value)}, {level.verdict.value}"
        for level in sorted(levels, key=lambda level: level.at)
    )
    return Chart(
        title,
        f"Mean over replications with its bounds; dashed: the target, {limit}. Green dot: holds; orange cross: misses; "
        "grey diamond: not decided.",
        f"{target.metric} by {unit}, target {limit}: {said}.",
        svg_of(fig),
    )


def _recovery_times(sweep: Sweep) -> Chart:
    fig = Figure(figsize=(10, 3.6), layout="constrained")
    axes = fig.add_subplot()
    shares = {"50 %": "half", "95 %": "most", "99 %": "nearly_all", "100 %": "everyone"}
    said = []
    for place, (words, name) in enumerate(shares.items()):
        known = [(item.at, getattr(item, name)) for item in sweep.recoveries if getattr(item, name) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), "o-", color=plots.PALETTE[place], label=words)
            said.append(f"{words} from {known[0][1]:.1f} s at {amount(known[0][0])} to {known[-1][1]:.1f} s")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(sweep.decision.unit)
    axes.xaxis.set_major_formatter(_DIGITS)
    axes.set_ylabel("seconds from the end of the trigger")
    axes.grid(visible=True, axis="y")
    if said:
        axes.legend(title="back", loc="upper right")
    return Chart(
        f"Time to return by {sweep.decision.unit}",
        "Seconds from the end of the trigger until so many were back, means over the replications.",
        f"Time to return over {amount(sweep.recoveries[0].at)} to {amount(sweep.recoveries[-1].at)} "
        f"{sweep.decision.unit}: {'; '.join(said) or 'never all'}.",
        svg_of(fig),
    )


def _sensitivities(sweep: Sweep) -> Chart:
    items = sorted(sweep.sensitivities, key=lambda item: -abs(item.at_high - item.at_low))
    fig = Figure(figsize=(10, 0.9 + 0.42 * len(items)), layout="constrained")
    axes = fig.add_subplot()
    for y, item in enumerate(items):
        _tornado_bar(y, item, axes)
    axes.axvline(sweep.target.threshold, color=plots.INK, linewidth=1, linestyle="dashed")
    axes.set_yticks(range(len(items)), [f"{item.name}: {amount(item.low)} to {amount(item.high)}" for item in items])
    axes.set_ylim(len(items) - 0.5, -0.5)
    if sweep.target.metric == "success_rate":
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.set_xlabel(sweep.target.metric)
    axes.grid(visible=True, axis="x")
    metric = sweep.target.metric
    said = "; ".join(
        f"{item.name} from {amount(item.low)} to {amount(item.high)}: "
        f"{formatting.metric_value(metric, item.at_low)} to {formatting.metric_value(metric, item.at_high)}"
        for item in items
    )
    return Chart(
        "Sensitivity of the target to the assumptions",
        "Each bar moves one assumption from its low (ring) to its high value (dot), the others as planned; dashed: the "
        "target.",
        f"{metric} by assumption, the strongest first: {said}.",
        svg_of(fig),
    )


def _tornado_bar(y: int, item: Sensitivity, axes: Axes) -> None:
    colour = plots.PALETTE[0]
    axes.plot([item.at_low, item.at_high], [y, y], color=colour, linewidth=5, solid_capstyle="butt")
    axes.plot([item.at_low], [y], "o", color=colour, markersize=8, fillstyle="none", markeredgewidth=1.6)
    axes.plot([item.at_high], [y], "o", color=colour, markersize=8)
