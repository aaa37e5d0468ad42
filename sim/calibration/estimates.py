"""From the samples of several runs to one value of each parameter, with an interval and a spread. Pure.

Samples of one moment share its load, so they are clustered: by run where at least :data:`MIN_RUNS` runs have the
parameter, else by blocks of :data:`BLOCK_S` seconds of a run. A cluster's value is its trimmed mean. The parameter's
value is the mean of its clusters' values, of blocks weighted by their samples, and the interval Student's t over
clusters (Cochran 1977, section 6.3, linearised). The *spread* says how far another run of the same machine may be from
it: the standard deviation between clusters, relative to the value; between blocks it is too large rather than small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from scipy.stats import trim_mean

from reports.frames import RunHistory
from reports.quantiles import t_quantile
from resilience.units import Seconds

from .calibration_file import CONFIDENCE, FittedParameter
from .joint_fit import BLOCK_S, FittedCost, work_of
from .observations import PARAMETERS, SINGLE, Known, Samples, dials_of, samples_of
from .returns import SharedMachine
from .stages import Floats, SeenRun, WorkCosts

TRIMMED = 0.1
"""The part of a cluster's values that is left out at either end: a machine that stalls once is no service time."""

MIN_RUNS = 3
MIN_CLUSTERS = 2

UNSEEN = "nothing that was seen depends on it, so the default is kept"
TOGETHER = "these runs do not tell it from other costs: it holds only together with them"
TOLD_ONCE = (
    f"one cluster says anything of it and an interval needs {MIN_CLUSTERS}: it holds only together with the others"
)
"""Why a cost of the joint fit has no interval."""

_FIRST = ("message", "latency")
"""What the others need, in the order in which they need one another."""


def fit(
    runs: Sequence[RunHistory], laboratories: Sequence[SharedMachine], defaults: Mapping[str, Seconds]
) -> dict[str, FittedParameter]:
    """Every parameter from these runs; one that they do not tell says why, and what its value is."""
    known = Known(**{name: defaults[name] for name in Known._fields})
    places = list(zip(runs, laboratories, strict=True))
    for name in _FIRST:
        parts = [samples_of(run, known, laboratory, (name,))[name] for run, laboratory in places]
        known = known._replace(**{name: estimate(parts, defaults[name]).value})
    found = _of_work([dials_of(run, known, laboratory) for run, laboratory in places], defaults)
    known = known._replace(client_loss=found["client_loss"].value)
    samples = [samples_of(run, known, laboratory) for run, laboratory in places]
    found |= {name: estimate([each[name] for each in samples], defaults[name]) for name in SINGLE}
    return {name: found[name] for name in PARAMETERS}


def _of_work(runs: Sequence[SeenRun], defaults: Mapping[str, Seconds]) -> dict[str, FittedParameter]:
    """The work of every thread, fitted to all runs together; one spread for all: that of the machine's speed."""
    dials = sum(int(np.isfinite(run.dials.opened[run.said]).sum()) for run in runs)
    kept = WorkCosts(**{name: defaults[name] for name in WorkCosts._fields})
    work = work_of(runs, kept, by_run=len(runs) >= MIN_RUNS)
    if work.clusters < MIN_CLUSTERS:
        return {name: _kept(defaults[name], dials, work.clusters, work.clusters) for name in WorkCosts._fields}
    spread = float(work.slowness.std(ddof=1))
    return {name: _of_cost(each, defaults[name], dials, spread) for name, each in work.costs.items()}


def _of_cost(cost: FittedCost, default: Seconds, samples: int, spread: float) -> FittedParameter:
    """One cost of a fit, which keeps what was found of the others true: a default only where nothing depends on it."""
    clusters = len(cost.values)
    if not (clusters or cost.is_needed):
        return FittedParameter(value=default, fitted=False, reason=UNSEEN)
    if cost.is_told and clusters >= MIN_CLUSTERS:
        each = _fitted(cost.values, np.ones(clusters), samples=samples, runs=cost.runs)
        return msgspec.structs.replace(each, spread=spread)
    return FittedParameter(
        value=cost.value,
        spread=spread,
        samples=samples,
        runs=cost.runs,
        clusters=clusters,
        fitted=False,
        reason=TOLD_ONCE if clusters == 1 else TOGETHER,
    )


def estimate(runs: Sequence[Samples], default: Seconds) -> FittedParameter:
    """One parameter from its samples in each run; the default where two clusters cannot be found."""
    with_values = [run for run in runs if len(run.values)]
    count = sum(len(run.values) for run in with_values)
    by_run = len(with_values) >= MIN_RUNS
    clusters = (
        [run.values for run in with_values] if by_run else [block for run in with_values for block in _blocks(run)]
    )
    if len(clusters) < MIN_CLUSTERS:
        return _kept(default, count, len(clusters), len(with_values))
    values = np.array([trim_mean(each, TRIMMED) for each in clusters])
    weights = np.ones(len(clusters)) if by_run else np.array([len(each) for each in clusters], dtype=np.float64)
    return _fitted(values, weights, samples=count, runs=len(with_values))


def _kept(default: Seconds, samples: int, clusters: int, runs: int) -> FittedParameter:
    reason = f"{samples} samples in {clusters} clusters: needs {MIN_CLUSTERS} clusters, so the default is kept"
    return FittedParameter(value=default, fitted=False, samples=samples, runs=runs, reason=reason)


def _blocks(run: Samples) -> list[Floats]:
    number = np.floor(run.at / BLOCK_S)
    return [run.values[number == each] for each in np.unique(number)]


def _fitted(values: Floats, weights: Floats, *, samples: int, runs: int) -> FittedParameter:
    m = len(values)
    mean = float(np.average(values, weights=weights))
    rest = weights * (values - mean)
    error = math.sqrt(m / (m - 1) * float(rest @ rest)) / float(weights.sum())
    half = t_quantile((1 + CONFIDENCE) / 2, m - 1) * error
    value = max(mean, 0.0)
    deviation = float(values.std(ddof=1))
    return FittedParameter(
        value=value,
        low=max(mean - half, 0.0),
        high=max(mean + half, 0.0),
        spread=deviation / value if value else 0.0,
        samples=samples,
        runs=runs,
        clusters=m,
    )
