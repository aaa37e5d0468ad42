"""The results of a sweep as tables: ``sweep.parquet``, means with intervals by point, sensitivities. Judges nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .design import MORRIS_LEVELS, Design, Method, plain_value, unit_problem
from .evaluation import RunResult
from .stopping import half_width


def results_table(design: Design, results: Sequence[RunResult]) -> pd.DataFrame:
    """One row a run, as :mod:`reports.sweep` has it: point, replication, settings, figures.

    A setting is a number (true and false are 1 and 0), or a text where not all its values are numbers. A figure that
    was not measured, or not reached within the run, is NaN.
    """
    columns: dict[str, object] = {
        "point": np.array([result.point for result in results], np.int64),
        "replication": np.array([result.replication for result in results], np.int64),
    }
    for number, factor in enumerate(design.factors):
        texts = [design.points[result.point][number][1] for result in results]
        columns[factor.key] = _column(texts)
    names = list(dict.fromkeys(name for result in results for name in result.figures))
    for name in names:
        values = [result.figures.get(name) for result in results]
        columns[name] = np.array([math.nan if value is None else value for value in values], np.float64)
    table = pd.DataFrame(columns)
    counts = [name for name in ("restored", "affected") if name in table and table[name].notna().all()]
    return table.astype(dict.fromkeys(counts, np.int64))


def _column(texts: list[str]) -> object:
    values = [plain_value(text) for text in texts]
    if all(isinstance(value, int | float) for value in values):
        return np.array(values, np.float64)
    return texts


@dataclass(frozen=True)
class PointMean:
    """A point's mean of one figure over its replications; ``half``: of its 95 % interval, infinite for one run."""

    point: int
    replications: int
    mean: float
    half: float


def point_means(table: pd.DataFrame, metric: str) -> list[PointMean]:
    """By point; the mean is NaN if a replication has no value."""
    means = []
    for point in table["point"].unique():
        rows = table[table["point"] == point]
        values = rows[metric].to_numpy(dtype=np.float64)
        mean = float(values.mean()) if not np.isnan(values).any() else math.nan
        means.append(PointMean(int(point), len(values), mean, half_width(list(values))))
    return means


@dataclass(frozen=True)
class FactorEffect:
    """What one factor does to a metric over its whole range.

    ``first`` and ``total``: shares of the variance (Sobol), with the half-width of each one's 95 % interval;
    ``mu_star`` and ``sigma``: mean absolute elementary effect and their spread (Morris), in the metric's unit.
    """

    key: str
    first: float | None = None
    first_half: float | None = None
    total: float | None = None
    total_half: float | None = None
    mu_star: float | None = None
    mu_star_half: float | None = None
    sigma: float | None = None


def factor_effects(design: Design, means: Sequence[PointMean], seed: int) -> tuple[FactorEffect, ...]:
    """Sobol's indices (Saltelli 2010) or Morris' effects (Campolongo 2007); nothing for other designs.

    Nothing either where a point has no mean: the estimators need all of them.
    """
    values = np.array([each.mean for each in means])
    if len(values) < len(design.points) or np.isnan(values).any():
        return ()
    problem = unit_problem(len(design.factors), tuple(factor.key for factor in design.factors))
    if design.method is Method.SOBOL:
        return _sobol(design, problem, values, seed)
    if design.method is Method.MORRIS:
        return _morris(design, problem, values, seed)
    return ()


def _sobol(design: Design, problem: dict[str, object], values: np.ndarray, seed: int) -> tuple[FactorEffect, ...]:
    if not values.std() > 0:
        return ()  # no variance to share out
    from SALib.analyze import sobol  # noqa: PLC0415 - an extra

    found = sobol.analyze(problem, values, calc_second_order=False, seed=seed)
    rows = zip(found["S1"], found["S1_conf"], found["ST"], found["ST_conf"], strict=True)
    return tuple(
        FactorEffect(f.key, *(float(value) for value in row)) for f, row in zip(design.factors, rows, strict=True)
    )


def _morris(design: Design, problem: dict[str, object], values: np.ndarray, seed: int) -> tuple[FactorEffect, ...]:
    from SALib.analyze import morris  # noqa: PLC0415 - an extra
    from SALib.sample import morris as sampled  # noqa: PLC0415 - same

    shares = np.asarray(sampled.sample(problem, design.size, num_levels=MORRIS_LEVELS, seed=seed))
    found = morris.analyze(problem, shares, values, num_levels=MORRIS_LEVELS, seed=seed)
    rows = zip(found["mu_star"], found["mu_star_conf"], found["sigma"], strict=True)
    return tuple(
        FactorEffect(f.key, mu_star=float(mu), mu_star_half=float(half), sigma=float(sigma))
        for f, (mu, half, sigma) in zip(design.factors, rows, strict=True)
    )
