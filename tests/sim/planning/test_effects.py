"""Sobol's and Morris' numbers against functions of which they are known, and through the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sim.planning.design import Design, Method, make_design, parse_factor
from sim.planning.tables import PointMean, factor_effects
from tests.support.extras import require_extra

from .sweeps import run_sim, storm_file

FACTORS = (parse_factor("a=0.0..1.0"), parse_factor("b=0.0..1.0"), parse_factor("c=0.0..1.0"))


def _means(design: Design) -> list[PointMean]:
    """``4 a + 2 b``: ``c`` does nothing."""
    inputs = [[float(text) for _, text in point] for point in design.points]
    return [PointMean(i, 1, 4 * a + 2 * b, 0.0) for i, (a, b, _) in enumerate(inputs)]


def test_sobol_finds_the_shares_of_the_variance() -> None:
    require_extra("planning")
    design = make_design(FACTORS, Method.SOBOL, 256, 1)
    effects = factor_effects(design, _means(design), 1)
    assert [each.total for each in effects] == pytest.approx([0.8, 0.2, 0.0], abs=0.03)
    assert [each.first for each in effects] == pytest.approx([0.8, 0.2, 0.0], abs=0.05)


def test_morris_finds_the_slopes() -> None:
    require_extra("planning")
    design = make_design(FACTORS, Method.MORRIS, 10, 1)
    effects = factor_effects(design, _means(design), 1)
    assert [each.mu_star for each in effects] == pytest.approx([4.0, 2.0, 0.0])
    assert [each.sigma for each in effects] == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)


def test_a_point_without_a_mean_has_no_effects() -> None:
    require_extra("planning")
    design = make_design(FACTORS, Method.MORRIS, 4, 1)
    means = _means(design)
    assert factor_effects(design, [*means[:-1], PointMean(len(means) - 1, 1, np.nan, np.inf)], 1) == ()
    assert factor_effects(design, means[:-1], 1) == ()


def test_the_command_screens_settings(tmp_path: Path) -> None:
    require_extra("planning")
    words = (
        "--vary",
        "server.join_capacity=10..40",
        "--vary",
        "client.budget=590.0..610.0",
        "--sample",
        "morris",
        "2",
    )
    result = run_sim(
        "sweep", storm_file(tmp_path), *words, "--replications", "1", "--workers", "1", "--out", tmp_path / "s"
    )
    assert result.exit_code == 0, result.exception
    assert result.output.index("`server.join_capacity` |") < result.output.index("`client.budget` |")
    assert len(pd.read_parquet(tmp_path / "s" / "sweep.parquet")) == 6
