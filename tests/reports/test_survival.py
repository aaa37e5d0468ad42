"""Recovery curves, restricted means and quantiles over all episodes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.stats import Clusters
from reports.survival import RecoveryTimes, quantile_interval, recovery_band, restricted_values


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


def test_a_mean_over_survivors_is_too_low() -> None:
    """With 12 of 100 not restored: 2.33 s over survivors against a restricted mean of 3.25 s."""
    back = np.linspace(0.33, 4.33, 88)
    times = _times([*back, *[10.0] * 12], [True] * 88 + [False] * 12, [False] * 88 + [True] * 12)
    values = restricted_values(times, 10.0)
    assert back.mean() == pytest.approx(2.33)
    assert values.mean() == pytest.approx(0.88 * 2.33 + 0.12 * 10)
    assert times.curve.quantile(0.9) == math.inf
    assert times.curve.quantile(0.5) == pytest.approx(np.sort(back)[49])


def test_giving_up_early_does_not_look_better_than_giving_up_late() -> None:
    """A client that never returns counts the same whenever it gave up: it is not censored."""
    early = _times([1.0, 2.0, 0.5], [True, True, False], [False, False, True])
    late = _times([1.0, 2.0, 600.0], [True, True, False], [False, False, True])
    assert early.curve.share.tolist() == late.curve.share.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert restricted_values(early, 30.0).mean() == restricted_values(late, 30.0).mean() == pytest.approx(11.0)


@given(st.lists(st.tuples(st.floats(0.01, 50), st.booleans()), min_size=1, max_size=60))
def test_the_restricted_mean_is_the_area_over_the_curve(cases: list[tuple[float, bool]]) -> None:
    """The mean of the values is the integral of one minus the curve up to the deadline, censored or not."""
    times, deadline = _times([s for s, _ in cases], [back for _, back in cases]), 20.0
    curve = times.curve
    inside = curve.seconds[curve.seconds < deadline]
    edges = np.concatenate([[0.0], inside, [deadline]])
    heights = np.concatenate([[1.0], 1 - curve.share[: len(inside)]])
    area = float((np.diff(edges) * heights).sum())
    assert restricted_values(times, deadline).mean() == pytest.approx(area, abs=1e-9)


@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=40))
def test_pseudo_values_of_complete_data_are_the_times_themselves(seconds: list[float]) -> None:
    """One observation censored at the deadline itself forces the general formula; the others stay unchanged."""
    deadline = 60.0
    times = _times([*seconds, 59.0], [True] * len(seconds) + [False])
    values = restricted_values(times, deadline)
    assert values[:-1] == pytest.approx(np.array(seconds), abs=1e-6)


def test_standard_error_by_pseudo_values_is_close_to_greenwoods() -> None:
    """On the textbook's data: restricted mean at 35 weeks 23.3, standard error 2.8 (Greenwood's)."""
    values = restricted_values(_freireich(), 35.0)
    assert values.mean() == pytest.approx(23.287, abs=0.01)
    assert values.std(ddof=1) / math.sqrt(len(values)) == pytest.approx(2.83, abs=0.1)


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
