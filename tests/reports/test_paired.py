"""Paired differences: who is whose partner, what a cluster is, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from reports.episodes import episodes_frame
from reports.paired import (
    PAIRED_METRICS,
    PairedQuantile,
    Pairs,
    cluster_names,
    episode_values,
    match,
    paired_mean,
    paired_sums,
    pooled,
    stated_correlation,
    window_sums,
)
from reports.stats import Clusters
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.faults import BlackholeFault, CutFault, RefuseFault

from ..support.log_builder import experiment, sample_history

Floats = NDArray[np.float64]


def _pairs(events: int, size: int, strata: int = 1, people: int | None = None) -> Pairs:
    n = events * size
    event = np.repeat(np.arange(events), size)
    stratum = np.arange(events) % strata
    participant = np.arange(n) if people is None else np.tile(np.arange(people), n // people)
    everything = np.arange(n)
    return Pairs(everything, everything, Clusters(event, stratum), participant)


# --- partners and clusters --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="affected")
def _affected() -> pd.DataFrame:
    rows = episodes_frame(sample_history(Lane.VIRTUAL, clients=20, losing=0.0).log())
    return rows[rows["affected"]].reset_index(drop=True)


def test_partners_have_one_fault_and_one_participant(affected: pd.DataFrame) -> None:
    """In any order of the rows, and whatever codes the categories have."""
    names = cluster_names(sample_history(clients=20).experiment, 1, affected, real=False)
    shuffled = affected.sample(frac=1.0, random_state=3).reset_index(drop=True).astype({"participant": str})
    pairs = match(affected, shuffled, names)
    assert pairs is not None
    assert len(pairs.first) == len(affected)
    for column in ("fault_id", "participant"):
        mine, theirs = affected[column].astype(str).to_numpy(), shuffled[column].astype(str).to_numpy()
        assert (mine[pairs.first] == theirs[pairs.other]).all()
    assert (pairs.clusters.events, pairs.clusters.spare) == (9, 6)


def test_too_many_episodes_without_a_partner_are_not_paired(affected: pd.DataFrame) -> None:
    """A run that loses participants has fewer episodes: comparing survivors alone would reward that."""
    names = cluster_names(sample_history(clients=20).experiment, 1, affected, real=False)
    assert match(affected, affected.iloc[: int(len(affected) * 0.85)], names) is None
    assert match(affected.iloc[: int(len(affected) * 0.95)], affected, names) is not None


def test_alike_strikes_are_replicates_and_simultaneous_ones_are_one_cluster() -> None:
    plan = experiment(
        (
            CutFault(at=10.0, cohorts=("alpha", "beta"), times=3, every=10.0),
            CutFault(at=45.0, cohorts=("alpha",)),
            RefuseFault(at=30.0, cohorts=("gamma",), duration=3.0),
        ),
        cohorts=("alpha", "beta", "gamma"),
    )
    names = cluster_names(plan, 1, pd.DataFrame(), real=False)
    assert len(names) == 8
    cluster, stratum = names["cluster"], names["stratum"]
    assert cluster["0.0:cut@alpha"] == cluster["0.0:cut@beta"]
    assert cluster["0.2:cut@alpha"] == cluster["2.0:refuse@gamma"]
    assert stratum["0.0:cut@alpha"] == stratum["1.0:cut@alpha"]
    assert names["cluster"].nunique() == 4


def test_a_real_machine_shares_its_moments_between_overlapping_faults() -> None:
    """Virtual time has three clusters here, a real run one."""
    plan = experiment(
        (
            BlackholeFault(at=10.0, cohorts=("alpha",), duration=12.0),
            CutFault(at=12.0, cohorts=("beta",)),
            RefuseFault(at=15.0, cohorts=("gamma",), duration=3.0),
        ),
        cohorts=("alpha", "beta", "gamma"),
    )
    ids = [window.fault_id for window in plan.windows(1)]
    rows = pd.DataFrame({"fault_id": ids, "event": "0.0", "stratum": "all"})
    assert cluster_names(plan, 1, rows, real=False)["cluster"].nunique() == 3
    assert set(cluster_names(plan, 1, rows, real=True)["cluster"]) == {"0.0"}
    assert stated_correlation(plan, real=True) == plan.statistics.correlation
    assert stated_correlation(plan, real=False) == 0.0


@pytest.mark.parametrize(
    "strata, spare",
    [([0, 0, 0, 1, 1, 1], 4), ([0, 0, 1, 2, 3, 4], 4), ([0, 0, 0, 0, 0, 1], 5), ([0, 1, 2, 3, 4, 5], 5)],
)
def test_single_clusters_are_pooled(strata: list[int], spare: int) -> None:
    """No stratum of one cluster is left, so every cluster adds to the variance."""
    found = pooled(Clusters(np.arange(6), np.array(strata)))
    assert found.spare == spare
    assert (np.bincount(found.stratum) != 1).all()


# --- intervals --------------------------------------------------------------------------------------------------------


def test_the_error_is_that_of_a_paired_t_test_where_pairs_are_independent() -> None:
    """One pair per cluster, one stratum: the textbook's test."""
    gaps = np.random.default_rng(1).normal(0.3, 1.0, 12)
    found = paired_mean(gaps, _pairs(12, 1), 0.0)
    textbook = stats.ttest_1samp(gaps, 0.0)
    assert found.mean / found.error == pytest.approx(textbook.statistic)
    assert found.bounds(0.975) == pytest.approx(tuple(textbook.confidence_interval(0.95)))


