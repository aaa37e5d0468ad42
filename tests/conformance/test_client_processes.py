"""The model's clients wait for one another in the same processes as those of the real lane."""

from __future__ import annotations

import pytest

from chaos.client_worker import shards
from chaos.worker_main import members
from resilience.experiment.loader import catalogue, load
from resilience.experiment.spec import Experiment
from resilience.lab.participants import participants_of
from sim.client_processes import deal

OF_ONE_DRIVER = sorted(name for name in catalogue() if len({cohort.driver for cohort in load(name).cohorts}) == 1)
MANY = 100
"""More processes than most experiments have clients."""


def real_processes(experiment: Experiment, workers: int) -> set[frozenset[str]]:
    """Who is together in a process of the real lane."""
    placed = (members(shard, experiment, experiment.seed) for shard in shards(experiment, experiment.seed, workers))
    return {frozenset(each.actor for each in those) for those in placed}


def model_processes(experiment: Experiment, shared: int) -> set[frozenset[str]]:
    """Who is together in a process of the model."""
    participants = participants_of(experiment, experiment.seed)
    numbers = deal(participants, experiment.isolated_links(experiment.seed), shared)
    places: dict[int, set[str]] = {}
    for each, number in zip(participants, numbers, strict=True):
        places.setdefault(number, set()).add(each.actor)
    return {frozenset(those) for those in places.values()}


@pytest.mark.parametrize("name", OF_ONE_DRIVER)
@pytest.mark.parametrize("workers", [1, 2, 3, MANY])
def test_both_lanes_deal_clients_to_the_same_processes(name: str, workers: int) -> None:
    """Isolated links have a process of their own in both; no process of the real lane is empty."""
    experiment = load(name)
    assert real_processes(experiment, workers) == model_processes(experiment, workers)


def test_some_bundled_experiment_has_isolated_links_next_to_others() -> None:
    """Without one the test above would compare the turns alone."""
    kinds = {
        (bool(isolated := load(name).isolated_links()), len(isolated) < len(load(name).links()))
        for name in OF_ONE_DRIVER
    }
    assert kinds >= {(True, True), (False, True)}
