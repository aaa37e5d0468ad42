"""Lays the plots out and turns them into SVG text for a page. Knows sizes and captions; plots nothing itself.

The SVG is inlined: its few fixed colours become CSS variables, so that the page's light and dark themes apply to it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from resilience.eventlog.vocabulary import LogEventKind

from . import plots
from .episodes import state_segments
from .frames import RunHistory
from .survival import RecoveryTimes
from .windows import windows_frame

_INKS = {plots.INK: "--ink", plots.MUTED: "--muted", plots.GRID: "--grid", "#8b949e": "--muted"}
_THEMED = _INKS | {colour: f"--series-{i}" for i, colour in enumerate(plots.PALETTE, 1)}
"""Fixed colour -> the page's CSS variable for it."""

_RASTER_DPI = 150
_VISIBLE = 0.0005
"""Share of all time below which a state is left out of the legend."""


@dataclass(frozen=True)
class Chart:
    """One chart for a page: ``svg`` is markup without a document around it; ``alt`` describes it in words."""

    title: str
    caption: str
    alt: str
    svg: str
    wide: bool = True


@contextmanager
def report_style() -> Iterator[None]:
    """The report's style for everything drawn inside the context."""
    with as_file(files(__package__).joinpath("house.mplstyle")) as path, mpl.style.context(["default", path]):
        yield


def run_charts(log: RunHistory, episodes: pd.DataFrame) -> list[Chart]:
    """Every chart of one run for which there is data."""
    if episodes.empty and not log.of(LogEventKind.SESSION_JOINED):
        return []
    affected = episodes[episodes["affected"]]
    with report_style():
        drawn = [_timeline(log)]
        if len(affected):
            drawn += [_recovery(log, affected), _spread(log, affected), _attempts(affected), _returns(log, affected)]
        drawn += [_round_trips(log)]
    return [chart for chart in drawn if chart is not None]


def _timeline(log: RunHistory) -> Chart | None:
    segments = state_segments(log)
    if segments.empty:
        return None
    rows = plots.timeline_rows(segments)
    everybody = segments["participant"].nunique()
    fig = Figure(figsize=(10, min(2.2 + 0.5 * rows["cohort"].nunique() + len(rows) * 0.013, 8.5)), layout="constrained")
    axes = fig.add_subplot()
    plots.timeline(segments, windows_frame(log), log.end, axes)
    length = (segments["stop"] - segments["start"]).groupby(segments["state"]).sum()
    used = [state for state in plots.STATE_COLOURS if length.get(state, 0.0) > length.sum() * _VISIBLE]
    handles = [Patch(color=plots.STATE_COLOURS[state], label=plots.STATE_WORDS[state]) for state in used]
    fig.legend(handles=handles, loc="outside upper right", ncols=4)
    thinned = "" if len(rows) == everybody else f" Every row stands for about {everybody / len(rows):.0f} participants."
    return Chart(
        "Connection states over time",
        f"One row per participant, grouped by cohort; bars and dotted lines mark each fault.{thinned}",
        f"Timeline of {everybody} participants over {log.end:.0f} seconds; the share reconnecting rises at each fault.",
        svg_of(fig),
    )


def _by_kind(affected: pd.DataFrame, clock: str) -> dict[str, RecoveryTimes]:
    kinds = sorted(affected["kind"].astype(str).unique())
    return {kind: RecoveryTimes.of(affected[affected["kind"] == kind], clock) for kind in kinds}


def _recovery(log: RunHistory, affected: pd.DataFrame) -> Chart:
    deadline = log.experiment.statistics.deadline
    rates = [item.threshold for item in log.experiment.expectations if item.metric == "success_rate"]
    fig = Figure(figsize=(10, 3.9), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True)
    for axes, clock, title in ((left, "excess_s", "from the heal"), (right, "downtime_s", "from the fault")):
        curves = _by_kind(affected, clock)
        limit = plots.sensible_limit(list(curves.values()), deadline)
        plots.recovery(curves, max(rates, default=None), limit, axes)
        axes.set_title(f"back, counted {title}")
        axes.set_xlabel(
            "seconds since the link was usable again" if clock == "excess_s" else "seconds since the link was cut"
        )
    left.set_ylabel("share of affected participants back")
    if rates:
        plots.target_label(max(rates), right)
    fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return Chart(
        "Time to recovery",
        "Share of affected participants with a restored session, one curve per kind of fault (one minus "
        "Kaplan-Meier; clients that never return stay in it). Bands: pointwise 95 %, drops taken as independent.",
        _recovery_words(affected),
        svg_of(fig),
    )


