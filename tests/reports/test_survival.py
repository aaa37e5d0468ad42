"""Recovery curves, restricted means and quantiles over all episodes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.stats import Clusters
from reports.survival import RecoveryTimes, quantile_interval, recovery_band


def _times(seconds: list[float], returned: list[bool] | None = None, never: list[bool] | None = None) -> RecoveryTimes:
    n = len(seconds)
    back = np.ones(n, dtype=bool) if returned is None else np.array(returned, dtype=bool)
    gone = np.zeros(n, dtype=bool) if never is None else np.array(never, dtype=bool)
    clusters = Clusters(np.arange(n), np.zeros(n, dtype=np.int64))
    return RecoveryTimes(np.array(seconds, dtype=np.float64), back, gone, clusters)


def _freireich() -> RecoveryTimes:
    """Remission times of 6-mercaptopurine, weeks; Freireich and others 1963, the textbook's data."""
    seen = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    cut_off = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    return _times([*map(float, seen), *map(float, cut_off)], [True] * len(seen) + [False] * len(cut_off))


def test_kaplan_meier_of_the_textbook() -> None:
    """The published estimates: 0.857 remain at 6, 0.807 at 7, 0.753 at 10, 0.448 at 23."""
    curve = _freireich().curve
    assert [1 - curve.at(t) for t in (6, 7, 10, 23)] == pytest.approx([0.8571, 0.8067, 0.7529, 0.4482], abs=1e-4)
    assert curve.quantile(0.5) == 23
    assert curve.quantile(0.9) == math.inf


@given(
    st.lists(st.tuples(st.sampled_from([0.5, 1.0, 1.5, 2.0, 7.25]), st.sampled_from("rnc")), min_size=1, max_size=40)
)
def test_the_curve_is_scipys(cases: list[tuple[float, str]]) -> None:
    """With ties between those that returned (r), never did (n) and were cut off (c)."""
    kinds = [kind for _, kind in cases]
    times = _times([seconds for seconds, _ in cases], [k == "r" for k in kinds], [k == "n" for k in kinds])
    at_end = [100.0 if kind == "n" else seconds for seconds, kind in cases]
    survived = stats.ecdf(stats.CensoredData.right_censored(at_end, ~times.returned)).cdf
    for t in (0.4, 0.5, 1.0, 1.7, 2.0, 7.25, 50.0):
        assert times.curve.at(t) == pytest.approx(survived.evaluate(t), abs=1e-12)


def test_a_mean_over_survivors_is_too_low() -> None:
    """With 12 of 100 not restored: 2.33 s over survivors against a restricted mean of 3.25 s."""
    back = np.linspace(0.33, 4.33, 88)
    times = _times([*back, *[10.0] * 12], [True] * 88 + [False] * 12, [False] * 88 + [True] * 12)
    assert back.mean() == pytest.approx(2.33)
    assert times.up_to(10.0).mean() == pytest.approx(0.88 * 2.33 + 0.12 * 10)
    assert times.curve.mean_up_to(10.0) == pytest.approx(0.88 * 2.33 + 0.12 * 10)
    assert times.curve.quantile(0.9) == math.inf
    assert times.curve.quantile(0.5) == pytest.approx(np.sort(back)[49])


def test_giving_up_early_does_not_look_better_than_giving_up_late() -> None:
    """A client that never returns counts the same whenever it gave up: it is not censored."""
    early = _times([1.0, 2.0, 0.5], [True, True, False], [False, False, True])
    late = _times([1.0, 2.0, 600.0], [True, True, False], [False, False, True])
    assert early.curve.share.tolist() == late.curve.share.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert early.up_to(30.0).mean() == late.up_to(30.0).mean() == pytest.approx(11.0)
    assert early.curve.mean_up_to(30.0) == late.curve.mean_up_to(30.0) == pytest.approx(11.0)


