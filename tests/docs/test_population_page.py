"""The example of docs/population.md is an experiment that its lane can carry."""

from __future__ import annotations

from resilience.experiment.loader import parse
from sim.population.run import PopulationRun
from tests.docs.markdown import blocks


def test_the_example_is_carried(pages: dict[str, str]) -> None:
    (example,) = blocks(pages["docs/population.md"], "toml")
    experiment = parse(example.text, "population.md", scale=0.01)
    assert PopulationRun(experiment, 1).population.timelines.outages > 0
