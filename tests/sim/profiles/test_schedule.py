"""Timelines as experiments, and the faults of experiments as timelines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import ConfigError, UsageError
from resilience.experiment.loader import parse, to_toml
from resilience.experiment.spec import Experiment
from sim.profiles.schedule import LEAD_S, SETTLE_S, FaultSchedule, SilentFault, rounded, schedule_of, timelines_of
from sim.profiles.timelines import TICK_S, OutageKind, OutageTimelines

KEPT = (OutageKind.SILENT, OutageKind.REFUSED, OutageKind.SUSPENDED)
OUTAGE = st.tuples(st.floats(0, 500), st.floats(0.5, 60), st.sampled_from(KEPT)).map(
    lambda row: (row[0], row[0] + row[1] + TICK_S, row[2])
)
TIMELINES = st.lists(st.lists(OUTAGE, max_size=3), min_size=1, max_size=6).map(OutageTimelines.of)


def participants_in_order(made: FaultSchedule) -> list[int]:
    """Which participant each client of the experiment stands for."""
    return [who for cohort in made.experiment.cohorts for who in made.members[cohort.name]]


@given(TIMELINES, st.sampled_from(["freeze", "blackhole"]))
def test_the_faults_of_an_experiment_are_its_timelines(timelines: OutageTimelines, silent: SilentFault) -> None:
    made = schedule_of(timelines, "made", silent)
    stored = parse(to_toml(made.experiment), "made.toml")
    assert stored == made.experiment
    assert made.left_out == 0
    assert timelines_of(stored).digest == timelines.take(participants_in_order(made)).digest


def test_participants_of_one_fate_share_a_cohort() -> None:
    one, other = (1.0, 3.0, 0), (5.0, 6.0, 1)
    fates: list[list[tuple[float, float, int]]] = [[one], [], [other], [one], [], [one, other]]
    made = schedule_of(OutageTimelines.of(fates), "made")
    assert made.members == {"fate-1": (0, 3), "calm": (1, 4), "fate-2": (2,), "fate-3": (5,)}
    windows = [(w.fault.kind, w.place, w.starts_at, w.ends_at) for w in made.experiment.windows()]
    assert windows == [
        ("freeze", "fate-1", LEAD_S + 1, LEAD_S + 3),
        ("freeze", "fate-3", LEAD_S + 1, LEAD_S + 3),
        ("refuse", "fate-2", LEAD_S + 5, LEAD_S + 6),
        ("refuse", "fate-3", LEAD_S + 5, LEAD_S + 6),
    ]
    assert len(made.experiment.faults) == 2
    assert made.experiment.duration == LEAD_S + 6 + SETTLE_S


def test_each_kind_becomes_its_fault_and_the_shortest_are_left_out() -> None:
    fates: list[list[tuple[float, float, int]]]
    fates = [
        [(1, 2, 0)],
        [(1, 2, 1)],
        [(1, 2, 2)],
        [(1, 2, 3)],
        [(1, 1.2, 0), (3, 3.2, 3), (5, 5.2, 1), (5.4, 5.45, 2)],
    ]
    made = schedule_of(OutageTimelines.of(fates), "made", "blackhole", success=0.9)
    kinds = {w.place: w.fault.kind for w in made.experiment.windows()}
    assert kinds == {
        "fate-1": "blackhole",
        "fate-2": "refuse",
        "fate-3": "client_suspend",
        "fate-4": "refuse",
    }
    assert made.members["fate-2"] == (1, 2)
    assert (made.left_out, made.close) == (3, 0)
    assert [each.threshold for each in made.experiment.expectations] == [0.9]


def test_outages_that_follow_too_soon_are_counted() -> None:
    fates = [[(1, 2, 0), (2.2, 3, 1), (3.3, 4, 0)], [(1, 2, 0), (2.2, 3, 1), (3.3, 4, 0)], [(1, 2, 0), (2.29, 3, 0)]]
    assert schedule_of(OutageTimelines.of(fates), "made").close == 2


def test_rounding_lets_similar_outages_share_a_cohort() -> None:
    fates = [[(1.1, 3.2, 0)], [(0.9, 2.8, 0)], [(7.6, 7.7, 1)]]
    made = schedule_of(rounded(OutageTimelines.of(fates), 1.0), "made")
    assert made.members == {"fate-1": (0, 1), "fate-2": (2,)}
    assert [(w.starts_at, w.ends_at) for w in made.experiment.windows()] == [(11, 13), (18, 19)]


def test_a_calm_population_is_an_experiment_without_faults() -> None:
    made = schedule_of(OutageTimelines.none(5), "made")
    assert made.experiment.faults == ()
    assert made.members == {"calm": (0, 1, 2, 3, 4)}
    assert timelines_of(made.experiment).digest == OutageTimelines.none(5).digest


def test_too_many_fates_and_no_participants_are_rejected() -> None:
    with pytest.raises(UsageError, match=r"3 different timelines, .* at most 2 are allowed: round instants"):
        schedule_of(OutageTimelines.of([[(i, i + 1, 0)] for i in range(3)]), "made", most_cohorts=2)
    with pytest.raises(ConfigError, match="cohorts"):
        schedule_of(OutageTimelines.none(0), "made")
    with pytest.raises(ConfigError, match="name"):
        schedule_of(OutageTimelines.none(1), "My name")


def experiment(*faults: str) -> Experiment:
    head = 'name = "x"\nduration = 60\n[[cohorts]]\nname = "a"\nclients = 10\n'
    return parse(head + "".join(f'[[faults]]\ncohorts = ["a"]\n{fault}\n' for fault in faults), "x.toml")


REFUSE = 'kind = "refuse"\nat = 12\nduration = 2\n'


def test_the_faults_of_any_experiment_are_timelines_too() -> None:
    """Repetition and shares of a cohort are unfolded as in every lane."""
    found = timelines_of(experiment(REFUSE + "times = 3\nevery = 10\nshare = 0.4"))
    struck = [outages for outages in found if outages]
    assert len(struck) == 4
    assert all(outages == [(2, 4, 1), (12, 14, 1), (22, 24, 1)] for outages in struck)


def test_faults_that_are_no_outages_of_links_are_rejected() -> None:
    with pytest.raises(UsageError, match="latency is no outage"):
        timelines_of(experiment(REFUSE, 'kind = "latency"\nat = 12\nduration = 2\ndelay = 0.1'))
    with pytest.raises(UsageError, match=r"begins at 12 s, before the timeline \(20 s\)"):
        timelines_of(experiment(REFUSE), lead=20.0)
