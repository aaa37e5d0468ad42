"""The schedule's combinators: repetition, flapping, rolling waves, shares of a cohort."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import ConfigError
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault, ResetFault, ServerKillFault
from resilience.experiment.schedule import last_end, victims
from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.participants import participants_of


def experiment(*faults: AnyFault, seed: int = 1) -> Experiment:
    return Experiment("a", 3600.0, (Cohort("x", 10), Cohort("y", 20)), seed=seed, faults=faults)


def test_flaps_strike_several_times_within_each_repetition() -> None:
    fault = RefuseFault(100.0, ("x",), times=2, every=60.0, flaps=3, flap_every=5.0, duration=2.0)
    windows = experiment(fault).windows()
    assert [window.starts_at for window in windows] == [100.0, 105.0, 110.0, 160.0, 165.0, 170.0]
    assert [window.fault_id for window in windows][:2] == ["0.0:refuse@x", "0.1:refuse@x"]


@given(st.integers(0, 10_000), st.floats(1.0, 500.0), st.floats(0.0, 20.0))
def test_a_poisson_fault_strikes_all_its_places_together_and_within_its_time(
    seed: int, gap: float, jitter: float
) -> None:
    """The same seed gives the same strikes, those of one cohort are those of the other, and none comes too late."""
    fault = CutFault(100.0, ("x", "y"), mean_gap=gap, until=900.0, jitter=jitter)
    windows = experiment(fault, seed=seed).windows()
    assert windows == experiment(fault, seed=seed).windows()
    at = {place: [w.starts_at for w in windows if w.place == place] for place in ("x", "y")}
    assert at["x"] == at["y"]
    assert all(100.0 < start <= 900.0 + jitter for start in at["x"])


def test_the_strikes_of_a_poisson_fault_are_as_many_as_its_mean_gap_says() -> None:
    """Over many seeds: their number has the mean and, within an eighth, the variance of a Poisson distribution."""
    counts = [
        len(experiment(CutFault(100.0, ("x",), mean_gap=20.0, until=900.0), seed=seed).windows())
        for seed in range(2000)
    ]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert mean == pytest.approx(40.0, abs=0.6)  # four standard errors
    assert variance == pytest.approx(40.0, rel=0.13)


def test_a_rolling_wave_strikes_one_cohort_after_the_other() -> None:
    windows = experiment(ResetFault(100.0, ("y", "x"), rolling=7.0)).windows()
    assert [(window.place, window.starts_at) for window in windows] == [("y", 100.0), ("x", 107.0)]


def test_a_fault_of_the_server_has_one_place_and_no_link() -> None:
    (window,) = experiment(ServerKillFault(100.0, duration=3.0)).windows()
    assert (window.fault_id, window.place, window.links) == ("0.0:server_kill@server", "server", ())


def test_a_whole_cohort_has_one_link_of_its_name() -> None:
    run = experiment(CutFault(100.0, ("x", "y")))
    assert [(link.name, link.cohort, len(link.indices)) for link in run.links()] == [("x", "x", 10), ("y", "y", 20)]
    assert {window.place: window.links for window in run.windows()} == {"x": ("x",), "y": ("y",)}


def test_a_share_splits_the_links_of_its_cohort_only() -> None:
    run = experiment(CutFault(100.0, ("x",), share=0.3), CutFault(200.0, ("x", "y")))
    sizes = {link.name: len(link.indices) for link in run.links()}
    assert sizes in ({"x.1": 7, "x.2": 3, "y": 20}, {"x.1": 3, "x.2": 7, "y": 20})
    partial, *whole = run.windows()
    assert [sizes[name] for name in partial.links] == [3]
    assert {window.place: set(window.links) for window in whole} == {"x": {"x.1", "x.2"}, "y": {"y"}}


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 1.0), min_size=1, max_size=3))
def test_every_window_strikes_exactly_its_victims(seed: int, shares: list[float]) -> None:
    run = experiment(*(CutFault(100.0 + i, ("y",), share=share) for i, share in enumerate(shares)), seed=seed)
    participants = participants_of(run, seed)
    assert len({participant.actor for participant in participants}) == 30
    for number, window in enumerate(run.windows(seed)):
        struck = {p.index for p in participants if p.cohort == "y" and p.link in window.links}
        marks = victims(number, run.faults[number], "y", 20, seed)
        assert struck == {client for client, is_struck in enumerate(marks) if is_struck}
        assert len(struck) == max(1, round(shares[number] * 20))


def test_what_is_kept_of_the_victims_is_a_byte_for_each_client() -> None:
    """Those of several seeds are kept, of cohorts of up to a million."""
    marks = victims(0, CutFault(100.0, ("x",), share=0.5), "x", 10_000, 1)
    assert sys.getsizeof(marks) < 11_000


def test_victims_follow_the_seed_and_not_the_other_cohorts() -> None:
    fault = CutFault(100.0, ("x",), share=0.5)
    assert len({victims(0, fault, "x", 10, seed) for seed in range(10)}) > 5
    alone = Experiment("a", 3600.0, (Cohort("x", 10),), faults=(fault,))
    assert alone.links()[:2] == experiment(fault).links()[:2]


@given(
    st.builds(
        RefuseFault,
        at=st.floats(10.0, 500.0),
        cohorts=st.sampled_from([("x",), ("x", "y")]),
        times=st.integers(1, 5),
        every=st.floats(1.0, 100.0),
        flaps=st.integers(1, 4),
        flap_every=st.floats(0.5, 20.0),
        rolling=st.floats(0.0, 30.0),
        jitter=st.floats(0.0, 30.0),
        duration=st.floats(0.1, 60.0),
    ),
    st.integers(0, 1000),
)
def test_no_window_ends_after_the_last_end(fault: RefuseFault, seed: int) -> None:
    windows = experiment(fault, seed=seed).windows()
    assert len(windows) == fault.times * fault.flaps * len(fault.cohorts)
    assert len({window.fault_id for window in windows}) == len(windows)
    assert max(window.ends_at for window in windows) <= last_end(fault) + 1e-9
    assert all(one.starts_at <= other.starts_at for one, other in pairwise(windows))


@pytest.mark.parametrize(
    "fault, key",
    [
        (CutFault(100.0, ("x",), flaps=0), "flaps"),
        (CutFault(100.0, ("x",), flaps=2), "flap_every"),
        (CutFault(100.0, ("x",), flaps=2, flap_every=0.0), "flap_every"),
        (CutFault(100.0, ("x",), mean_gap=20.0), "until"),
        (CutFault(100.0, ("x",), until=200.0), "mean_gap"),
        (CutFault(100.0, ("x",), mean_gap=0.5, until=200.0), "mean_gap"),
        (CutFault(100.0, ("x",), mean_gap=20.0, until=100.0), "until"),
        (CutFault(100.0, ("x",), mean_gap=20.0, until=3600.0), "at"),
        (CutFault(100.0, ("x",), mean_gap=20.0, until=200.0, times=2, every=5.0), "times"),
        (CutFault(100.0, ("x",), mean_gap=20.0, until=200.0, every=5.0), "every"),
        (CutFault(100.0, ("x",), rolling=-1.0), "rolling"),
        (CutFault(100.0, ("x",), share=0.0), "share"),
        (CutFault(100.0, ("x",), share=1.1), "share"),
        (CutFault(100.0, ()), "cohorts"),
        (ServerKillFault(100.0, ("x",), duration=1.0), "cohorts"),
        (ServerKillFault(100.0, share=0.5, duration=1.0), "share"),
        (BlackholeFault(100.0, ("x", "y"), rolling=3600.0, duration=1.0), "at"),
        (RefuseFault(100.0, ("x",), flaps=100, flap_every=40.0, duration=1.0), "at"),
    ],
)
def test_a_broken_rule_names_its_key(fault: AnyFault, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(fault)
    assert caught.value.key == f"faults[0].{key}"


def test_no_cohort_has_the_name_of_the_server() -> None:
    with pytest.raises(ConfigError, match="names the server"):
        Experiment("a", 60.0, (Cohort("server", 1),))
