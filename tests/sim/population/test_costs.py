"""What of an experiment's costs a population's server spends on a return."""

from __future__ import annotations

from pathlib import Path

import msgspec

from reports.episode_table import read_episodes
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import CutFault
from resilience.experiment.spec import Cohort, Experiment
from sim.population.run import PopulationRun


def test_the_reply_of_a_return_is_work_of_the_server(tmp_path: Path) -> None:
    """Twenty are cut at once; a thread that replies for 10 ms brings them back as one that restores 10 ms longer."""
    cut = CutFault(60.0, ("wired",))
    plan = Experiment("wired", 120.0, (Cohort("wired", 20),), faults=(cut,))
    thread = ModelCosts(shared_processors=2, handshake=0.002, restore=0.003)
    ways = {
        "quick": thread,
        "replies": msgspec.structs.replace(thread, reply=0.01),
        "restores": msgspec.structs.replace(thread, restore=0.013),
    }
    last = {}
    for name, costs in ways.items():
        (tmp_path / name).mkdir()
        PopulationRun(msgspec.structs.replace(plan, costs=costs), 3).execute(tmp_path / name)
        last[name] = read_episodes(tmp_path / name / "episodes.parquet")["restored_at"].max()
    assert last["replies"] == last["restores"] > last["quick"]
