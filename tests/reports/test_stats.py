"""Intervals, correlation, verdicts and planning against known values and laws."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reports.stats import (
    Clusters,
    anova_correlation,
    correlation_of,
    design_effect,
    difference,
    mean_interval,
    rate_interval,
    verdict,
    wilson,
)
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def _clusters(events: int, size: int) -> Clusters:
    return Clusters(np.repeat(np.arange(events), size), np.zeros(events, dtype=np.int64))


@given(counts)
def test_wilson_equals_scipys(case: tuple[int, int]) -> None:
    """For whole numbers the formula is scipy's, whose interval is two-sided."""
    k, n = case
    expected = scipy_stats.binomtest(k, n).proportion_ci(0.9, "wilson")
    assert wilson(k, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(counts, st.floats(1.0, 20.0))
def test_fewer_effective_drops_never_narrow_the_interval(case: tuple[int, int], effect: float) -> None:
    """A design effect above 1 only widens."""
    k, n = case
    low, high = wilson(k, n, 0.95)
    wide_low, wide_high = wilson(k / effect, n / effect, 0.95)
    assert wide_low <= low + 1e-12
    assert wide_high >= high - 1e-12


@pytest.mark.parametrize("n, passing, failing", [(100, 1, 9), (200, 4, 16), (500, 16, 34), (1000, 38, 62)])
def test_failures_that_prove_pass_and_fail(n: int, passing: int, failing: int) -> None:
    """The table of one-sided 95 % verdicts against 0.95: so many failures still pass, so many already fail."""

    def of(failures: int) -> Verdict:
        return verdict(Op.AT_LEAST, 0.95, *wilson(n - failures, n, 0.95))

    assert (of(passing), of(passing + 1)) == (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert (of(failing - 1), of(failing)) == (Verdict.INCONCLUSIVE, Verdict.FAIL)


@pytest.mark.parametrize("n, outcome", [(51, Verdict.INCONCLUSIVE), (52, Verdict.PASS)])
def test_without_any_failure_52_drops_are_needed(n: int, outcome: Verdict) -> None:
    """Fewer drops cannot prove 95 %, however well they went."""
    assert verdict(Op.AT_LEAST, 0.95, *wilson(n, n, 0.95)) is outcome


def test_no_data_never_passes() -> None:
    """NaN bounds are inconclusive under every operator."""
    assert all(verdict(op, 0.0, math.nan, math.nan) is Verdict.INCONCLUSIVE for op in Op)
    nothing = rate_interval(
        np.zeros(0, dtype=bool), Clusters.of(pd.Series([], dtype=str), pd.Series([], dtype=str)), 0.95, 0, 1
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


def test_anova_correlation_recovers_what_was_put_in() -> None:
    """Values with a shared part of a fifth of the variance have a correlation near a fifth."""
    rng = np.random.default_rng(1)
    shared = np.repeat(rng.normal(0, math.sqrt(0.2), 2000), 25)
    values = shared + rng.normal(0, math.sqrt(0.8), 2000 * 25)
    assert anova_correlation(values, _clusters(2000, 25)) == pytest.approx(0.2, abs=0.02)


def test_differences_between_strata_are_design_not_correlation() -> None:
    """Two kinds of fault with different means, alike within: no correlation once strata are known."""
    values = np.tile([1.0, 2.0], 100).reshape(-1, 1).repeat(2, axis=1).ravel() + np.tile([-0.1, 0.1], 200)
    event = np.repeat(np.arange(200), 2)
    known = Clusters(event, np.tile([0, 1], 100))
    blind = Clusters(event, np.zeros(200, dtype=np.int64))
    assert anova_correlation(values, known) == pytest.approx(0.0, abs=0.02)
    assert anova_correlation(values, blind) > 0.9


@pytest.mark.parametrize(
    "events, failures, source", [(9, 40, "stated"), (12, 40, "estimated"), (12, 0, "stated"), (12, 9, "stated")]
)
def test_correlation_is_estimated_only_when_the_data_can_tell(events: int, failures: int, source: str) -> None:
    """Too few events, or too few failures, and the experiment's stated value is taken."""
    values = np.ones(events * 50)
    values[np.linspace(0, len(values) - 1, failures).astype(int)] = 0.0
    assert correlation_of(values, _clusters(events, 50), 0.05)[1] == source


def test_one_failure_does_not_make_a_run_surer_than_none() -> None:
    """The lower bound falls, never rises, with the first failures."""
    clusters = _clusters(12, 50)
    bounds = []
    for failures in range(10):
        success = np.ones(600, dtype=bool)
        success[: failures * 7 : 7] = False
        bounds.append(rate_interval(success, clusters, 0.95, 0.05, 1).low)
    assert bounds == sorted(bounds, reverse=True)


def test_many_events_are_resampled_and_seeded() -> None:
    """Twenty events with failures spread unevenly: a bootstrap, wider than Wilson's, the same for the same seed."""
    rng = np.random.default_rng(3)
    rates = rng.beta(20, 1.5, 40)
    success = rng.random(40 * 50) < np.repeat(rates, 50)
    clusters = _clusters(40, 50)
    first, again = (rate_interval(success, clusters, 0.95, 0.05, 7) for _ in range(2))
    low, high = wilson(int(success.sum()), len(success), 0.95)
    assert first == again
    assert first.method == "bootstrap over events"
    assert first.low < low < high < first.high


def test_coverage_of_clustered_drops() -> None:
    """Correlated drops, few events: the plain bound is too sure far too often, ours about as often as it says."""
    rng = np.random.default_rng(11)
    plain = ours = 0
    rounds, events, size, rate, rho = 300, 9, 100, 0.95, 0.05
    strength = 1 / rho - 1
    for _ in range(rounds):
        success = rng.random(events * size) < np.repeat(rng.beta(rate * strength, (1 - rate) * strength, events), size)
        plain += wilson(int(success.sum()), success.size, 0.95)[0] > rate
        ours += rate_interval(success, _clusters(events, size), 0.95, rho, 1).low > rate
    assert plain / rounds > 0.15
    assert ours / rounds < 0.08


def test_mean_interval_of_independent_values_is_students() -> None:
    """One value per event, no correlation: the textbook interval."""
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = mean_interval(values, _clusters(4, 1), 0.95, 0.05, 1)
    half = scipy_stats.t.ppf(0.95, 3) * values.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half))


def test_very_many_events_agree_with_resampling_them() -> None:
    """Just below and just above the limit the two methods give nearly the same bounds."""
    rng = np.random.default_rng(4)
    values = rng.gamma(2.0, 1.0, 399 * 10) + np.repeat(rng.gamma(2.0, 0.5, 399), 10)
    resampled = mean_interval(values, _clusters(399, 10), 0.95, 0.05, 1)
    linear = mean_interval(np.append(values, [3.0] * 10), _clusters(400, 10), 0.95, 0.05, 1)
    assert (resampled.method, linear.method) == ("bootstrap over events", "linearised over events")
    assert linear.low == pytest.approx(resampled.low, abs=0.01)
    assert linear.high == pytest.approx(resampled.high, abs=0.01)


def test_one_value_has_no_interval() -> None:
    """A single drop bounds nothing."""
    assert math.isnan(mean_interval(np.array([1.0]), _clusters(1, 1), 0.95, 0.05, 1).low)


def test_difference_of_proportions_is_newcombes() -> None:
    """Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10."""
    a, b = (48 / 80, *wilson(48, 80, 0.975)), (56 / 70, *wilson(56, 70, 0.975))
    assert difference(a, b) == pytest.approx((0.0524, 0.3339), abs=5e-5)
