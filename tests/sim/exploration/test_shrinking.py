"""Shrinking finds the smallest experiment that shows a finding, within its budget, and every form of it is valid."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.experiment.faults import CutFault, ServerKillFault
from resilience.experiment.loader import parse, to_toml
from resilience.experiment.spec import Experiment
from resilience.experiment.virtual_conditions import VirtualConditions
from sim.exploration.crash_experiments import crash_experiment
from sim.exploration.schedule_experiments import MAKERS, schedule_experiment
from sim.exploration.shrinking import REDUCTIONS, shrink

CLIENTS = 8
SEEDS = st.integers(0, 2**32)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, clients=st.integers(1, 20))
def test_a_schedule_is_a_valid_experiment_of_its_seed(seed: int, clients: int) -> None:
    """It can be written to a file and read back, so a finding can be replayed from the file."""
    experiment = schedule_experiment(seed, clients)
    assert experiment == schedule_experiment(seed, clients)
    assert experiment.clients == clients
    assert parse(to_toml(experiment), "experiment.toml") == experiment


def test_every_kind_of_fault_is_drawn() -> None:
    """And every condition, some of the time."""
    experiments = [schedule_experiment(seed, CLIENTS) for seed in range(200)]
    assert {fault.kind for experiment in experiments for fault in experiment.faults} == set(MAKERS)
    for name in VirtualConditions.__struct_fields__:
        if name not in {"latency", "storage"}:
            assert len({getattr(experiment.virtual, name) for experiment in experiments}) > 1


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_every_reduction_is_another_valid_experiment(seed: int) -> None:
    for experiment in (schedule_experiment(seed, CLIENTS), crash_experiment(seed, CLIENTS)):
        for reduction in REDUCTIONS:
            for smaller in reduction(experiment):
                assert smaller != experiment
                assert smaller.clients <= experiment.clients
                assert len(smaller.faults) <= len(experiment.faults)


def with_kind(kind: str) -> Experiment:
    """The first generated experiment with this kind of fault and some others."""
    made = (schedule_experiment(seed, CLIENTS) for seed in range(1000))
    return next(each for each in made if len(each.faults) > 2 and kind in {fault.kind for fault in each.faults})


@pytest.mark.parametrize("kind", ["cut", "server_kill", "stall"])
def test_one_fault_that_shows_it_is_all_that_is_left(kind: str) -> None:
    """One client, the fault at rest, even conditions, default settings, and the shortest run."""
    small = shrink(with_kind(kind), lambda experiment: kind in {fault.kind for fault in experiment.faults}, 1000)
    experiment = small.experiment
    assert small.complete
    assert [fault.kind for fault in experiment.faults] == [kind]
    assert experiment.clients == 1
    assert experiment.virtual == VirtualConditions()
    assert experiment.faults[0].share == 1.0
    assert experiment.quiz.questions == 1
    if isinstance(experiment.faults[0], ServerKillFault):
        assert experiment.faults[0].crash is None


def test_two_faults_that_need_each_other_stay() -> None:
    """A cut and later a kill: neither half of the faults shows it alone."""
    start = crash_experiment(3, CLIENTS)
    cuts = (CutFault(1.0, (start.cohorts[0].name,)), CutFault(2.0, (start.cohorts[0].name,)))
    mixed = Experiment(
        "mixed", start.duration, start.cohorts, faults=(cuts[0], *start.faults, cuts[1]), hypothesis=start.hypothesis
    )

    def shows(experiment: Experiment) -> bool:
        kinds = [fault.kind for fault in experiment.faults]
        return "cut" in kinds and "server_kill" in kinds[kinds.index("cut") :]

    assert [fault.kind for fault in shrink(mixed, shows).experiment.faults] == ["cut", "server_kill"]


def test_the_budget_ends_it() -> None:
    """What was reached by then is returned, and that it is not complete."""
    calls = 0

    def shows(_: Experiment) -> bool:
        nonlocal calls
        calls += 1
        return True

    small = shrink(crash_experiment(3, CLIENTS), shows, 2)
    assert (calls, small.runs, small.complete) == (2, 2, False)


def test_an_experiment_that_nothing_reduces_stays() -> None:
    experiment = crash_experiment(3, CLIENTS)
    small = shrink(experiment, lambda _: False, 1000)
    assert small.experiment == experiment
    assert small.complete
