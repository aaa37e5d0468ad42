"""Sampled timelines: addressed draws, the same whatever the blocks, and the statistics that a profile asks for.

Seeds are fixed. Bounds are four standard deviations of the closed form or wider.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import lognorm

from resilience.errors import ConfigError
from resilience.random_streams import uniform
from sim.profiles.files import bundled_profiles, parse_mix
from sim.profiles.mix import NetworkMix, Segment
from sim.profiles.profile import NetworkProfile
from sim.profiles.sampler import sample
from sim.profiles.timelines import OutageKind, OutageTimelines, on_grid

from .made_profiles import (
    gilbert_elliott,
    groups,
    lognormal,
    members,
    once,
    poisson,
    population,
    process,
    profile,
    uniform_length,
)

HOUR = 3600.0


def mixed(number: int = 150) -> NetworkMix:
    """Every bundled profile, so many participants each."""
    return parse_mix(tuple(f"{name}={number}" for name in bundled_profiles()))


def lengths(timelines: OutageTimelines) -> np.ndarray:
    return timelines.end - timelines.start


def near(found: float, expected: float, deviation: float) -> bool:
    return abs(found - expected) <= 4 * deviation


# addresses ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> OutageTimelines:
    return sample(mixed(), HOUR, seed=3)


@given(st.integers(1, 2000), st.integers(0, 1800), st.integers(0, 1800))
def test_blocks_and_ranges_do_not_count(whole: OutageTimelines, block: int, one: int, other: int) -> None:
    first, past = sorted((one, other))
    part = sample(mixed(), HOUR, seed=3, first=first, past=past, block=block + 40)
    assert part.digest == whole.take(range(first, past)).digest


def test_the_timelines_of_a_seed_are_known() -> None:
    """Every seeded run depends on addresses and formulas: a change of either must not go unnoticed."""
    cell = process(poisson(1), lognormal(30, 1), shared=members(7, struck=0.8), member_delays=(uniform_length(0, 2),))
    made = profile(
        stall=process(poisson(2), lognormal(2, 1), silent=0.7), cell=cell, fade=process(gilbert_elliott(0.01, 4))
    )
    timelines = sample(population(50, made), HOUR, seed=1)
    assert (timelines.outages, timelines.digest[:16]) == GOLDEN


GOLDEN = (597, "06c86ce83bfaa3e1")


def test_a_draw_is_the_scalar_one_of_its_address() -> None:
    made = population(5, profile(stall=process(poisson(30), lognormal(2, 1), silent=0.5)))
    timelines = sample(made, HOUR, seed=9, replication=4)
    for participant, outages in enumerate(timelines):
        address = (9, 4, "all", participant, "made/stall")
        start = 0.0 - 120.0 * np.log1p(-uniform(*address, "gap", 0))
        assert outages[0].start == on_grid(start)
        assert (outages[0].kind == OutageKind.SILENT) == (uniform(*address, "kind", 0) < 0.5)


def test_other_participants_move_no_draw() -> None:
    wifi = Segment("wifi", 100, (bundled_profiles()["home-wifi"],))
    more = Segment("wifi", 130, wifi.profiles)
    cars = Segment("cars", 50, (bundled_profiles()["lte-moving"],))
    alone = sample(NetworkMix((wifi,)), HOUR, seed=1)
    behind = sample(NetworkMix((cars, more)), HOUR, seed=1)
    assert behind.take(range(50, 149)).digest == alone.take(range(99)).digest


def test_a_later_horizon_only_adds_outages() -> None:
    made = parse_mix(("home-wifi=200", "high-speed-rail=160"))
    short, long = sample(made, HOUR, seed=1), sample(made, 2 * HOUR, seed=1)
    for before, after in zip(short, long, strict=True):
        kept = [outage for outage in after if outage.start < HOUR]
        assert [outage.start for outage in kept] == [outage.start for outage in before]


def test_seeds_and_replications_are_apart() -> None:
    digests = {sample(mixed(20), HOUR, seed=s, replication=r).digest for s in range(3) for r in range(3)}
    assert len(digests) == 9


@pytest.mark.parametrize("horizon", [0.0, -1.0, math.nan, math.inf, 8 * 86_400.0])
def test_a_horizon_that_cannot_be_is_rejected(horizon: float) -> None:
    with pytest.raises(ConfigError, match="horizon"):
        sample(mixed(1), horizon, seed=1)


# statistics -----------------------------------------------------------------------------------------------------------


def test_poisson_outages_come_at_their_rate_uniformly_over_the_horizon() -> None:
    number, rate = 20_000, 3.0
    timelines = sample(population(number, profile(a=process(poisson(rate), uniform_length(0.01, 0.02)))), HOUR, seed=2)
    assert near(timelines.outages, number * rate, math.sqrt(number * rate))
    counts = np.diff(timelines.ptr)
    assert near(counts.var(), rate, math.sqrt((rate + 2 * rate**2) / number))
    assert near(timelines.start.mean(), HOUR / 2, HOUR / math.sqrt(12 * number * rate))


def test_a_rate_of_zero_gives_no_outage() -> None:
    assert sample(population(10, profile(a=process(poisson(0), lognormal(1, 1)))), HOUR, seed=2).outages == 0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_lengths_have_the_quantiles_of_their_mixture(share: float) -> None:
    made = process(once(0.1), lognormal(2.0, 1.0, 0.9), lognormal(60.0, 1.2, 0.1))
    found = lengths(sample(population(40_000, profile(a=made)), HOUR, seed=5))
    at = np.quantile(found, share)
    expected = 0.9 * lognorm.cdf(at, 1.0, scale=2.0) + 0.1 * lognorm.cdf(at, 1.2, scale=60.0)
    assert near(expected, share, math.sqrt(share * (1 - share) / len(found)))


def test_lengths_are_cut_to_their_limits() -> None:
    made = process(once(0.1), uniform_length(0.001, 0.02))
    found = lengths(sample(population(5000, profile(a=made)), HOUR, seed=5))
    assert found.min() == on_grid(0.1 * HOUR + 0.01) - on_grid(0.1 * HOUR)
    assert near((found <= found.min()).mean(), 9 / 19, 0.5 / math.sqrt(5000))


def test_a_gilbert_elliott_link_is_bad_for_its_share_in_bursts_of_its_length() -> None:
    number, bad, burst = 2000, 0.3, 8.0
    timelines = sample(population(number, profile(a=process(gilbert_elliott(bad, burst)))), HOUR, seed=4)
    found = lengths(timelines)
    inside = np.minimum(timelines.end, HOUR) - timelines.start
    settled = burst * (1 - bad)  # the chain begins in its good state and forgets it at this time constant
    share = bad * (1 - settled / HOUR)
    deviation = math.sqrt(2 * bad * (1 - bad) * settled / HOUR / number)
    assert near(inside.sum() / (number * HOUR), share, deviation)
    assert near(found.mean(), burst, burst / math.sqrt(len(found)))
    assert near((found > 2 * burst).mean(), math.exp(-2), 0.5 / math.sqrt(len(found)))


def test_the_share_of_silent_outages_is_kept() -> None:
    made = process(poisson(5), lognormal(1, 0.5), silent=0.7)
    kinds = sample(population(4000, profile(a=made)), HOUR, seed=6).kind
    assert near((kinds == OutageKind.SILENT).mean(), 0.7, 0.5 / math.sqrt(len(kinds)))
    assert set(kinds.tolist()) == {OutageKind.SILENT, OutageKind.REFUSED}


# shared fate ----------------------------------------------------------------------------------------------------------


def test_members_of_an_access_point_have_the_same_outages_and_others_have_others() -> None:
    made = process(poisson(2), lognormal(10, 1), shared=members(25))
    timelines = list(sample(population(100 * 25 + 3, profile(a=made)), HOUR, seed=7, block=64))
    fates = [timelines[first : first + 25] for first in range(0, len(timelines), 25)]
    assert all(fate == group[0] for group in fates for fate in group)
    firsts = [group[0][0].start for group in fates if group[0]]
    assert len(set(firsts)) == len(firsts)
    assert near(sum(len(group[0]) for group in fates), 101 * 2, math.sqrt(202))


def test_access_points_of_two_segments_are_apart() -> None:
    made = profile(a=process(poisson(2), lognormal(10, 1), shared=members(50)))
    segments = NetworkMix((Segment("one", 50, (made,)), Segment("two", 50, (made,))))
    timelines = list(sample(segments, HOUR, seed=7))
    assert timelines[0] == timelines[49] != timelines[50] == timelines[99]


def test_a_struck_share_of_a_group_is_drawn_for_each_outage() -> None:
    made = process(poisson(1), uniform_length(1, 2), shared=members(200, struck=0.8))
    timelines = sample(population(200 * 200, profile(a=made)), HOUR, seed=8)
    starts, reached = np.unique(timelines.start, return_counts=True)
    assert near(reached.mean(), 160, math.sqrt(32 / len(starts)))
    assert near(reached.var(), 32, 32 * math.sqrt(2 / len(starts)))


def test_who_is_struck_is_drawn_again_for_each_outage() -> None:
    made = process(poisson(30), uniform_length(0.01, 0.02), shared=members(300, struck=0.5))
    timelines = sample(population(300, profile(a=made)), HOUR, seed=8)
    outages, each = len(np.unique(timelines.start)), np.diff(timelines.ptr)
    assert outages > 20
    assert near(each.mean(), outages / 2, math.sqrt(outages / 4 / 300))
    assert near(each.var(), outages / 4, outages / 4 * math.sqrt(2 / 300))


def test_correlation_within_an_access_point_is_that_of_its_shared_outages() -> None:
    """Both of two are struck by a shared outage, or each by one of its own: g + (1 - g) q^2; strangers: by chance."""
    own = process(poisson(1.0), uniform_length(1, 2))
    shared = process(poisson(0.5), uniform_length(1, 2), shared=members(2))
    timelines = sample(population(40_000, profile(own=own, shared=shared)), HOUR, seed=9)
    struck = np.diff(timelines.ptr).reshape(-1, 2) > 0
    q, g = 1 - math.exp(-1.0), 1 - math.exp(-0.5)
    single = 1 - (1 - g) * (1 - q)
    deviation = 0.5 / math.sqrt(20_000)
    assert near(struck.mean(), single, deviation)
    assert near(struck.all(axis=1).mean(), g + (1 - g) * q**2, deviation)
    assert near((struck[1:, 0] & struck[:-1, 1]).mean(), single**2, deviation)


def test_a_population_wide_incident_strikes_its_share_of_every_segment_at_one_time() -> None:
    made = parse_mix(("lte-moving+carrier-outage=4000", "5g+carrier-outage=4000", "home-wifi=100"))
    carrier: NetworkProfile = bundled_profiles()["carrier-outage"]
    bare = NetworkMix(tuple(Segment(each.name, each.participants, (carrier,)) for each in made.segments[:2]))
    timelines = sample(bare, HOUR, seed=1)
    assert set(timelines.start.tolist()) == {1800.0}
    assert len(set(timelines.end.tolist())) == 1
    for low in (0, 4000):
        assert near(timelines.take(range(low, low + 4000)).outages / 4000, 0.3, 0.5 / math.sqrt(4000))
    assert sample(made, HOUR, seed=1).take(range(8000, 8100)).outages < 100


def test_a_rolling_deploy_replaces_one_group_after_the_other() -> None:
    deploy = process(once(0.25, step=60), uniform_length(5, 30), shared=groups(8), effect="deploy")
    timelines = sample(population(8000, profile(a=deploy)), HOUR, seed=1)
    starts, reached = np.unique(timelines.start, return_counts=True)
    assert starts.tolist() == [900.0 + 60.0 * i for i in range(8)]
    assert all(near(number, 1000, math.sqrt(875)) for number in reached)
    assert (timelines.kind == OutageKind.DEPLOY).all()
    assert np.diff(timelines.ptr).tolist() == [1] * 8000


def test_a_wave_that_would_pass_the_horizon_ends_there() -> None:
    late = process(once(0.5, step=600), uniform_length(5, 30), shared=members(1))
    assert sample(population(10, profile(a=late)), HOUR, seed=1).outages == 3


def test_members_return_after_the_shared_end_each_with_delays_of_its_own() -> None:
    delays = (uniform_length(1, 2), uniform_length(100, 200, share=0.1))
    made = process(once(0.5), uniform_length(20, 20.001), shared=members(10_000), member_delays=delays)
    found = lengths(sample(population(10_000, profile(a=made)), HOUR, seed=1))
    assert found.min() >= 21
    assert near((found > 100).mean(), 0.1, 0.3 / math.sqrt(10_000))
    quick = found[found < 100]
    assert near(quick.mean(), 21.5, 1 / math.sqrt(12 * len(quick)) + 0.0003)


def test_profiles_over_one_another_unite_their_outages() -> None:
    one = profile("one", a=process(once(0.5), uniform_length(10, 10.001)))
    two = profile("two", a=process(once(0.501), uniform_length(100, 100.001)))
    ((outage,),) = sample(population(1, one, two), HOUR, seed=1)
    assert outage.start == 1800.0
    assert 1903 < outage.end < 1904
