"""The pictures of a run's page: functions of data that return SVG. Choose no data and write no caption.

Colours are Okabe and Ito's, by class; a meaning shown by colour is also shown by position, dash or label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.experiment.schedule import SERVER

from .states import CONNECTED, GAVE_UP, JOINING, RECONNECTING, ClientStates
from .summary import EventResult
from .survival import RecoveryTimes
from .svg import Floats, Panel, PanelMargins, as_percent, evenly, plain

WIDE, HALF = 960.0, 474.0
SERIES = 6
"""How many colours and dashes there are; a seventh series repeats the first."""

STATE_CSS = {CONNECTED: "connected", RECONNECTING: "reconnecting", GAVE_UP: "bad", JOINING: "joining"}
MAX_POINTS = 250
MAX_CROSSES = 25
_ROWS_HEIGHT = 470.0
_HEADROOM = 30.0
_LABEL_LETTERS = 27

Span = tuple[float, float]


def series_css(number: int) -> str:
    """Colour and dash of the series with this number."""
    return f"c{number % SERIES + 1} d{number % SERIES + 1}"


# --- connection states over time --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TimelineRow:
    """One drawn client: its number in the states, and its cohort."""

    who: int
    cohort: str


def timeline(states: ClientStates, rows: Sequence[TimelineRow], windows: pd.DataFrame, end: float) -> str:
    """One row per client in the given order, grouped by cohort, with the fault windows marked above their cohort."""
    thickness = float(np.clip(_ROWS_HEIGHT / max(len(rows), 1), 1.0, 16.0))
    groups = pd.Series([row.cohort for row in rows]).groupby([row.cohort for row in rows], sort=False).size()
    height = len(rows) * thickness + len(groups) * _HEADROOM
    panel = Panel((WIDE, height + 42), (0.0, max(end, 1e-9)), (height, 0.0), PanelMargins(4, 2, 8, 40))
    place: dict[int, float] = {}
    top = 0.0
    for cohort, size in groups.items():
        first = top + _HEADROOM
        members = [row.who for row in rows if row.cohort == cohort]
        place |= {who: first + (i + 0.5) * thickness for i, who in enumerate(members)}
        top = first + int(size) * thickness
        _cohort_marks(panel, str(cohort), windows, first)
    shown = states.of(np.asarray([row.who for row in rows], dtype=np.int64))
    y = np.asarray([place[int(who)] for who in shown.who], dtype=np.float64)
    for state, css in STATE_CSS.items():
        here = shown.state == state
        panel.rows(shown.start[here], shown.stop[here], y[here], thickness * 0.96, css)
    _fault_edges(panel, groups, thickness, windows)
    panel.x_axis("seconds since the run's start")
    return panel.markup()


def _cohort_marks(panel: Panel, cohort: str, windows: pd.DataFrame, first: float) -> None:
    """The cohort's name, and a bar with the kind's name for each fault on it."""
    panel.text(panel.left, float(panel.y.place(first)) - 16, cohort or "no cohort", "strong")
    for start, stop, kind in _marked(windows, cohort):
        x0, x1 = (float(value) for value in panel.x.place([start, stop]))
        y = float(panel.y.place(first)) - 4
        panel.mark(f"M{x0:g} {y:g}H{max(x1, x0 + 2):g}", "line ink thick")
        if x0 > panel.left + 7 * len(cohort) + 6:
            panel.text(x0, y - 5, kind, "small")


def _fault_edges(panel: Panel, groups: pd.Series, thickness: float, windows: pd.DataFrame) -> None:
    """Dotted lines over a cohort's rows where its faults begin and end."""
    top = 0.0
    for cohort, size in groups.items():
        first, top = top + _HEADROOM, top + _HEADROOM + int(size) * thickness
        low, high = (float(value) for value in panel.y.place([first, top]))
        times = [time for start, stop, _ in _marked(windows, str(cohort)) for time in (start, stop)]
        panel.mark("".join(f"M{x:g} {low - 4:g}V{high:g}" for x in panel.x.place(times)), "line ink dotted")


