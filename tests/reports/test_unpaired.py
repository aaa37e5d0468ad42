"""Differences between runs that share no draw: the textbook's test, the floor of the stated correlation, censoring."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.unpaired import MeanDifference, RunMean, run_mean

from ..support.made_runs import made_run

DEADLINE_S = 30.0


def _dials(values: list[float]) -> pd.DataFrame:
    """One episode per event, all events alike."""
    n = len(values)
    return pd.DataFrame(
        {
            "event": [f"{i}.0" for i in range(n)],
            "stratum": ["cut"] * n,
            "participant": [f"p{i}" for i in range(n)],
            "attempts": values,
            "returned": [True] * n,
            "never": [False] * n,
        }
    )


def _mean(metric: str, rows: pd.DataFrame, stated: float = 0.05) -> RunMean:
    found = run_mean(metric, rows, DEADLINE_S, stated)
    assert found is not None
    return found


def test_independent_events_get_the_test_of_welch() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(3.0, 1.0, 12), rng.normal(4.0, 3.0, 9)
    found = MeanDifference(*(_mean("attempts.mean", _dials(list(values))) for values in (a, b)))
    textbook = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert found.bounds(0.975) == pytest.approx((textbook.low, textbook.high))


def test_few_events_are_never_believed_below_the_stated_correlation() -> None:
    """Events that happen to look alike do not show that they are."""
    rows = made_run(np.random.default_rng(2), correlation=0.0).affected
    halves = []
    for stated in (0.0, 0.05, 0.2):
        low, high = MeanDifference(*[_mean("success_rate", rows, stated)] * 2).bounds(0.95)
        halves.append((high - low) / 2)
    assert halves[2] > 1.5 * halves[1] > 1.5 * halves[0]


def test_events_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    alike, unlike = (made_run(rng, correlation=correlation).affected for correlation in (0.0, 0.5))
    narrow, wide = (MeanDifference(*[_mean("detection_s.mean", rows)] * 2).bounds(0.95)[1] for rows in (alike, unlike))
    assert wide > 2 * narrow


def test_the_censored_may_be_back_or_lost() -> None:
    """Neither completion is left out: the interval reaches from the one to the other."""
    rows = made_run(np.random.default_rng(4), success=1.0).affected
    cut_off = np.arange(len(rows)) % 50 == 0
    censored = rows.assign(returned=~cut_off)
    rate, downtime = (_mean(metric, censored) for metric in ("success_rate", "downtime_s.restricted_mean"))
    assert (rate.low, rate.high) == pytest.approx((0.98, 1.0))
    seen = rows["downtime_s"].to_numpy()
    assert downtime.low == pytest.approx(seen.mean())
    assert downtime.high == pytest.approx(np.where(cut_off, DEADLINE_S, seen).mean())
    whole = _mean("success_rate", rows)
    low, high = MeanDifference(whole, rate).bounds(0.95)
    assert low < rate.low - rate.high
    assert high > 0


def test_a_run_without_a_failure_leaves_room_for_one() -> None:
    rows = made_run(np.random.default_rng(5), success=1.0).affected
    low, high = MeanDifference(*[_mean("success_rate", rows)] * 2).bounds(0.95)
    assert 0 < high == -low < 0.02


def test_one_event_shows_no_variance_between_events() -> None:
    rows = made_run(np.random.default_rng(6)).affected
    assert run_mean("success_rate", rows[rows["event"] == "0.0"], DEADLINE_S, 0.05) is None
    assert run_mean("detection_s.mean", rows.assign(detection_s=np.nan), DEADLINE_S, 0.05) is None