def _recovery_words(affected: pd.DataFrame) -> str:
    curves = _by_kind(affected, "excess_s")
    parts = [f"{kind}: half back after {times.curve.quantile(0.5):.2f} s" for kind, times in curves.items()]
    return "Recovery curves counted from the heal and from the fault. Counted from the heal, " + "; ".join(parts) + "."


def _spread(log: RunHistory, affected: pd.DataFrame) -> Chart:
    deadline = log.experiment.statistics.deadline
    fig = Figure(figsize=(10, 1.2 + 0.8 * affected["kind"].nunique()), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True)
    plots.spread(_by_kind(affected, "detection_s"), deadline, left)
    plots.spread(_by_kind(affected, "excess_s"), deadline, right)
    left.set_title("detection: link cut → loss noticed")
    right.set_title("excess: link usable → restored")
    for axes in (left, right):
        axes.set_xlabel("seconds")
    return Chart(
        "Detection time and excess time",
        "Dot: one episode; thick bar: the middle half; long tick: the median; short tick: the 95th percentile.",
        "Detection and excess times per kind of fault as strips with median and 95th percentile.",
        svg_of(fig),
    )


def _attempts(affected: pd.DataFrame) -> Chart:
    fig = Figure(figsize=(4.9, 3.3), layout="constrained")
    plots.attempts(affected[["kind", "attempts"]], fig.add_subplot())
    mean = float(affected["attempts"].mean())
    return Chart(
        "Attempts",
        "Dials per affected episode, including episodes without recovery.",
        f"Histogram of dials per episode; the mean is {mean:.1f}.",
        svg_of(fig),
        wide=False,
    )


def _returns(log: RunHistory, affected: pd.DataFrame) -> Chart:
    fig = Figure(figsize=(10, 2.6), layout="constrained")
    restored = affected["restored_at"].dropna().to_numpy(dtype=np.float64)
    plots.returns_per_second(restored, log.end, log.experiment.server.join_capacity, fig.add_subplot())
    return Chart(
        "Reconnection load",
        "Sessions restored per second, against the join capacity stated for the server.",
        f"Reconnections per second over the run; {len(restored)} in total.",
        svg_of(fig),
    )


def _round_trips(log: RunHistory) -> Chart | None:
    values = [event.value for event in log.of(LogEventKind.HEARTBEAT_ACKED) if event.value is not None]
    if not values:
        return None
    fig = Figure(figsize=(4.9, 3.3), layout="constrained")
    plots.round_trips(np.asarray(values, dtype=np.float64), fig.add_subplot())
    return Chart(
        "Heartbeat round trips",
        f"{len(values):,} heartbeats answered: ping sent → pong received, by the server's clock.",
        f"Histogram of {len(values)} heartbeat round trips in milliseconds.",
        svg_of(fig),
        wide=False,
    )


def overlay(lanes: dict[str, pd.DataFrame], deadline: float) -> Chart:
    """Recovery curves of several runs in one chart; ``lanes``: label -> affected rows of its episode frame."""
    with report_style():
        fig = Figure(figsize=(10, 3.9), layout="constrained")
        left, right = fig.subplots(1, 2, sharey=True)
        for axes, clock in ((left, "excess_s"), (right, "reconnection_s")):
            curves = {label: RecoveryTimes.of(rows, clock) for label, rows in lanes.items()}
            plots.recovery(curves, None, plots.sensible_limit(list(curves.values()), deadline), axes)
        left.set_title("excess: link usable again → restored")
        right.set_title("reconnection: loss noticed → restored")
        left.set_ylabel("share of affected participants back")
        fig.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4)
        for axes in (left, right):
            axes.set_xlabel("seconds")
        svg = svg_of(fig)
    return Chart(
        "Recovery curves of the compared runs",
        "Share of affected participants with a restored session (one minus Kaplan-Meier). Bands: pointwise 95 %.",
        f"Recovery curves of {len(lanes)} runs overlaid.",
        svg,
    )


def gaps(table: pd.DataFrame) -> Chart:
    """The relative differences of a comparison; columns as in :func:`reports.plots.forest`."""
    with report_style():
        fig = Figure(figsize=(10, 0.9 + 0.34 * len(table)), layout="constrained")
        plots.forest(table, fig.add_subplot())
        svg = svg_of(fig)
    return Chart("What changed", "Dot: relative change; line: its interval.", "Relative change per metric.", svg)


def svg_of(figure: Figure) -> str:
    """The figure as inline SVG: themed by CSS variables, scaled to its container, with no external resource."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, dpi=_RASTER_DPI, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", svg, count=3)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'aria-hidden="true" focusable="false"', svg, count=1)
    svg = re.sub(r"font: ([^;\"']*)'DejaVu Sans'[^;\"]*", r"font: \1var(--sans)", svg)
    for colour, variable in _THEMED.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg)
