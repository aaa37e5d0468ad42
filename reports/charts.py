"""Turns the matplotlib figures of comparisons, trends and sweeps into SVG text in the report's style. Plots nothing.

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
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from . import plots
from .svg import Chart

__all__ = ["Chart", "report_style", "svg_of"]

_INKS = {plots.INK: "--ink", plots.MUTED: "--muted", plots.GRID: "--grid", "#8b949e": "--muted"}
_THEMED = _INKS | {colour: f"--series-{i}" for i, colour in enumerate(plots.PALETTE, 1)}
"""Fixed colour -> the page's CSS variable for it."""

_RASTER_DPI = 150


@contextmanager
def report_style() -> Iterator[None]:
    """The report's style for everything drawn inside the context."""
    with as_file(files(__package__).joinpath("house.mplstyle")) as path, mpl.style.context(["default", path]):
        yield


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