def _marked(windows: pd.DataFrame, cohort: str) -> list[tuple[float, float, str]]:
    here = windows[windows["place"].isin([cohort, SERVER])].dropna(subset=["fault_at"])
    stops = here["healed_at"].fillna(here["fault_at"])
    return [
        (float(start), float(stop), str(kind))
        for start, stop, kind in zip(here["fault_at"], stops, here["kind"], strict=True)
    ]


# --- time to recovery -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """Bounds of a recovered share at some times, seconds."""

    seconds: Floats
    low: Floats
    high: Floats


def recovery(
    curves: Mapping[str, RecoveryTimes], bands: Mapping[str, Band], target: float | None, limit: float, title: str
) -> str:
    """The recovered share over time, a step curve per name, with a band where there is one, up to ``limit`` s."""
    panel = Panel((HALF, 300), (0.0, limit), (0.0, 1.0))
    panel.title(title)
    panel.y_axis(as_percent)
    for number, name in enumerate(curves):
        if name in bands:
            x, low, high = _extended(bands[name].seconds, limit, bands[name].low, bands[name].high)
            panel.step_area(x, low, high, f"pale {series_css(number)}")
    for number, times in enumerate(curves.values()):
        x, share = _extended(times.curve.seconds, limit, times.curve.share)
        panel.steps(x, share, f"thick {series_css(number)}")
    if target is not None:
        panel.rule_y(target, "ink dotted")
        panel.text(panel.right, float(panel.y.place(target)) + 14, f"target {as_percent(target)}", "muted end")
    panel.x_axis("seconds", count=6)
    return panel.markup()


def _extended(seconds: Floats, limit: float, *values: Floats) -> tuple[Floats, ...]:
    """The curve from 0 at time 0 to its last value at ``limit``."""
    inside = seconds <= limit
    x = np.concatenate([[0.0], seconds[inside], [limit]])
    kept = [column[inside] for column in values]
    return x, *(np.concatenate([[0.0], column, column[-1:] if len(column) else [0.0]]) for column in kept)


def sensible_limit(times: Sequence[RecoveryTimes], deadline: float) -> float:
    """The end of the x axis of recovery curves, seconds: a little after the last return, at most the deadline."""
    longest = max((float(t.seconds[t.returned].max(initial=0.0)) for t in times), default=0.0)
    return min(max(longest * 1.12, 0.2), deadline) if longest else deadline


def spread(groups: Mapping[str, RecoveryTimes], deadline: float, title: str) -> str:
    """One row per name: dots, the middle half a bar, median and p95 ticks, and a cross for each that is not back."""
    limit = sensible_limit(list(groups.values()), deadline)
    panel = Panel((HALF, 68 + 62 * len(groups)), (0.0, limit), (len(groups) - 0.5, -0.5), PanelMargins(74, 26, 30, 38))
    panel.title(title)
    panel.x_grid(6)
    for row, (name, times) in enumerate(groups.items()):
        panel.text(panel.left - 8, float(panel.y.place(row)) + 4, name, "end")
        dots = shown_times(times)
        panel.dots(dots, row + 0.1 + _jitter(len(dots), 0.4), f"faint c{row % SERIES + 1}")
        _marks(panel, times, row + 0.1)
        words = f"median {_short(times.curve.quantile(0.5))}, p95 {_short(times.curve.quantile(0.95))}"
        panel.text(panel.right, float(panel.y.place(row - 0.29)), words, "small end")
        if times.censored:
            lost = min(times.censored, MAX_CROSSES)
            y = panel.y.place(row + 0.1 + _jitter(lost, 0.5))
            panel.mark("".join(f"M{panel.right + 4:g} {v - 3:g}l6 6m-6 0l6 -6" for v in y), "line bad")
            panel.text(panel.right, float(panel.y.place(row + 0.46)), f"{times.censored:,} not back", "small bad end")
    panel.x_axis("seconds", count=6)
    return panel.markup()