def test_differences_between_kinds_of_fault_are_design_and_not_chance() -> None:
    """Detection changes under a blackhole only; three blackholes show it for certain."""
    gaps = np.repeat([0.0, 0.4, 0.0] * 3, 100) + np.tile(np.linspace(-0.01, 0.01, 100), 9)
    found = paired_mean(gaps, _pairs(9, 100, strata=3), 0.0)
    assert found.bounds(0.9975)[0] > 0
    assert paired_mean(gaps, _pairs(9, 100, strata=1), 0.0).bounds(0.9975)[0] < 0


def test_people_who_are_in_every_event_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    gaps = np.tile(rng.normal(0.0, 1.0, 20), 12) + rng.normal(0.0, 0.1, 240)
    same, new = _pairs(12, 20, people=20), _pairs(12, 20)
    assert paired_mean(gaps, same, 0.0).error > 3 * paired_mean(gaps, new, 0.0).error


def test_pairs_without_a_disagreement_leave_room_for_one() -> None:
    found = paired_mean(np.zeros(900), _pairs(9, 100), 0.0, shares=True)
    assert 0 < found.bounds(0.95)[1] < 0.01


_GAPS = st.lists(st.floats(-5, 5), min_size=24, max_size=24).map(np.array)


@given(_GAPS, st.floats(-3, 3), st.floats(0.6, 0.999))
def test_swapping_the_runs_turns_the_interval_around(gaps: Floats, shift: float, confidence: float) -> None:
    """And a constant moves it without changing its width."""
    pairs = _pairs(6, 4, strata=2, people=8)
    low, high = paired_mean(gaps, pairs, 0.05).bounds(confidence)
    assert paired_mean(-gaps, pairs, 0.05).bounds(confidence) == pytest.approx((-high, -low), abs=1e-9)
    assert paired_mean(gaps + shift, pairs, 0.05).bounds(confidence) == pytest.approx(
        (low + shift, high + shift), abs=1e-9
    )


@given(st.integers(0, 399), st.sets(st.integers(0, 399), max_size=40))
def test_one_more_failure_never_looks_better(one: int, lost: set[int]) -> None:
    """The point estimate falls, and the lower bound is never above that of one failure less in the same event."""
    pairs = _pairs(400, 1)
    before = np.zeros(400)
    before[list(lost)] = -1.0
    after = before.copy()
    after[one] = -1.0
    assert paired_mean(after, pairs, 0.0, shares=True).bounds(0.95)[0] <= (
        paired_mean(before, pairs, 0.0, shares=True).bounds(0.95)[0] + 1e-12
    )


