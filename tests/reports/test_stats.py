"""Means, correlation and verdicts compared with known values and laws."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reports.rates import rate_interval
from reports.stats import Clusters, anova_correlation, design_effect, difference, mean_interval, verdict
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op


def _clusters(events: int, size: int) -> Clusters:
    return Clusters(np.repeat(np.arange(events), size), np.zeros(events, dtype=np.int64))


def test_nan_bounds_are_inconclusive_under_every_operator() -> None:
    assert all(verdict(op, 0.0, math.nan, math.nan) is Verdict.INCONCLUSIVE for op in Op)
    nothing = rate_interval(
        np.zeros(0, dtype=bool), Clusters.of(pd.Series([], dtype=str), pd.Series([], dtype=str)), 0.95, 0
    )
    assert verdict(Op.AT_LEAST, 0.0, nothing.low, nothing.high) is Verdict.INCONCLUSIVE


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_verdict_and_its_opposite_never_agree(a: float, b: float, threshold: float) -> None:
    """At least and below, at most and above, are never both met nor both missed."""
    low, high = min(a, b), max(a, b)
    for op, opposite in ((Op.AT_LEAST, Op.BELOW), (Op.AT_MOST, Op.ABOVE)):
        pair = {verdict(op, threshold, low, high), verdict(opposite, threshold, low, high)}
        assert pair in ({Verdict.PASS, Verdict.FAIL}, {Verdict.INCONCLUSIVE})


def test_design_effect_of_equal_and_unequal_sizes() -> None:
    """1 + (m - 1) rho for equal sizes; large clusters weigh more; independent drops cost nothing."""
    assert design_effect(0.05, np.array([100, 100])) == pytest.approx(5.95)
    assert design_effect(0.05, np.array([150, 50])) == pytest.approx(1 + (125 - 1) * 0.05)
    assert design_effect(0.0, np.array([100, 100])) == 1.0


def test_anova_correlation_of_a_worked_example() -> None:
    """Two events of two, values 1 1 0 0: MSB = 1, MSW = 0, correlation 1; crossed values give none."""
    clusters = _clusters(2, 2)
    assert anova_correlation(np.array([1.0, 1, 0, 0]), clusters) == pytest.approx(1.0)
    assert anova_correlation(np.array([1.0, 0, 1, 0]), clusters) == 0.0


def test_anova_correlation_recovers_a_known_correlation() -> None:
    """Values with a shared part of a fifth of the variance have a correlation near a fifth."""
    rng = np.random.default_rng(1)
    shared = np.repeat(rng.normal(0, math.sqrt(0.2), 2000), 25)
    values = shared + rng.normal(0, math.sqrt(0.8), 2000 * 25)
    assert anova_correlation(values, _clusters(2000, 25)) == pytest.approx(0.2, abs=0.02)


def test_differences_between_strata_are_design_not_correlation() -> None:
    """Two kinds of fault with different means and no spread within: no correlation once strata are known."""
    values = np.tile([1.0, 2.0], 100).reshape(-1, 1).repeat(2, axis=1).ravel() + np.tile([-0.1, 0.1], 200)
    event = np.repeat(np.arange(200), 2)
    known = Clusters(event, np.tile([0, 1], 100))
    blind = Clusters(event, np.zeros(200, dtype=np.int64))
    assert anova_correlation(values, known) == pytest.approx(0.0, abs=0.02)
    assert anova_correlation(values, blind) > 0.9


def test_mean_interval_of_independent_values_is_students() -> None:
    """One value per event, no correlation: the textbook interval; its upper bound is that of the logarithm."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = mean_interval(values, _clusters(4, 1), 0.95, 0.05)
    half = scipy_stats.t.ppf(0.95, 3) * values.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 * math.exp(half / 2.5)))