def shown_times(times: RecoveryTimes) -> Floats:
    """The drawn times of return: all, or the slowest fifth of ``MAX_POINTS`` and an even selection of the others."""
    back = np.sort(times.seconds[times.returned])
    if len(back) <= MAX_POINTS:
        return back
    slowest = MAX_POINTS // 5
    others = back[:-slowest]
    return np.concatenate([others[evenly(len(others), MAX_POINTS - slowest)], back[-slowest:]])


def _jitter(count: int, width: float) -> Floats:
    """Offsets by the golden ratio's sequence: even, and the same each time."""
    return np.asarray((np.arange(count) * 0.618034 % 1 - 0.5) * width, dtype=np.float64)


def _short(seconds: float) -> str:
    """``0.34 s``, ``2 ms``, or "not reached"."""
    if not math.isfinite(seconds):
        return "not reached"
    return f"{seconds:.2f} s" if seconds >= 0.01 or not seconds else f"{seconds * 1000:.2g} ms"  # noqa: PLR2004 - 10 ms


def _marks(panel: Panel, times: RecoveryTimes, row: float) -> None:
    quarter, median, upper, p95 = (times.curve.quantile(level) for level in (0.25, 0.5, 0.75, 0.95))
    y = float(panel.y.place(row))
    if math.isfinite(upper):
        x0, x1 = (float(value) for value in panel.x.place([quarter, upper]))
        panel.mark(f"M{x0:g} {y:g}H{max(x1, x0 + 1):g}", "line ink thick")
    for at, reach in ((median, 10), (p95, 6)):
        if math.isfinite(at):
            panel.mark(f"M{float(panel.x.place(at)):g} {y - reach:g}v{2 * reach}", "line ink")


# --- event by event ---------------------------------------------------------------------------------------------------


def event_label(event: EventResult) -> str:
    """``cut alpha, 8 s``: kinds, cohorts and start."""
    return f"{'+'.join(event.kinds)} {'+'.join(event.cohorts)}, {event.started_at:.0f} s"


def _shortened(label: str) -> str:
    """A label that fits next to its row, its start kept."""
    words, _, start = label.rpartition(", ")
    most = _LABEL_LETTERS - len(start) - 2
    return label if len(words) <= most else f"{words[: most - 1]}…, {start}"


def event_shares(events: Sequence[EventResult], target: float | None) -> str:
    """The share restored in each event, one row each, with its interval."""
    least = min([event.low for event in events if event.low is not None] + [target or 1.0])
    low = max(math.floor((least - 0.02) * 20) / 20, 0.0)
    labels = [f"{event.restored:,}/{event.affected:,}" for event in events]
    panel = _event_panel(events, (low, 1.0), "share restored", labels)
    for row, event in enumerate(events):
        share = event.restored / event.affected
        _event_mark(panel, row, (share, event.low, event.high), is_bad=event.restored < event.affected)
        panel.text(panel.right + 6, float(panel.y.place(row)) + 4, labels[row], "small" if share == 1 else "small bad")
    if target is not None:
        panel.rule_x(target, "ink dotted")
    panel.x_axis("share of the affected, with its interval", as_percent, 5)
    return panel.markup()


def event_excess(events: Sequence[EventResult]) -> str:
    """The mean excess of each event, one row each, with its interval."""
    known = [value for event in events for value in (event.excess_mean, event.excess_high) if value is not None]
    labels = [_short(event.excess_mean or 0.0) for event in events]
    panel = _event_panel(
        events, (0.0, max(max(known, default=0.0) * 1.1, 0.1)), "restricted mean of the excess", labels
    )
    for row, event in enumerate(events):
        bounds = (event.excess_mean, event.excess_low, event.excess_high)
        _event_mark(panel, row, bounds, is_bad=event.restored < event.affected)
        panel.text(panel.right + 6, float(panel.y.place(row)) + 4, labels[row], "small")
    panel.x_axis("seconds, with its interval", count=5)
    return panel.markup()


