"""One run that was measured, with the predictions of it: what the comparison needs, as values."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports.episodes import episodes_frame
from reports.frames import RunHistory
from reports.paired import cluster_names

from .calibration_file import Calibration
from .replay import drawn_costs, replay, replication_seeds


@dataclass(frozen=True)
class MeasuredRun:
    """A run and its predictions; frames hold affected episodes only.

    ``measured``: what happened. ``predicted``: the paired replay, under the run's own seed and the calibrated costs.
    ``replications``: under other seeds, each with costs drawn as another run may have them. ``clusters``: the cluster
    and stratum of every fault id. ``deadline``: what a time counts that never came, seconds.
    """

    experiment: str
    seed: int
    measured: pd.DataFrame
    predicted: pd.DataFrame
    replications: tuple[pd.DataFrame, ...]
    clusters: pd.DataFrame
    deadline: float
    correlation: float

    @property
    def label(self) -> str:
        """Experiment and seed."""
        return f"{self.experiment}, seed {self.seed}"


def predict(history: RunHistory, calibration: Calibration, replications: int) -> MeasuredRun:
    """Replay a run under its own seed, and so many times under others."""
    costs = history.experiment.costs
    episodes, statistics, seed = episodes_frame(history), history.experiment.statistics, history.info.seed
    others = tuple(
        affected(replay(history, other, drawn_costs(calibration, costs, number, other)))
        for number, other in enumerate(replication_seeds(history, replications))
    )
    return MeasuredRun(
        experiment=history.info.experiment,
        seed=seed,
        measured=affected(episodes),
        predicted=affected(replay(history, seed, calibration.costs(costs))),
        replications=others,
        clusters=cluster_names(history.experiment, seed, episodes, real=True),
        deadline=statistics.deadline,
        correlation=statistics.correlation,
    )


def affected(episodes: pd.DataFrame) -> pd.DataFrame:
    """The affected rows, numbered from 0."""
    return episodes[episodes["affected"].astype(bool)].reset_index(drop=True)
