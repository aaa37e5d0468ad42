"""The figures of one simulated run, by the names of an expectation's metrics. Values only: no intervals, no verdict.

The intervals of a sweep come from its replications; an interval within one run would not be used.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from reports.survival import RecoveryTimes
from resilience.experiment.spec import CLOCKS, STATISTICS, Statistics
from resilience.units import Seconds

Figures = dict[str, float | None]
"""By name; ``None`` for what was not measured, or not reached within the run."""

FIGURES = (
    "success_rate",
    "restored",
    "affected",
    *(f"{clock}.{statistic}" for clock in CLOCKS for statistic in STATISTICS),
    *(f"attempts.{statistic}" for statistic in ("mean", "p95", "max")),
    "returned_share",
    "gave_up_share",
    "rejoined_share",
)
"""What every lane measures of its episodes."""

LOAD_FIGURES = ("requests", "requests_per_return", "arrivals_per_return", "rejected", "peak_joins_per_s", "queue_s")
"""What the population lane adds of its servers; see :func:`sim.planning.evaluation.load_figures`."""

COLUMNS = ("affected", "kind", "attempts", "came_back_by", *RecoveryTimes.COLUMNS, *CLOCKS)
"""The columns of an episode frame that are read."""


def figures_of(
    episodes: pd.DataFrame, statistics: Statistics, within: Seconds | None = None, fault: str | None = None
) -> Figures:
    """The figures of an episode frame. ``restored`` and ``affected`` are counts, the shares are of the affected.

    ``within``: a return counts for ``success_rate`` and ``restored`` if the downtime is at most so many seconds; the
    other figures do not change. ``fault``: only episodes of this kind of fault count. Episodes that are cut off by the
    run's end count as not returned.
    """
    rows = episodes[episodes["affected"]]
    rows = rows if fault is None else rows[rows["kind"] == fault]
    returned = rows["returned"].to_numpy(dtype=bool, copy=True)
    returned_share = _share(returned)
    if within is not None:
        returned &= rows["downtime_s"].to_numpy(dtype=np.float64) <= within
    found: dict[str, float] = {
        "success_rate": _share(returned),
        "restored": float(returned.sum()),
        "affected": float(len(rows)),
        "returned_share": returned_share,
        "gave_up_share": _share(rows["never"].to_numpy(dtype=bool)),
        "rejoined_share": _share((rows["came_back_by"] == "rejoined").to_numpy(dtype=bool)),
        **_attempts(rows["attempts"].to_numpy(dtype=np.float64, na_value=math.nan)),
    }
    for clock in CLOCKS:
        found |= _clock(rows, clock, statistics.deadline)
    return {name: found[name] if math.isfinite(found[name]) else None for name in FIGURES}


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _attempts(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {f"attempts.{name}": math.nan for name in ("mean", "p95", "max")}
    high = float(np.quantile(values, 0.95, method="inverted_cdf"))
    return {"attempts.mean": float(values.mean()), "attempts.p95": high, "attempts.max": float(values.max())}


def _clock(rows: pd.DataFrame, clock: str, deadline: Seconds) -> dict[str, float]:
    """As :func:`reports.expectations.time_estimate` has them, except a longest one that was not reached."""
    times = RecoveryTimes.of(rows.assign(event="one", stratum="one"), clock)
    if not len(times):
        return {f"{clock}.{statistic}": math.nan for statistic in STATISTICS}
    quantiles = {name: times.curve.quantile(float(name[1:]) / 100) for name in STATISTICS if name.startswith("p")}
    found = {
        "mean": math.nan if times.censored else float(times.seconds.mean()),
        "restricted_mean": times.curve.mean_up_to(times.observed_up_to(deadline)),
        "max": math.nan if times.censored else float(times.seconds.max()),
        **quantiles,
    }
    return {f"{clock}.{statistic}": found[statistic] for statistic in STATISTICS}
