"""One simulated run of a sweep: a task in, its figures out. Runs in any process, which needs nothing but the task."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from reports.episodes import episodes_frame
from reports.frames import load_history
from resilience.errors import ConfigError, ExperimentError, HarnessError, UsageError
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import parse
from resilience.experiment.spec import Experiment
from resilience.lab.run import execute, require_lane
from resilience.lab.run_directory import RunStatus
from resilience.units import Seconds

from ..population.columns import EpisodeTable
from ..population.gauges import admitted, queued
from ..population.run import PopulationRun
from ..population.shards import PopulationResult, run_population
from ..population.station import StationAnswer
from ..population.world import rules_of
from .figures import COLUMNS, Figures, figures_of

LANES = (Lane.POPULATION, Lane.MODEL)
SCALE = "scale"
"""The setting of a sweep that is none of an experiment: it multiplies every cohort's size, as ``--scale`` does."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs of a sweep share: the experiment's text, its lane, the first seed, and what counts as a return.

    ``name``: of the experiment's file, for messages. ``within`` and ``fault``: see
    :func:`sim.planning.figures.figures_of`.
    """

    name: str
    text: str
    lane: Lane
    seed: int
    within: Seconds | None = None
    fault: str | None = None

    def experiment(self, settings: tuple[tuple[str, str], ...]) -> Experiment:
        """The experiment with these settings, values as TOML.

        Raises :class:`~resilience.errors.UsageError` for a setting that does not exist, breaks its rule, or that the
        lane cannot carry out.
        """
        scale = next((text for key, text in settings if key == SCALE), "1.0")
        try:
            factor = float(scale)
        except ValueError:
            raise UsageError(f"{SCALE} = {scale}: must be a number") from None
        if not 0 < factor < math.inf:
            raise UsageError(f"{SCALE} = {scale}: must be a positive, finite number")
        overrides = tuple(f"{key}={text}" for key, text in settings if key != SCALE)
        experiment = parse(self.text, self.name, overrides, factor)
        require_lane(experiment, self.lane)
        if self.lane is Lane.POPULATION:
            _check_rules(experiment)
        return experiment


class RunTask(msgspec.Struct, frozen=True):
    """One run: the design point's number, its settings as TOML values, and the replication.

    Replications of one number have one seed at every point: common random numbers.
    """

    point: int
    settings: tuple[tuple[str, str], ...]
    replication: int


class RunResult(msgspec.Struct, frozen=True):
    """A task's figures, and the seconds that it took its process."""

    point: int
    replication: int
    figures: Figures
    seconds: Seconds


def evaluate(scenario: Scenario, task: RunTask) -> RunResult:
    """Run a task. Raises :class:`~resilience.errors.HarnessError`, which names the settings, when the run fails."""
    began = time.perf_counter()
    experiment = scenario.experiment(task.settings)
    seed = scenario.seed + task.replication
    try:
        if scenario.lane is Lane.POPULATION:
            figures = _of_population(experiment, seed, scenario)
        else:
            figures = _of_model(experiment, seed, scenario)
    except HarnessError as error:
        raise HarnessError(f"{in_words(task.settings)}, seed {seed}: {error}") from error
    return RunResult(task.point, task.replication, figures, time.perf_counter() - began)


def _check_rules(experiment: Experiment) -> None:
    try:
        rules_of(experiment)
    except ConfigError as error:
        raise ExperimentError(experiment.name, error.key, f"{error.value!r}: {error.rule}") from error


def in_words(settings: tuple[tuple[str, str], ...]) -> str:
    """``server.join_capacity = 3000, scale = 2``."""
    return ", ".join(f"{key} = {text}" for key, text in settings) or "the experiment as it is"


def episodes_of_population(run: PopulationRun) -> tuple[pd.DataFrame, PopulationResult]:
    """The episode frame of a population, reduced to what figures need, and its result with the work of each server."""
    servers = run.experiment.population.servers
    result = run_population(run.population, run.rules, servers)
    blocks = EpisodeTable(run.experiment, run.seed, run.population, run.rules, result.episodes).blocks()
    parts = [block.select(list(COLUMNS)).to_pandas(strings_to_categorical=False) for block in blocks]
    return pd.concat(parts, ignore_index=True), result


def load_figures(result: PopulationResult, returns_per_s: float, returns: int) -> dict[str, float | None]:
    """What the servers of a population had to do.

    ``requests`` served and ``rejected``, by all servers together. ``requests_per_return``: those served for each
    episode that ended in a return; ``arrivals_per_return``: with the rejected ones. Of the busiest server:
    ``peak_joins_per_s``, the most requests admitted in one second, and ``queue_s``, the most seconds of queued work at
    the end of a second.
    """
    total = np.sum(result.loads, axis=0)
    requests, rejected = (float(total[:, answer].sum()) for answer in (StationAnswer.SERVED, StationAnswer.REJECTED))
    joins = [admitted(load) for load in result.loads]
    queues = [queued(*server) for server in zip(result.loads, result.departures, strict=True)]
    return {
        "requests": requests,
        "requests_per_return": requests / returns if returns else None,
        "arrivals_per_return": (requests + rejected) / returns if returns else None,
        "rejected": rejected,
        "peak_joins_per_s": float(max((each.max(initial=0) for each in joins), default=0)),
        "queue_s": float(max((each.max(initial=0) for each in queues), default=0)) / returns_per_s,
    }


def _of_population(experiment: Experiment, seed: int, scenario: Scenario) -> Figures:
    run = PopulationRun(experiment, seed)
    episodes, result = episodes_of_population(run)
    figures = figures_of(episodes, experiment.statistics, scenario.within, scenario.fault)
    returns = int((episodes["affected"] & episodes["returned"]).sum())
    return figures | load_figures(result, experiment.costs.returns_per_s, returns)


def _of_model(experiment: Experiment, seed: int, scenario: Scenario) -> Figures:
    from ..model.lane import ModelLane  # noqa: PLC0415 - simpy and the machines, which a population does not need

    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        run_dir = Path(folder)
        (run_dir / "events").mkdir()
        outcome = execute(ModelLane(), experiment, seed, run_dir)
        if outcome.status is not RunStatus.COMPLETED:
            raise HarnessError(f"the run was not carried out ({outcome.status}): {outcome.cause}")
        return figures_of(episodes_frame(load_history(run_dir)), experiment.statistics, scenario.within, scenario.fault)
