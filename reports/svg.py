"""Marks on scaled axes as SVG, and a picture with its words. Knows no run, no statistics, no colour but class names.

The page's style sheet gives the classes their colours, so that one picture fits the light, the dark and the printed
page. Coordinates are rounded to a tenth of a unit, and curves lose the points that fall on the same place, so that the
size of a picture follows its resolution and not the number of values.

Classes: ``c1`` to ``c6`` are the series' colours, ``ink``, ``muted`` and ``bad`` the page's; ``line`` strokes, ``fill``
fills, ``pale`` fills lightly, ``d1`` to ``d6`` are dashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_CLOSE = 1e-9


@dataclass(frozen=True)
class Chart:
    """One chart for a page: ``svg`` is markup without a document around it; ``alt`` describes it in words.

    ``legend``: class and words of each swatch; ``columns``: how many panels stand side by side where there is room.
    """

    title: str
    caption: str
    alt: str
    svg: str
    wide: bool = True
    legend: tuple[tuple[str, str], ...] = ()
    columns: int = 1


@dataclass(frozen=True)
class Scale:
    """Maps ``low``..``high`` in data to ``start``..``stop`` in the picture's units; logarithmic if ``log``."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def place(self, values: ArrayLike) -> Floats:
        """The values' places; what lies outside the scale is moved to its nearer end."""
        at = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.log:
            at, low, high = np.log10(at), math.log10(low), math.log10(high)
        share = (at - low) / (high - low) if high > low else np.zeros_like(at)
        return np.round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, count: int) -> list[float]:
        """About ``count`` round values on the scale."""
        decades = log_ticks(self.low, self.high) if self.log else []
        return decades if len(decades) > 1 else ticks(self.low, self.high, count)


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 values from ``low`` to ``high``: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (high - low) / max(count, 1)
    if not rough > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * (1 - _CLOSE))
    first = math.ceil(low / step - _CLOSE)
    last = math.floor(high / step + _CLOSE)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between ``low`` and ``high``; powers alone if they span many decades."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1.0, 2.0, 5.0) if len(decades) <= 4 else (1.0,)  # noqa: PLR2004 - what fits an axis
    values = [factor * 10.0**decade for decade in decades for factor in factors]
    return [value for value in values if low <= value <= high]


def plain(value: float) -> str:
    """``0.05``, ``5``, ``1,200``: significant digits only."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004 - from there on commas help


def as_percent(value: float) -> str:
    """``95 %``."""
    return f"{value * 100:g} %"


@dataclass(frozen=True)
class PanelMargins:
    """The room around the marks, in the picture's units."""

    left: float = 46
    top: float = 26
    right: float = 12
    bottom: float = 38


