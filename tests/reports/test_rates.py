"""Bounds of a success rate: known values, coverage, and the law that one more failure never improves a bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reports.rates import (
    RateDesign,
    clopper_pearson,
    correlation_limit,
    events_needed,
    high_bound,
    low_bound,
    rate_interval,
)
from reports.stats import Clusters, Floats, verdict
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.spec import Op

ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def _design(*sizes: float, strata: tuple[int, ...] = (), stated: float = 0.05) -> RateDesign:
    stratum = np.array(strata or (0,) * len(sizes), dtype=np.int64)
    return RateDesign(np.array(sizes, dtype=np.float64), stratum, stated, 0.95)


def _bounds(design: RateDesign, *failed: float) -> tuple[float, float]:
    lost = np.array(failed, dtype=np.float64)
    return low_bound(design, lost), high_bound(design, lost)


def _judged(design: RateDesign, target: float, *failed: float) -> Verdict:
    return verdict(Op.AT_LEAST, target, *_bounds(design, *failed))


@given(counts)
def test_exact_bounds_equal_scipys(case: tuple[int, int]) -> None:
    """For whole numbers they are scipy's, whose interval is two-sided."""
    k, n = case
    expected = scipy_stats.binomtest(k, n).proportion_ci(0.9, "exact")
    assert clopper_pearson(k, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(counts, st.floats(1.0, 20.0))
def test_fewer_effective_drops_never_narrow_the_interval(case: tuple[int, int], effect: float) -> None:
    k, n = case
    low, high = clopper_pearson(k, n, 0.95)
    wide_low, wide_high = clopper_pearson(k / effect, n / effect, 0.95)
    assert wide_low <= low + 1e-9
    assert wide_high >= high - 1e-9


@pytest.mark.parametrize("n, p", [(20, 0.95), (30, 0.95), (100, 0.99), (300, 0.99), (100, 0.95)])
def test_a_true_rate_at_the_target_fails_in_at_most_one_run_of_twenty(n: int, p: float) -> None:
    """Computed over every outcome of independent drops; the score interval fails in 7.9 % at n = 100, p = 0.99."""
    design = _design(*[1.0] * n, stated=0.0)
    high = np.array([high_bound(design, (np.arange(n) < failures).astype(np.float64)) for failures in range(n + 1)])
    chance = scipy_stats.binom.pmf(np.arange(n + 1), n, 1 - p)
    assert chance[high < p].sum() <= 0.05


@pytest.mark.parametrize("n, outcome", [(58, Verdict.INCONCLUSIVE), (59, Verdict.PASS)])
def test_without_any_failure_59_independent_drops_are_needed(n: int, outcome: Verdict) -> None:
    assert verdict(Op.AT_LEAST, 0.95, *clopper_pearson(n, n, 0.95)) is outcome


def _spread(events: int, failures: int) -> list[float]:
    return [float(failures // events + (i < failures % events)) for i in range(events)]


def test_one_more_failure_does_not_turn_inconclusive_into_pass() -> None:
    """12 events of 30: 351 and 350 of 360 are both inconclusive at 95 %; 12 of 100: 1190 of 1200 at 98 % is too."""
    design = _design(*[30.0] * 12)
    assert _bounds(design, *_spread(12, 9))[0] == pytest.approx(0.9374, abs=5e-4)
    assert _bounds(design, *_spread(12, 10))[0] == pytest.approx(0.9336, abs=5e-4)
    assert {_judged(design, 0.95, *_spread(12, failures)) for failures in (9, 10)} == {Verdict.INCONCLUSIVE}
    assert _judged(_design(*[100.0] * 12), 0.98, *_spread(12, 10)) is Verdict.INCONCLUSIVE


def test_one_lost_event_of_nine_says_that_events_fail_as_a_whole() -> None:
    """800 of 900 with all failures in one event: nearly no bound, and inconclusive."""
    low, high = _bounds(_design(*[100.0] * 9), *[0.0] * 8, 100.0)
    assert [low, high] == pytest.approx([0.515, 0.997], abs=1e-3)
    assert _judged(_design(*[100.0] * 9), 0.95, *[0.0] * 8, 100.0) is Verdict.INCONCLUSIVE
    assert _judged(_design(*[100.0] * 9), 0.95, *_spread(9, 100)) is Verdict.FAIL


def test_one_event_of_900_perfect_drops_is_inconclusive() -> None:
    low, high = _bounds(_design(900.0), 0.0)
    assert [low, high] == pytest.approx([0.858, 1.0], abs=1e-3)


designs = st.integers(1, 8).flatmap(
    lambda events: st.tuples(
        st.lists(st.integers(1, 15), min_size=events, max_size=events),
        st.lists(st.integers(0, 2), min_size=events, max_size=events),
        st.lists(st.floats(0, 1), min_size=events, max_size=events),
        st.sampled_from([0.0, 0.05, 0.3]),
    )
)


def _drawn(case: tuple[list[int], list[int], list[float], float]) -> tuple[RateDesign, Floats]:
    sizes, strata, shares, stated = case
    _, codes = np.unique(strata, return_inverse=True)
    design = RateDesign(np.array(sizes, dtype=np.float64), codes.astype(np.int64), stated, 0.95)
    return design, np.floor(np.array(shares) ** 3 * design.sizes)


@given(designs, st.integers(0, 7), st.floats(0.01, 0.99))
def test_one_more_failure_improves_neither_bound_nor_verdict(
    case: tuple[list[int], list[int], list[float], float], where: int, target: float
) -> None:
    """Over numbers and sizes of events, kinds of fault, and places of the failures."""
    design, failed = _drawn(case)
    event = where % len(failed)
    more = failed + (np.arange(len(failed)) == event) * (failed < design.sizes)
    low, high = low_bound(design, failed), high_bound(design, failed)
    lower, less_high = low_bound(design, more), high_bound(design, more)
    assert lower <= low + 1e-9
    assert less_high <= high + 1e-9
    before, after = (verdict(Op.AT_LEAST, target, *pair) for pair in ((low, high), (lower, less_high)))
    assert ORDER.index(after) <= ORDER.index(before)


@given(designs)
def test_the_bounds_contain_the_rate(case: tuple[list[int], list[int], list[float], float]) -> None:
    design, failed = _drawn(case)
    rate = 1 - failed.sum() / design.n
    assert low_bound(design, failed) <= rate + 1e-9
    assert high_bound(design, failed) >= rate - 1e-9


@given(st.integers(1, 12), st.integers(1, 60), st.sampled_from([0.0, 0.05, 0.2]))
def test_fewer_events_never_prove_more(events: int, size: int, stated: float) -> None:
    """All restored: one event less of the same size, or the same drops in one event less."""
    low = _bounds(_design(*[float(size)] * (events + 1), stated=stated), *[0.0] * (events + 1))[0]
    shorter = _design(*[float(size)] * events, stated=stated)
    larger = _design(*[size * (events + 1) / events] * events, stated=stated)
    assert low_bound(shorter, np.zeros(events)) <= low + 1e-12
    assert low_bound(larger, np.zeros(events)) <= low + 1e-12


@given(st.integers(1, 12), st.integers(1, 60), st.floats(0, 1), st.sampled_from([0.0, 0.05, 0.2]))
def test_fewer_events_of_the_same_share_never_prove_more(events: int, size: int, share: float, stated: float) -> None:
    """Failures as well, as many in each event."""
    failed = float(round(size * share))
    less, more = (
        low_bound(_design(*[float(size)] * n, stated=stated), np.full(n, failed)) for n in (events, events + 1)
    )
    assert less <= more + 1e-3


@given(st.lists(st.integers(0, 10), min_size=2, max_size=4), st.integers(1, 4))
def test_fewer_repetitions_of_the_same_events_never_prove_more(pattern: list[int], times: int) -> None:
    """The same shares of failures, seen more often."""
    failed = np.array(pattern, dtype=np.float64)
    less, more = (_design(*[20.0] * (len(pattern) * n)) for n in (times, times + 1))
    assert low_bound(less, np.tile(failed, times)) <= low_bound(more, np.tile(failed, times + 1)) + 2e-3


def test_more_cohorts_are_not_more_events() -> None:
    """The same 900 drops of one fault in one, nine and ninety cohorts: one event, one interval."""
    found = {
        rate_interval(
            np.ones(900, dtype=bool), Clusters(np.zeros(900, dtype=np.int64), np.zeros(1, dtype=np.int64)), 0.95, 0.05
        )
        for _cohorts in (1, 9, 90)
    }
    assert len(found) == 1


def test_a_correlation_that_is_seen_widens_the_interval() -> None:
    """The same thirty failures of 300, in one event or in all three alike."""
    clusters = Clusters(np.repeat([0, 1, 2], 100), np.zeros(3, dtype=np.int64))
    apart, alike = (
        rate_interval(success, clusters, 0.95, 0.05) for success in (np.arange(300) < 270, np.arange(300) % 10 > 0)
    )
    assert (apart.source, alike.source) == ("estimated", "stated")
    assert apart.correlation > 0.1
    assert apart.low < 0.6
    assert 0.7 < alike.low < alike.high < apart.high


def test_the_censored_count_against_both_verdicts() -> None:
    """90 back, 10 cut off: lost for the lower bound, back for the upper."""
    clusters = Clusters(np.repeat(np.arange(10), 10), np.zeros(10, dtype=np.int64))
    back = np.arange(100) % 10 > 0
    found = rate_interval(back, clusters, 0.95, 0.0, np.ones(100, dtype=bool))
    assert found.high == 1.0
    assert found.low == rate_interval(back, clusters, 0.95, 0.0).low


def test_the_largest_correlation_that_a_proof_allows() -> None:
    """900 of 900 in 9 events, in 9 events of 300, in 20 of 50."""
    limits = [
        correlation_limit(_design(*[float(size)] * events), np.zeros(events), 0.95)
        for events, size in ((9, 100), (9, 300), (20, 50))
    ]
    assert limits == pytest.approx([0.1116, 0.1176, 0.2958], abs=1e-3)
    assert correlation_limit(_design(10.0), np.zeros(1), 0.95) is None


def test_the_number_of_events_that_decides() -> None:
    """It does, and one less does not."""
    design = _design(100.0, 100.0)
    needed = events_needed(design, 1.0, 0.95)
    assert needed is not None
    proven = [low_bound(_design(*[100.0] * k), np.zeros(k)) >= 0.95 for k in (needed - 1, needed)]
    assert proven == [False, True]
    missed = events_needed(design, 0.9, 0.95)
    assert missed is not None
    assert [high_bound(_design(*[100.0] * k), np.full(k, 10.0)) < 0.95 for k in (missed - 1, missed)] == [False, True]
    assert events_needed(design, 0.95, 0.95) is None


def test_many_failures_cost_no_more_than_a_moment() -> None:
    """A hundred thousand failures are examined at evenly spaced numbers; the bounds stay around the rate."""
    low, high = _bounds(_design(*[100_000.0] * 10), *[10_000.0] * 10)
    assert low < 0.9 < high
    assert math.isclose(low, 0.9, abs_tol=0.1)