def test_the_events_decide_how_wide_a_means_interval_is() -> None:
    """Nine events whose means differ: t with eight degrees of freedom on the means, not on the 900 values."""
    rng = np.random.default_rng(4)
    means = rng.normal(3.0, 0.5, 9)
    values = np.repeat(means, 100) + np.tile(np.linspace(-0.5, 0.5, 100), 9)
    found = mean_interval(values, _clusters(9, 100), 0.95, 0.05)
    half = scipy_stats.t.ppf(0.95, 8) * means.std(ddof=1) / 3
    assert found.method == "t over events"
    assert found.low == pytest.approx(means.mean() - half)


def test_the_same_people_in_every_event_are_not_new_people() -> None:
    """Slow and quick participants, alike in all events: only the participants' own spread makes the mean uncertain."""
    speed = np.linspace(1.0, 3.0, 20)
    values = np.tile(speed, 20)
    event = np.repeat(np.arange(20), 20)
    blind = mean_interval(values, Clusters(event, np.zeros(20, dtype=np.int64)), 0.95, 0.0)
    known = mean_interval(values, Clusters(event, np.zeros(20, dtype=np.int64), np.tile(np.arange(20), 20)), 0.95, 0.0)
    half = scipy_stats.t.ppf(0.95, 19) * speed.std(ddof=1) / math.sqrt(20)
    assert known.method == "t over events and participants"
    assert known.low == pytest.approx(2.0 - half, abs=1e-3)
    assert blind.low > known.low + 0.1


def test_coverage_of_a_mean_over_the_same_people() -> None:
    """A participant's effect of half the variance: each bound is wrong about as often as stated, not in a third."""
    rng = np.random.default_rng(2)
    rounds, events, people = 200, 20, 20
    who = np.tile(np.arange(people), events)
    clusters = Clusters(np.repeat(np.arange(events), people), np.zeros(events, dtype=np.int64), who)
    low = high = 0
    for _ in range(rounds):
        values = 5 + 0.7 * np.tile(rng.normal(size=people), events) + 0.7 * rng.normal(size=events * people)
        found = mean_interval(values, clusters, 0.95, 0.05)
        low, high = low + (found.low <= 5), high + (found.high >= 5)
    assert min(low, high) / rounds >= 0.91


def test_an_event_without_a_replicate_counts_like_the_others() -> None:
    """Its own variance is unknown, not zero."""
    rng = np.random.default_rng(6)
    values = rng.normal(3.0, 0.1, 900) + np.repeat(rng.normal(0, 1, 9), 100)
    alike = mean_interval(values, _clusters(9, 100), 0.95, 0.05)
    event = np.repeat(np.arange(9), 100)
    one_apart = mean_interval(values, Clusters(event, np.array([0] * 8 + [1])), 0.95, 0.05)
    assert one_apart.low < alike.low + 0.1


def test_one_value_has_no_interval() -> None:
    assert math.isnan(mean_interval(np.array([1.0]), _clusters(1, 1), 0.95, 0.05).low)


@given(st.integers(2, 8), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_mean_is_never_surer_than_at_the_stated_correlation(events: int, size: int, seed: int) -> None:
    values = np.random.default_rng(seed).gamma(2.0, 1.0, events * size)
    clusters = _clusters(events, size)
    found = mean_interval(values, clusters, 0.95, 0.3)
    effective = len(values) / design_effect(0.3, clusters.sizes)
    half = scipy_stats.t.ppf(0.95, max(effective - 1, 1)) * values.std(ddof=1) / math.sqrt(effective)
    assert found.low <= max(values.mean() - half, 0.0) + 1e-9
    assert found.high >= values.mean() + half - 1e-9


def test_difference_of_proportions_is_newcombes() -> None:
    """Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10."""

    def wilson(successes: int, n: int) -> tuple[float, float, float]:
        bounds = scipy_stats.binomtest(successes, n).proportion_ci(0.95, "wilson")
        return successes / n, bounds.low, bounds.high

    a, b = wilson(48, 80), wilson(56, 70)
    assert difference(a, b) == pytest.approx((0.0524, 0.3339), abs=5e-5)
