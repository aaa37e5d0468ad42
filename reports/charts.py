"""The charts of comparisons: lays matplotlib's plots out and turns them into SVG text. Plots nothing itself.

The SVG is inlined: its few fixed colours become CSS variables, so that the page's light and dark themes apply to it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files

import matplotlib as mpl
import matplotlib.style
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from . import plots
from .drawings import sensible_limit
from .survival import RecoveryTimes
from .svg import Chart

__all__ = ["Chart", "gaps", "overlay", "report_style", "svg_of"]

_INKS = {plots.INK: "--ink", plots.MUTED: "--muted", plots.GRID: "--grid", "#8b949e": "--muted"}
_THEMED = _INKS | {colour: f"--series-{i}" for i, colour in enumerate(plots.PALETTE, 1)}
"""Fixed colour -> the page's CSS variable for it."""

_RASTER_DPI = 150


@contextmanager
def report_style() -> Iterator[None]:
    """The report's style for everything drawn inside the context."""
    with as_file(files(__package__).joinpath("house.mplstyle")) as path, mpl.style.context(["default", path]):
        yield


def overlay(lanes: dict[str, pd.DataFrame], deadline: float) -> Chart:
    """Recovery curves of several runs in one chart; ``lanes``: label -> affected rows of its episode frame."""
    with report_style():
        fig = Figure(figsize=(10, 3.9), layout="constrained")
        left, right = fig.subplots(1, 2, sharey=True)
        for axes, clock in ((left, "excess_s"), (right, "reconnection_s")):
            curves = {label: RecoveryTimes.of(rows, clock) for label, rows in lanes.items()}
            plots.recovery(curves, None, sensible_limit(list(curves.values()), deadline), axes)
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
