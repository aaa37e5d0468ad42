"""What the matplotlib pictures share: colours, dashes, and recovery curves on axes. Knows no file format.

Colours are Okabe and Ito's. A meaning shown by colour is also shown by position or label.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .stats import Floats
from .survival import RecoveryTimes, recovery_band
from .svg import evenly

INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dee4"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.2)), "dashdot", (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)))

MAX_STEPS = 300
"""If a curve has more steps, they are thinned evenly in the recovered share."""


def recovery(curves: Mapping[str, RecoveryTimes], limit: float, axes: Axes) -> None:
    """The recovered share over time, one step curve with band per name, x up to ``limit`` s."""
    for i, (name, times) in enumerate(curves.items()):
        curve, colour = times.curve, PALETTE[i % len(PALETTE)]
        kept = evenly(len(curve.seconds), MAX_STEPS)
        x = np.concatenate([[0.0], curve.seconds[kept], [limit]])
        steps = [_stretched(values[kept]) for values in (curve.share, *recovery_band(times))]
        back = int(times.returned.sum())
        label = f"{name}: {back} of {len(times)}"
        axes.fill_between(x, steps[1], steps[2], step="post", color=colour, alpha=0.16, linewidth=0)
        axes.plot(x, steps[0], drawstyle="steps-post", color=colour, linestyle=DASHES[i % len(DASHES)], label=label)
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _stretched(values: Floats) -> Floats:
    last = values[-1:] if len(values) else np.zeros(1)
    return np.concatenate([[0.0], values, last])
