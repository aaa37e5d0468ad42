"""The quantiles are those of ``scipy.stats``."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from reports.quantiles import chi2_quantile, normal_quantile, t_quantile

LEVELS = (0.01, 0.05, 0.5, 0.9, 0.95, 0.975, 0.999)


@pytest.mark.parametrize("freedom", [1, 2, 2.7, 8, 41.5, 1e6])
def test_quantiles_are_those_of_the_library(freedom: float) -> None:
    for level in LEVELS:
        assert t_quantile(level, freedom) == float(stats.t.ppf(level, freedom))
        assert chi2_quantile(level, freedom) == float(stats.chi2.ppf(level, freedom))
        assert normal_quantile(level) == float(stats.norm.ppf(level))


def test_without_a_degree_of_freedom_there_is_no_quantile() -> None:
    assert math.isnan(t_quantile(0.95, 0))
    assert math.isnan(float(stats.t.ppf(0.95, 0)))
