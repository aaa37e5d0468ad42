"""One run of the population lane: an empty directory in, a complete one out, with episodes and no events.

``run.json`` says "interrupted" until the run has ended otherwise.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from reports.column_files import inspect_evidence
from reports.episode_table import episode_writer
from reports.gauge_charts import GAUGES
from resilience.errors import ConfigError, ExperimentError, HarnessError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import to_toml
from resilience.experiment.spec import Experiment
from resilience.lab.manifest import EPISODES, EXPERIMENT, take_inventory
from resilience.lab.run import RunOutcome, closing_info, opening_info, require_lane
from resilience.lab.run_directory import RunStatus, write_run_info

from .columns import EpisodeTable
from .gauges import gauges_of
from .population import Population
from .rules import PopulationRules
from .shards import run_population
from .world import population_of, rules_of


class PopulationRun:
    """An experiment that the lane can carry, ready to be run.

    Making it raises :class:`~resilience.errors.UsageError` and its subclasses for what the lane cannot carry, with the
    experiment's name, the key and the rule.
    """

    def __init__(self, experiment: Experiment, seed: int) -> None:
        require_lane(experiment, Lane.POPULATION)
        self.experiment, self.seed = experiment, seed
        try:
            self.rules: PopulationRules = rules_of(experiment)
            self.population: Population = population_of(experiment, seed)
        except ConfigError as error:
            raise ExperimentError(experiment.name, error.key, f"{error.value!r}: {error.rule}") from error

    def execute(self, run_dir: Path) -> None:
        """Run it and leave its episodes in ``run_dir``, which must be empty but for its folders.

        Raises :class:`~resilience.errors.HarnessError` when the directory cannot be written, or a worker ends.
        """
        began = time.monotonic()
        info = opening_info(Lane.POPULATION, self.experiment, self.seed)
        try:
            (run_dir / EXPERIMENT).write_text(to_toml(self.experiment), encoding="utf-8")
            write_run_info(run_dir, info)
            self._write_results(run_dir)
            info = msgspec.structs.replace(info, evidence=take_inventory(run_dir, inspect_evidence))
            outcome = RunOutcome(RunStatus.COMPLETED)
            write_run_info(run_dir, closing_info(info, _versions(), outcome, time.monotonic() - began))
        except OSError as error:
            raise HarnessError(f"{run_dir}: cannot be written: {error.strerror or error}") from error

    def _write_results(self, run_dir: Path) -> None:
        servers = self.experiment.population.servers
        result = run_population(self.population, self.rules, servers, min(servers, os.cpu_count() or 1))
        table = EpisodeTable(self.experiment, self.seed, self.population, self.rules, result.episodes)
        with episode_writer(run_dir / EPISODES) as writer:
            for block in table.blocks():
                writer.write_table(block)
        size, duration = self.population.size, self.rules.duration
        gauges = gauges_of(result.episodes, result.loads, result.departures, size, duration)
        pq.write_table(gauges, run_dir / GAUGES)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("numpy", "pyarrow")}