def _event_panel(events: Sequence[EventResult], x: Span, title: str, labels: Sequence[str]) -> Panel:
    """The axes with each event's name on the left, and room for its label on the right."""
    size = (HALF, 70 + 22 * len(events))
    panel = Panel(size, x, (len(events) - 0.4, -0.6), PanelMargins(176, 26, 12 + 6.4 * max(map(len, labels)), 38))
    panel.title(title)
    panel.x_grid(5)
    for row, event in enumerate(events):
        place = float(panel.y.place(row)) + 4
        panel.text(panel.left - 8, place, _shortened(event_label(event)), "small end")
    return panel


def _event_mark(
    panel: Panel, row: int, bounds: tuple[float | None, float | None, float | None], *, is_bad: bool
) -> None:
    value, low, high = bounds
    css = "bad" if is_bad else "c1"
    if low is not None and high is not None:
        panel.rows([low], [high], [row], 3, css)
    if value is not None:
        panel.dots([value], [row], css, 8)


# --- load and health over time ----------------------------------------------------------------------------------------


def over_time(  # noqa: PLR0913 - the parts of a picture
    title: str, edges: Floats, y: Span, faults: Sequence[Span], *, note: str = "", last: bool = False
) -> Panel:
    """An empty panel over the run's time, faults shaded; ``last``: with the words of the time axis.

    The scale of ``y`` is logarithmic if it does not begin at 0.
    """
    size, bottom = (WIDE, 170.0 if last else 148.0), 38.0 if last else 22.0
    panel = Panel(size, (0.0, float(edges[-1])), y, PanelMargins(52, 26, 12, bottom), log_y=y[0] > 0)
    panel.shade_x(faults)
    panel.title(title, note)
    panel.y_axis(count=3)
    panel.x_axis("seconds since the run's start" if last else "", count=10)
    return panel


def curve(panel: Panel, edges: Floats, values: Floats, css: str) -> None:
    """One value per bin as a step curve."""
    panel.steps(edges, np.append(values, values[-1:]), css)


def stacked(panel: Panel, edges: Floats, counts: Floats) -> None:
    """One bar per bin, the rows of ``counts`` on top of each other."""
    base = np.zeros(counts.shape[1])
    for number, row in enumerate(counts):
        panel.bars(edges[:-1], edges[1:], base, base + row, f"fill c{number % SERIES + 1}")
        base = base + row


# --- distributions ----------------------------------------------------------------------------------------------------


def attempts(counts: Mapping[str, Floats], cap: int, *, capped: bool) -> str:
    """Stacked bars of dials per episode. ``counts``: for each kind, episodes by dials from 0 to ``cap``."""
    total = np.sum(list(counts.values()), axis=0)
    low = -0.6 if total[0] else 0.4
    panel = Panel((HALF, 280), (low, cap + 0.6), (0.0, max(float(total.max()) * 1.05, 1.0)))
    panel.title("episodes")
    panel.y_axis(count=4)
    base = np.zeros(cap + 1)
    places = np.arange(cap + 1)
    for number, heights in enumerate(counts.values()):
        panel.bars(places - 0.38, places + 0.38, base, base + heights, f"fill c{number % SERIES + 1}")
        base = base + heights
    note = f" ({cap} = {cap} or more)" if capped else ""
    panel.x_axis(f"dials from the loss to the end of the episode{note}", count=10, whole=True)
    return panel.markup()


def round_trips(milliseconds: Floats, quantiles: Sequence[float]) -> str:
    """Round trips in milliseconds on a logarithmic axis, with the quantiles marked."""
    low, high = float(milliseconds.min()) * 0.9, float(milliseconds.max()) * 1.1
    bins = np.geomspace(low, high, 61)
    counts = np.histogram(milliseconds, bins)[0]
    panel = Panel((HALF, 280), (low, high), (0.0, max(float(counts.max()) * 1.05, 1.0)), log_x=True)
    panel.title("heartbeats")
    panel.y_axis(count=4)
    panel.bars(bins[:-1], bins[1:], np.zeros(len(counts)), counts, "fill c1")
    for value in quantiles:
        panel.rule_x(value, "ink dotted")
    panel.x_axis("round trip, milliseconds", plain)
    return panel.markup()
