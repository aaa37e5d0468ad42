"""Exploration names planted defects of the server and of clients within a stated number of seeds."""

from __future__ import annotations

import pytest

from sim.exploration.schedule_experiments import schedule_experiment
from sim.exploration.seeds import SeedRunner
from sim.virtual.lane import collector_paused

from ...support.planted import DEFECTS, SUBJECTS

CLIENTS = 12
"""One defect strikes every tenth client."""

BUDGET = 150
"""Seeds of schedule exploration: a minute of CPU."""

NAMES = [defect.name for subject in SUBJECTS for defect in subject.DEFECTS]


def first_seed(name: str, budget: int) -> int | None:
    """The first seed whose run the defect's check names."""
    defect, runner = DEFECTS[name], SeedRunner()
    with pytest.MonkeyPatch.context() as patched, collector_paused():
        defect.plant(patched.setattr)
        for seed in range(1, budget + 1):
            if defect.check in runner.run(schedule_experiment(seed, CLIENTS), (defect.check,)).broken:
                return seed
    return None


@pytest.mark.parametrize("name", ["subscribed_late", "ack_first", "stale_position", "never_resends"])
def test_a_race_is_found_in_the_first_seeds(name: str) -> None:
    assert first_seed(name, 3) is not None


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_every_defect_is_found_within_the_budget() -> None:
    """All of those that are planted on purpose, in the server or in clients, whatever their subject."""
    assert [name for name in NAMES if first_seed(name, BUDGET) is None] == []