class Panel:
    """One pair of axes. ``x`` and ``y`` are (low, high) in data; y grows upwards unless its ends are swapped."""

    def __init__(  # noqa: PLR0913 - a size, two scales and their kinds
        self,
        size: tuple[float, float],
        x: tuple[float, float],
        y: tuple[float, float],
        margins: PanelMargins | None = None,
        *,
        log_x: bool = False,
        log_y: bool = False,
    ) -> None:
        self.width, self.height = size
        edge = margins or PanelMargins()
        self.left, self.right = edge.left, self.width - edge.right
        self.top, self.bottom = edge.top, self.height - edge.bottom
        self.x = Scale(*x, self.left, self.right, log_x)
        low, high = y
        falls = low > high
        ends = (self.top, self.bottom) if falls else (self.bottom, self.top)
        self.y = Scale(min(y), max(y), *ends, log_y)
        box = f"0 0 {self.width:g} {self.height:g}"
        self.root = ET.Element("svg", {"viewBox": box, "aria-hidden": "true", "focusable": "false"})

    # --- axes and words -----------------------------------------------------------------------------------------------

    def title(self, words: str, note: str = "") -> None:
        """What the panel shows, above it on the left; ``note`` on the right."""
        self.text(self.left, self.top - 10, words, "strong")
        if note:
            self.text(self.right, self.top - 10, note, "muted end")

    def x_axis(self, label: str, form: Callable[[float], str] = plain, count: int = 8, *, whole: bool = False) -> None:
        """The lower axis with its ticks and what it measures; ``whole``: ticks at whole numbers only."""
        self.mark(f"M{self.left:g} {self.bottom:g}H{self.right:g}", "line axis")
        values = [value for value in self.x.ticks(count) if not whole or value.is_integer()]
        for value, place in zip(values, self.x.place(values), strict=True):
            self.mark(f"M{place:g} {self.bottom:g}v4", "line axis")
            self.text(float(place), self.bottom + 16, form(value), "muted middle")
        self.text((self.left + self.right) / 2, self.bottom + 32, label, "muted middle")

    def y_axis(self, form: Callable[[float], str] = plain, count: int = 5) -> None:
        """Horizontal lines with their values on the left."""
        values = self.y.ticks(count)
        places = self.y.place(values)
        self.mark("".join(f"M{self.left:g} {place:g}H{self.right:g}" for place in places), "line grid")
        for value, place in zip(values, places, strict=True):
            self.text(self.left - 6, float(place) + 4, form(value), "muted end")

    def x_grid(self, count: int = 8) -> None:
        """Vertical lines at the ticks of the lower axis."""
        places = self.x.place(self.x.ticks(count))
        self.mark("".join(f"M{place:g} {self.top:g}V{self.bottom:g}" for place in places), "line grid")

    def text(self, x: float, y: float, words: str, css: str = "") -> None:
        """Words at a place in the picture's units; classes ``end``, ``middle``, ``strong`` and colours apply."""
        node = ET.SubElement(self.root, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}"})
        if css:
            node.set("class", css)
        node.text = words

    # --- marks --------------------------------------------------------------------------------------------------------

    def steps(self, x: ArrayLike, y: ArrayLike, css: str) -> None:
        """A curve that keeps each value until the next ``x``."""
        px, py = kept_steps(self.x.place(x), self.y.place(y))
        if len(px):
            moves = "".join(f"H{a:g}V{b:g}" for a, b in zip(px[1:], py[1:], strict=True))
            self.mark(f"M{px[0]:g} {py[0]:g}{moves}", f"line {css}")

    def step_area(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, css: str) -> None:
        """The area between two such curves."""
        px, upper, lower = self.x.place(x), self.y.place(high), self.y.place(low)
        up, down = kept_steps(px, upper), kept_steps(px, lower)
        if not len(px):
            return
        there = "".join(f"H{a:g}V{b:g}" for a, b in zip(up[0][1:], up[1][1:], strict=True))
        back = "".join(f"V{b:g}H{a:g}" for a, b in zip(down[0][-2::-1], down[1][-2::-1], strict=True))
        self.mark(f"M{px[0]:g} {up[1][0]:g}{there}{back}Z", css)

    def bars(self, left: ArrayLike, right: ArrayLike, low: ArrayLike, high: ArrayLike, css: str) -> None:
        """Rectangles, all in one path."""
        x0, x1, y0, y1 = self.x.place(left), self.x.place(right), self.y.place(low), self.y.place(high)
        parts = (
            f"M{a:g} {c:g}H{b:g}V{d:g}H{a:g}Z" for a, b, c, d in zip(x0, x1, y0, y1, strict=True) if a != b and c != d
        )
        self.mark("".join(parts), css)

    def rows(self, start: ArrayLike, stop: ArrayLike, y: ArrayLike, thickness: float, css: str) -> None:
        """Horizontal strokes of this thickness; one shorter than half a unit is drawn half a unit long."""
        x0, x1, py = self.x.place(start), self.x.place(stop), self.y.place(y)
        lengths = np.maximum(np.round(x1 - x0, 1), 0.5)
        path = "".join(f"M{a:g} {b:g}h{c:g}" for a, b, c in zip(x0, py, lengths, strict=True))
        self.mark(path, f"line {css}", thickness)

    def dots(self, x: ArrayLike, y: ArrayLike, css: str, size: float = 4) -> None:
        """Round dots, all in one path."""
        places = zip(self.x.place(x), self.y.place(y), strict=True)
        self.mark("".join(f"M{a:g} {b:g}h0" for a, b in places), f"line round {css}", size)

    def crosses(self, x: ArrayLike, y: ArrayLike, css: str) -> None:
        """Small diagonal crosses, for what failed."""
        places = zip(self.x.place(x), self.y.place(y), strict=True)
        self.mark("".join(f"M{a - 3:g} {b - 3:g}l6 6m-6 0l6 -6" for a, b in places), f"line {css}")

    def rule_x(self, value: float, css: str) -> None:
        """A vertical line."""
        self.mark(f"M{self.x.place(value):g} {self.top:g}V{self.bottom:g}", f"line {css}")

    def rule_y(self, value: float, css: str) -> None:
        """A horizontal line."""
        self.mark(f"M{self.left:g} {self.y.place(value):g}H{self.right:g}", f"line {css}")

    def shade_x(self, spans: Iterable[tuple[float, float]]) -> None:
        """Grey behind the marks from one time to another; an instant is drawn as a thin line."""
        for start, stop in spans:
            x0, x1 = (float(v) for v in self.x.place([start, stop]))
            self.mark(f"M{x0:g} {self.top:g}H{max(x1, x0 + 1):g}V{self.bottom:g}H{x0:g}Z", "shade")

    def markup(self) -> str:
        """The picture as an SVG element."""
        return ET.tostring(self.root, encoding="unicode")

    def mark(self, data: str, css: str, thickness: float | None = None) -> None:
        """A path in the picture's units; nothing if it is empty. ``thickness`` replaces that of its class."""
        if data:
            node = ET.SubElement(self.root, "path", {"d": data, "class": css})
            if thickness is not None:
                node.set("style", f"stroke-width:{thickness:.3g}px")


def kept_steps(px: Floats, py: Floats) -> tuple[Floats, Floats]:
    """The points of a step curve without those that change nothing at the picture's resolution.

    Of several points at one place the last is kept, and of a constant stretch its two ends.
    """
    if len(px) <= 2:  # noqa: PLR2004 - both ends stay
        return px, py
    last_here = np.append(np.diff(px) != 0, True)
    last_here[0] = True
    px, py = px[last_here], py[last_here]
    changes = np.concatenate([[True], np.diff(py) != 0])
    changes[-1] = True
    return px[changes], py[changes]


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``count`` indices, spread evenly and with both ends."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.int64))[:count]


def widest(values: Sequence[float], least: float) -> float:
    """The largest finite value with a little room above it, and no less than ``least``."""
    finite = [value for value in values if math.isfinite(value)]
    return max(max(finite, default=0.0) * 1.12, least)
