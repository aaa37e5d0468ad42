"""From the samples of several runs to one value of each parameter, with an interval and a spread. Pure.

Samples of one moment share its load, so they are clustered: by run where at least :data:`MIN_RUNS` runs have the
parameter, else by blocks of :data:`BLOCK_S` seconds of a run. A cluster's value is its trimmed mean, or its plain mean
for one of :data:`QUEUED`. The parameter's value is the mean of its clusters' values, of blocks weighted by their
samples, and the interval Student's t over clusters (Cochran 1977, section 6.3, linearised). The *spread* says how far
another run of the same machine may be from it: the standard deviation between clusters, relative to the value; between
blocks it is rather too large than too small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import trim_mean

from reports.frames import RunHistory
from reports.quantiles import t_quantile
from resilience.units import Seconds

from .calibration_file import CONFIDENCE, FittedParameter
from .observations import PARAMETERS, SINGLE, Known, Samples, returns_of, samples_of
from .returns import BLOCK_S, service_times
from .tandem import Floats, SeenRun

TRIMMED = 0.1
"""The part of a cluster's values that is left out at either end: a machine that stalls once is no service time."""

QUEUED = frozenset({"detach"})
"""What a queue adds up: here each stall delays all that wait, so the mean of all samples is what a storm takes."""

MIN_RUNS = 3
MIN_CLUSTERS = 2

_FIRST = ("message", "latency", "connect", "detach")
"""What the others need, in the order in which they need one another."""


def fit(runs: Sequence[RunHistory], defaults: Mapping[str, Seconds]) -> dict[str, FittedParameter]:
    """Every parameter from these runs; one with too little data keeps its default, and says why."""
    known = Known(**{name: defaults[name] for name in Known._fields})
    for name in _FIRST:
        parts = [samples_of(run, known, (name,))[name] for run in runs]
        known = known._replace(**{name: estimate(parts, defaults[name], trimmed=_trimmed(name)).value})
    samples = [samples_of(run, known) for run in runs]
    found = {
        name: estimate([each[name] for each in samples], defaults[name], trimmed=_trimmed(name)) for name in SINGLE
    }
    found |= _of_services([returns_of(run, known) for run in runs], defaults)
    return {name: found[name] for name in PARAMETERS}


def _of_services(runs: Sequence[SeenRun], defaults: Mapping[str, Seconds]) -> dict[str, FittedParameter]:
    """The service times of proxy and server, which are fitted to all runs together."""
    dials = sum(int(np.isfinite(run.dials.upgraded).sum()) for run in runs)
    told = {}
    for name, values in service_times(runs, by_run=len(runs) >= MIN_RUNS).items():
        weights = np.ones(len(values))
        told[name] = (
            _fitted(values, weights, samples=dials, runs=len(runs))
            if len(values) >= MIN_CLUSTERS
            else _kept(defaults[name], dials, len(values), len(runs))
        )
    return told


def _trimmed(name: str) -> float:
    return 0.0 if name in QUEUED else TRIMMED


def estimate(runs: Sequence[Samples], default: Seconds, *, trimmed: float = TRIMMED) -> FittedParameter:
    """One parameter from its samples in each run; the default where two clusters cannot be found.

    ``trimmed``: the part of a cluster's samples that is left out at either end.
    """
    with_values = [run for run in runs if len(run.values)]
    count = sum(len(run.values) for run in with_values)
    by_run = len(with_values) >= MIN_RUNS
    clusters = (
        [run.values for run in with_values] if by_run else [block for run in with_values for block in _blocks(run)]
    )
    if len(clusters) < MIN_CLUSTERS:
        return _kept(default, count, len(clusters), len(with_values))
    values = np.array([trim_mean(each, trimmed) for each in clusters])
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
