"""Every bundled experiment says what it answers, can pass by its design, and accuses no sound system in small."""

from __future__ import annotations

import pytest

from reports.plan import plans
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import catalogue, load
from resilience.experiment.spec import Experiment
from sim.virtual.lane import VirtualLane
from tests.support.planted.runs import complaints, in_memory

NAMES = sorted(catalogue())
SCALE, MOST_CLIENTS = 0.1, 50
SLOW = {"crash", "demo"}
"""Long or large even at that scale; other tests run them."""


def with_fleet(name: str, scale: float = 1.0) -> Experiment:
    """The experiment with this program's own clients in every cohort: what the virtual lane runs of it."""
    cohorts = load(name).cohorts
    overrides = [f"cohorts.{i}.driver=fleet" for i, cohort in enumerate(cohorts) if cohort.driver is not None]
    return load(name, tuple(overrides), scale)


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_says_what_it_answers_and_can_pass(name: str) -> None:
    found = load(name)
    assert found.title
    assert found.question.endswith("?")
    assert found.group
    planned = plans(found)
    assert planned
    assert all(plan.can_pass for plan in planned)
    assert Lane.REAL in found.lanes
    assert Lane.VIRTUAL in with_fleet(name).lanes


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SLOW])
def test_an_experiment_accuses_no_sound_system(name: str) -> None:
    experiment = with_fleet(name, scale=min(SCALE, MOST_CLIENTS / load(name).clients))
    assert complaints(in_memory(VirtualLane(), experiment.seed, experiment)) == {}
