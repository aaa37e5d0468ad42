"""Each physical event by itself: how many returned and how late. Shows whether one event carries a run's result."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import special

from .quantiles import t_quantile
from .summary import EventResult, finite_or_none

CONFIDENCE = 0.95
"""Of each one-sided bound."""


def event_results(episodes: pd.DataFrame, deadline: float) -> tuple[EventResult, ...]:
    """One result per event with at least one affected episode, in the order of their start."""
    columns = ["event", "fault_at", "returned", "excess_s", "kind", "cohort"]
    affected = episodes.loc[episodes["affected"], columns]
    if affected.empty:
        return ()
    first = affected["fault_at"].groupby(affected["event"], observed=True).min()
    first = first.set_axis(first.index.astype(str)).sort_index().sort_values(kind="stable")
    rows = rows_of(affected["event"])
    return tuple(
        _result(str(event), float(start), affected.take(rows[str(event)]), deadline) for event, start in first.items()
    )


def rows_of(labels: pd.Series) -> dict[str, np.ndarray]:
    """The positions of each label, in order: one pass over a column, whatever the number of labels."""
    category = labels.array if isinstance(labels.dtype, pd.CategoricalDtype) else pd.Categorical(labels)
    codes = np.asarray(category.codes)
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(category.categories) + 1))
    found = {str(name): order[cuts[i] : cuts[i + 1]] for i, name in enumerate(category.categories)}
    return {name: rows for name, rows in found.items() if len(rows)}


def _result(event: str, start: float, rows: pd.DataFrame, deadline: float) -> EventResult:
    returned = rows["returned"].to_numpy(dtype=bool)
    low, high = _share_bounds(int(returned.sum()), len(rows))
    excess = rows["excess_s"].to_numpy(dtype=np.float64)
    counted = np.where(returned, np.minimum(excess, deadline), deadline)
    mean, half = float(counted.mean()), _half_width(counted)
    return EventResult(
        event=event,
        kinds=tuple(sorted(map(str, rows["kind"].unique()))),
        cohorts=tuple(sorted(map(str, rows["cohort"].unique()))),
        started_at=start,
        affected=len(rows),
        restored=int(returned.sum()),
        low=finite_or_none(low),
        high=finite_or_none(high),
        excess_mean=finite_or_none(mean),
        excess_low=finite_or_none(max(mean - half, 0.0)),
        excess_high=finite_or_none(mean + half),
    )


def _share_bounds(returned: int, n: int) -> tuple[float, float]:
    """Exact one-sided bounds of a share (Clopper and Pearson 1934)."""
    low = float(special.betaincinv(returned, n - returned + 1, 1 - CONFIDENCE)) if returned else 0.0
    high = float(special.betaincinv(returned + 1, n - returned, CONFIDENCE)) if returned < n else 1.0
    return low, high


def _half_width(values: np.ndarray) -> float:
    """Half the width of Student's interval of a mean; NaN for a single value."""
    n = len(values)
    if n < 2:  # noqa: PLR2004 - no spread to estimate
        return math.nan
    return t_quantile(CONFIDENCE, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
