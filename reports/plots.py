"""The pictures: functions of data and axes that return nothing. Know no file format; ``charts`` lays them out.

Colours are Okabe and Ito's. Whatever carries meaning by colour carries it by place or label as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from resilience.experiment.schedule import SERVER

from .stats import Floats
from .survival import RecoveryTimes, recovery_band

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dee4"
STATE_COLOURS = {"connected": "#9cc7e4", "reconnecting": "#e08e0b", "gave_up": "#b2182b", "joining": "#bfc7d0"}
STATE_WORDS = {"connected": "connected", "reconnecting": "reconnecting", "gave_up": "gave up", "joining": "joining"}
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.2)), "dashdot", (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))

MAX_ROWS = 420
"""More participants than this are thinned evenly, per cohort, before they are drawn."""

MAX_STEPS = 300
"""More steps of a curve than this are thinned evenly in the share that is back."""

MAX_POINTS = 250
"""More points of a strip than this are thinned evenly."""


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """One colour per name, in order; the palette repeats when it is used up (line dashes differ then)."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def seconds_label(value: float, _: object = None) -> str:
    """``0.05``, ``0.5``, ``5``, ``50``: as many digits as say something."""
    return f"{value:g}"


# --- who was where, when ----------------------------------------------------------------------------------------------


def timeline(segments: pd.DataFrame, windows: pd.DataFrame, end: float, axes: Axes) -> None:
    """Every participant a row, grouped by cohort, coloured by state, the fault windows marked above their cohort.

    ``segments``: :func:`reports.episodes.state_segments`; ``windows``: :func:`reports.windows.windows_frame`.
    """
    rows = timeline_rows(segments)
    shown = segments[segments["participant"].isin(rows.index)]
    y = shown["participant"].map(rows["y"]).to_numpy(dtype=float)
    for state, colour in STATE_COLOURS.items():
        mask = (shown["state"] == state).to_numpy()
        _bars(shown["start"].to_numpy()[mask], shown["stop"].to_numpy()[mask], y[mask], colour, axes)
    for number, (cohort, group) in enumerate(rows.groupby("cohort", sort=False)):
        low, high = float(group["y"].min()), float(group["y"].max()) + 1
        _fault_marks(windows[windows["place"].isin([cohort, SERVER])], low, high, axes)
        axes.text(0, low - 0.4, f" {cohort}", va="bottom", weight="bold", fontsize=9.5)
        if number:
            axes.axhline(low - _headroom(len(rows)) / 2, color=GRID, linewidth=0.8)
    axes.set_ylim(float(rows["y"].max()) + 1.5, -_headroom(len(rows)))
    axes.set_xlim(0, max(end, 1e-9))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("seconds since the run's start")


def _headroom(rows: int) -> float:
    return max(rows * 0.075, 1.2)


def timeline_rows(segments: pd.DataFrame) -> pd.DataFrame:
    """Participants that are drawn: ``cohort`` and row ``y``, by participant; thinned evenly above ``MAX_ROWS``."""
    people = segments.drop_duplicates("participant").sort_values(["cohort", "participant"], kind="stable")
    step = max(math.ceil(len(people) / MAX_ROWS), 1)
    kept = people[people.groupby("cohort").cumcount() % step == 0]
    gap = _headroom(len(kept))
    order = np.arange(len(kept)) + kept.groupby("cohort", sort=False).ngroup().to_numpy() * gap
    return pd.DataFrame({"cohort": kept["cohort"].to_numpy(), "y": order}, index=kept["participant"].to_numpy())


def _bars(start: Floats, stop: Floats, y: Floats, colour: str, axes: Axes) -> None:
    corners = np.stack(
        [np.stack([start, y], 1), np.stack([stop, y], 1), np.stack([stop, y + 1], 1), np.stack([start, y + 1], 1)],
        axis=1,
    )
    edge = 0.0 if colour == STATE_COLOURS["connected"] else 0.35
    axes.add_collection(
        PolyCollection(list(corners), facecolors=colour, edgecolors=colour, linewidths=edge, rasterized=True, zorder=2)
    )