@given(st.floats(-0.5, 0.5), st.sampled_from([0.5, 0.9, 0.95]))
def test_a_shift_of_all_times_is_found_in_every_quantile(shift: float, level: float) -> None:
    a = np.random.default_rng(4).gamma(2.0, 0.5, 900) + 1.0
    found = PairedQuantile(a, a + shift, level, _pairs(9, 100), 0.0)
    low, high = found.bounds(0.95)
    assert found.mean == pytest.approx(shift)
    assert low <= found.mean <= high
    assert low == pytest.approx(shift, abs=0.6)


def test_a_quantile_that_few_reach_has_no_upper_bound() -> None:
    a = np.random.default_rng(4).gamma(2.0, 0.5, 900)
    b = np.where(np.arange(900) % 25 == 0, np.inf, a)
    low, high = PairedQuantile(a, b, 0.95, _pairs(9, 100), 0.0).bounds(0.9975)
    assert np.isfinite(low)
    assert high == np.inf


def test_pairs_without_a_value_are_left_out() -> None:
    """A participant that was already offline has no detection; clusters and strata that are left empty go too."""
    pairs = _pairs(9, 10, strata=3)
    event = pairs.clusters.event
    some = pairs.where((event != 4) & (pairs.participant % 10 > 1))
    assert some is not None
    assert (some.clusters.events, some.clusters.spare) == (8, 5)
    assert (some.clusters.sizes == 8).all()
    kind = pairs.where(event % 3 != 1)
    assert kind is not None
    assert (kind.clusters.events, kind.clusters.spare) == (6, 4)
    assert pairs.where(event < 3) is None
    assert pairs.where(event < 0) is None
    assert pairs.where(event >= 0) is pairs


# --- sums instead of episodes -----------------------------------------------------------------------------------------


def test_sums_give_the_same_difference_and_no_narrower_interval(affected: pd.DataFrame) -> None:
    slow = episodes_frame(sample_history(Lane.VIRTUAL, clients=20, losing=0.0, slow=1.0).log())
    slow = slow[slow["affected"]].reset_index(drop=True)
    names = cluster_names(sample_history(clients=20).experiment, 1, affected, real=False)
    pairs = match(affected, slow, names)
    assert pairs is not None
    for metric in PAIRED_METRICS:
        a, b = (episode_values(metric, rows, 30.0) for rows in (affected, slow))
        full = paired_mean(b[pairs.other] - a[pairs.first], pairs, 0.0, shares=metric == "success_rate")
        small = paired_sums(window_sums(affected, 30.0), window_sums(slow, 30.0), names, metric, 0.0)
        assert small is not None
        assert small.mean == pytest.approx(full.mean, abs=1e-9)
        assert small.error >= full.error * 0.95


def test_downtime_less_outage_may_be_negative(affected: pd.DataFrame) -> None:
    """A participant that is back before the heal beats the outage itself; the excess cannot say so."""
    early = affected.assign(restored_at=affected["healed_at"] - 1.0, excess_s=0.0)
    assert episode_values("downtime_less_outage_s.restricted_mean", early, 30.0).mean() == pytest.approx(-1.0)
    assert episode_values("excess_s.restricted_mean", early, 30.0).mean() == 0.0


# --- false alarms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correlation, at_most", [(0.0, 0.05), (0.05, 0.05)])
def test_false_alarms_of_a_table_stay_below_five_percent(correlation: float, at_most: float) -> None:
    """Six judged means of 9 events x 100 people in 3 strata, nothing changed; both directions count.

    1,000 tables; the bound allows for the simulation's own noise (binomial, one in a thousand).
    """
    rng, tables, rows = np.random.default_rng(6), 1000, 6
    pairs = _pairs(9, 100, strata=3)
    confidence = 1 - 0.05 / (2 * 10)
    alarms = 0
    for _ in range(tables):
        shared = rng.normal(0.0, np.sqrt(correlation), (rows, 9)).repeat(100, axis=1)
        noise = shared + rng.normal(0.0, np.sqrt(1 - correlation), (rows, 900))
        bounds = (paired_mean(row, pairs, 0.0).bounds(confidence) for row in noise)
        alarms += any(low > 0 or high < 0 for low, high in bounds)
    assert alarms <= stats.binom.ppf(0.999, tables, at_most)
