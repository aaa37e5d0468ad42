"""The plots: functions of data and axes that return nothing. Know no file format; ``charts`` lays them out.

Colours are Okabe and Ito's. A meaning shown by colour is also shown by position or label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .stats import Floats
from .survival import RecoveryTimes, recovery_band

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dee4"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.2)), "dashdot", (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))

MAX_STEPS = 300
"""If a curve has more steps, they are thinned evenly in the recovered share."""

# --- time to recovery -------------------------------------------------------------------------------------------------


def recovery(curves: Mapping[str, RecoveryTimes], target: float | None, limit: float, axes: Axes) -> None:
    """The recovered share over time, one step curve with band per name; ``target`` as a line, x up to ``limit`` s."""
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


def _stretched(values: Floats) -> Floats:
    last = values[-1:] if len(values) else np.zeros(1)
    return np.concatenate([[0.0], values, last])


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
