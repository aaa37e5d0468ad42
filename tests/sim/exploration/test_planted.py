"""Exploration names planted defects of the server within a stated number of seeds."""

from __future__ import annotations

import pytest

from sim.exploration.schedule_experiments import schedule_experiment
from sim.exploration.seeds import SeedRunner
from sim.virtual.lane import collector_paused

from ...support.planted import DEFECTS, answers, identities, presence, snapshots, stream

CLIENTS = 12
"""One defect strikes every tenth client."""

BUDGET = 150
"""Seeds of schedule exploration: a minute of CPU."""

OF_SERVER = [
    defect.name for subject in (answers, stream, snapshots, identities, presence) for defect in subject.DEFECTS
]


def first_seed(name: str, budget: int) -> int | None:
    """The first seed whose run the defect's check names."""
    defect, runner = DEFECTS[name], SeedRunner()
    with pytest.MonkeyPatch.context() as patched, collector_paused():
        defect.plant(patched.setattr)
        for seed in range(1, budget + 1):
            if defect.check in runner.run(schedule_experiment(seed, CLIENTS), (defect.check,)).broken:
                return seed
    return None


@pytest.mark.parametrize("name", ["subscribed_late", "ack_first", "stale_position"])
def test_a_race_is_found_in_the_first_seeds(name: str) -> None:
    assert first_seed(name, 3) is not None


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_every_defect_of_the_server_is_found_within_the_budget() -> None:
    """All of those that are planted on purpose, whatever their subject."""
    assert [name for name in OF_SERVER if first_seed(name, BUDGET) is None] == []