@given(st.lists(st.tuples(st.floats(0.01, 50), st.booleans()), min_size=1, max_size=60), st.floats(0.1, 60))
def test_the_restricted_mean_lies_between_its_two_completions(cases: list[tuple[float, bool]], limit: float) -> None:
    """The censored back when last seen, and the censored lost: whatever happened to them, the truth is between."""
    times = _times([s for s, _ in cases], [back for _, back in cases])
    least, most = times.if_back.up_to(limit).mean(), times.if_lost.up_to(limit).mean()
    assert least - 1e-9 <= times.curve.mean_up_to(times.observed_up_to(limit)) <= most + 1e-9
    assert least <= most
    if all(back for _, back in cases):
        assert least == pytest.approx(most) == pytest.approx(times.curve.mean_up_to(limit))


def test_half_back_and_half_cut_off_tell_little_about_thirty_seconds() -> None:
    """Fifty back after 0.5 s, fifty last seen after 1 s: the restricted mean is between 0.75 s and 15.25 s."""
    times = _times([0.5] * 50 + [1.0] * 50, [True] * 50 + [False] * 50)
    assert (times.if_back.up_to(30.0).mean(), times.if_lost.up_to(30.0).mean()) == (0.75, 15.25)
    assert times.observed_up_to(30.0) == 1.0
    assert times.curve.mean_up_to(1.0) == 0.75


def test_the_textbooks_restricted_mean() -> None:
    """The area over the curve of remission times up to 35 weeks: 23.29."""
    assert _freireich().curve.mean_up_to(35.0) == pytest.approx(23.287, abs=0.01)


def test_episodes_without_the_clock_are_left_out() -> None:
    """A client that was offline when the fault began has no time of detection."""
    frame = pd.DataFrame(
        {
            "detection_s": [1.0, math.nan, 3.0],
            "event": ["0.0", "0.0", "1.0"],
            "stratum": ["cut", "cut", "cut"],
            "participant": ["a", "b", "a"],
        }
    )
    times = RecoveryTimes.of(frame, "detection_s")
    assert len(times) == 2
    assert times.curve.quantile(0.5) == 1.0


@pytest.mark.parametrize("n, bounded", [(58, False), (59, True)])
def test_the_95th_percentile_needs_59_drops_for_an_upper_bound(n: int, bounded: bool) -> None:
    """The largest of 59 independent values exceeds it with 95.1 % confidence."""
    times = _times(list(np.linspace(1, 2, n)))
    assert math.isfinite(quantile_interval(times, 0.95, 0.95, 0.0).high) is bounded


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_coverage_of_quantiles(level: float) -> None:
    """Both one-sided bounds hold in at least 95 % of samples, but for the simulation's own error."""
    rng = np.random.default_rng(8)
    truth, rounds = -math.log(1 - level), 300
    low = high = 0
    for _ in range(rounds):
        found = quantile_interval(_times(list(rng.exponential(size=80))), level, 0.95, 0.0)
        low, high = low + (found.low <= truth), high + (found.high >= truth)
    assert min(low, high) / rounds >= 0.925


def test_a_quantile_has_no_upper_bound_from_too_few_drops() -> None:
    few, many = (_times(list(np.linspace(1, 2, n))) for n in (20, 2000))
    assert quantile_interval(few, 0.99, 0.95, 0.0).high == math.inf
    found = quantile_interval(many, 0.99, 0.95, 0.0)
    assert found.low < many.curve.quantile(0.99) < found.high < math.inf


def test_a_quantile_beyond_the_observation_has_a_lower_bound_only() -> None:
    """All censored after one second: the median is at least that second."""
    times = _times([1.0] * 50, [False] * 50)
    found = quantile_interval(times, 0.5, 0.95, 0.0)
    assert (found.low, found.high) == (1.0, math.inf)


def test_the_band_contains_the_curve() -> None:
    """Low, share and high are ordered at every step, also where the curve reaches 1."""
    times = _times([0.5, 1.0, 1.5, 2.0])
    low, high = recovery_band(times)
    assert (low <= times.curve.share + 1e-12).all()
    assert (high >= times.curve.share - 1e-12).all()


def test_an_empty_set_has_an_empty_curve() -> None:
    empty = _times([])
    assert empty.curve.quantile(0.5) == math.inf
    assert len(recovery_band(empty)[0]) == 0