def _fault_marks(windows: pd.DataFrame, low: float, high: float, axes: Axes) -> None:
    """A bracket over the rows for the length of the fault, its name above, its edges drawn through."""
    for window in windows.dropna(subset=["fault_at"]).to_dict("records"):
        start = float(window["fault_at"])
        stop = start if pd.isna(window["healed_at"]) else float(window["healed_at"])
        axes.plot([start, stop], [low - 0.6, low - 0.6], color=INK, linewidth=3, solid_capstyle="butt", zorder=4)
        axes.vlines([start, stop], low - 0.6, high, color=INK, linewidth=0.7, linestyles="dotted", zorder=4)
        axes.text(start, low - 1.2, str(window["kind"]), va="bottom", ha="left", fontsize=8.5, color=INK, zorder=5)


# --- how fast they came back ------------------------------------------------------------------------------------------


def recovery(curves: Mapping[str, RecoveryTimes], target: float | None, limit: float, axes: Axes) -> None:
    """The share back over time, one step curve with its band per name; ``target`` as a line, x up to ``limit`` s."""
    for i, (name, times) in enumerate(curves.items()):
        curve, colour = times.curve, PALETTE[i % len(PALETTE)]
        kept = np.unique(np.linspace(0, max(len(curve.seconds) - 1, 0), MAX_STEPS).astype(int))[: len(curve.seconds)]
        x = np.concatenate([[0.0], curve.seconds[kept], [limit]])
        steps = [_stretched(values[kept]) for values in (curve.share, *recovery_band(times))]
        back = int(times.returned.sum())
        label = f"{name}: {back} of {len(times)}"
        axes.fill_between(x, steps[1], steps[2], step="post", color=colour, alpha=0.16, linewidth=0)
        axes.plot(x, steps[0], drawstyle="steps-post", color=colour, linestyle=DASHES[i % len(DASHES)], label=label)
    if target is not None:
        axes.axhline(target, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def target_label(target: float, axes: Axes) -> None:
    """The target's name, at the right end of its line."""
    axes.annotate(
        f"target\n{target:.0%}",
        (1, target),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=MUTED,
    )


def _stretched(values: Floats) -> Floats:
    last = values[-1:] if len(values) else np.zeros(1)
    return np.concatenate([[0.0], values, last])


def sensible_limit(times: Sequence[RecoveryTimes], deadline: float) -> float:
    """Where the x axis of recovery curves ends, seconds: a little after the last return, at most the deadline."""
    longest = max((float(t.seconds[t.returned].max(initial=0.0)) for t in times), default=0.0)
    return min(max(longest * 1.12, 0.2), deadline) if longest else deadline


def spread(groups: Mapping[str, RecoveryTimes], deadline: float, axes: Axes) -> None:
    """One row per name: every episode a dot, the middle half a bar, median and p95 marked and named, losses named."""
    limit = sensible_limit(list(groups.values()), deadline)
    for row, times in enumerate(groups.values()):
        seconds = np.sort(times.seconds[times.returned])
        dots = seconds[:: max(len(seconds) // MAX_POINTS, 1)]
        jitter = (np.arange(len(dots)) * 0.618034 % 1 - 0.5) * 0.42  # golden-ratio sequence: even, the same every time
        colour = PALETTE[row % len(PALETTE)]
        axes.plot(dots, row + jitter, "o", color=colour, markersize=2.8, alpha=0.6, markeredgewidth=0)
        _marks(times, row, axes)
        words = _spread_words(times)
        axes.text(limit, row - 0.27, words, ha="right", va="bottom", fontsize=8.5)
        if times.censored:
            note = f"{times.censored} not back"
            axes.text(limit, row + 0.27, note, ha="right", va="top", fontsize=8.5, color="#c0392b", weight="bold")
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.6)
    axes.set_xlim(-limit * 0.01, limit)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")


def _spread_words(times: RecoveryTimes) -> str:
    median, p95 = times.curve.quantile(0.5), times.curve.quantile(0.95)
    return f"median {_short(median)}, p95 {_short(p95)}"


def _short(seconds: float) -> str:
    """``0.34 s``, ``2 ms``, or that it was not reached."""
    if not math.isfinite(seconds):
        return "not reached"
    return f"{seconds:.2f} s" if seconds >= 0.01 or not seconds else f"{seconds * 1000:.2g} ms"  # noqa: PLR2004 - 10 ms


def _marks(times: RecoveryTimes, row: int, axes: Axes) -> None:
    quarter, median, upper, p95 = (times.curve.quantile(level) for level in (0.25, 0.5, 0.75, 0.95))
    if math.isfinite(upper):
        axes.plot([quarter, upper], [row, row], color=INK, linewidth=3.2, solid_capstyle="butt", zorder=4)
    for at, reach, width in ((median, 0.22, 2.0), (p95, 0.14, 1.2)):
        if math.isfinite(at):
            axes.plot([at, at], [row - reach, row + reach], color=INK, linewidth=width, zorder=5)


# --- how hard they tried ----------------------------------------------------------------------------------------------


def attempts(counts: pd.DataFrame, axes: Axes) -> None:
    """Stacked bars of dials per episode, one colour per kind of fault. ``counts``: kind, attempts, of affected rows."""
    kinds = sorted(counts["kind"].astype(str).unique())
    most = int(counts["attempts"].max())
    cap = min(most, 20)
    at_cap = counts["attempts"].clip(upper=cap).astype(int)
    base = np.zeros(cap + 1)
    for kind, colour in colour_of(kinds).items():
        heights = np.bincount(at_cap[counts["kind"] == kind], minlength=cap + 1).astype(float)
        axes.bar(np.arange(cap + 1), heights, 0.74, bottom=base, color=colour, label=kind)
        base += heights
    axes.set_xlim((0 if base[0] else 1) - 0.6, cap + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if most > cap:
        axes.set_xlabel(f"dials from the loss to the end of the episode ({cap} = {cap} or more)")
    else:
        axes.set_xlabel("dials from the loss to the end of the episode")
    axes.set_ylabel("episodes")
    axes.legend()


def returns_per_second(restored_at: Floats, end: float, capacity: float, axes: Axes) -> None:
    """Restored sessions per second over the run, with the peak named and the server's stated join capacity."""
    width = max(end / 240, 0.25)
    edges = np.arange(0.0, max(end, width) + width, width)
    rates = np.histogram(restored_at, edges)[0] / width
    axes.fill_between(edges[:-1], rates, step="post", color=PALETTE[0], alpha=0.85, linewidth=0)
    peak = int(rates.argmax())
    top = float(rates[peak])
    axes.set_title(f"peak {top:.0f}/s at {edges[peak]:.0f} s", weight="normal", fontsize=9.5)
    if capacity <= top * 4:
        axes.axhline(capacity, color="#b2182b", linewidth=1.2, linestyle=(0, (4, 2)))
        axes.text(end, capacity, f"capacity {capacity:g}/s ", ha="right", va="bottom", color="#b2182b", fontsize=8.5)
    axes.set_xlim(0, max(end, width))
    axes.set_ylim(0, max(top * 1.15, capacity * 1.1 if capacity <= top * 4 else 0.0, 1.0))
    axes.set_xlabel(f"seconds since the run's start (bins of {width:.2g} s; stated capacity {capacity:g}/s)")
    axes.set_ylabel("sessions restored per second")


def round_trips(values: Floats, axes: Axes) -> None:
    """Heartbeat round trips, milliseconds, on a logarithmic axis, with p50, p95 and p99 named."""
    milliseconds = np.maximum(values * 1000, 1e-3)
    low, high = float(milliseconds.min()), float(milliseconds.max())
    bins = np.geomspace(low * 0.9, high * 1.1, 60)
    axes.hist(milliseconds, bins=list(bins), color=PALETTE[0], alpha=0.85)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(seconds_label))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    quantiles = [float(np.quantile(milliseconds, level, method="inverted_cdf")) for level in (0.5, 0.95, 0.99)]
    for value in quantiles:
        axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_title("p50 {:.3g}, p95 {:.3g}, p99 {:.3g} ms".format(*quantiles), weight="normal", fontsize=9.5)
    axes.set_xlabel("round trip, milliseconds")
    axes.set_ylabel("heartbeats")


def forest(gaps: pd.DataFrame, axes: Axes) -> None:
    """Relative gaps with intervals, one row each: ``label``, ``gap``, ``low``, ``high`` (shares), ``verdict``."""
    colours = {"worse": "#b2182b", "better": "#009e73"}
    for row, item in enumerate(gaps.to_dict("records")):
        colour = colours.get(str(item["verdict"]), MUTED)
        axes.plot([item["low"], item["high"]], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot([item["gap"]], [row], "o", color=colour, markersize=6)
    axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(gaps)), [str(label) for label in gaps["label"]])
    axes.set_ylim(len(gaps) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("change against the first run, with interval")
