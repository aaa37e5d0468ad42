"""Repeats the actual timeline of a stored run in the model lane, in memory. Judges nothing.

Faults strike when they really struck, not when they were planned. Under the run's own seed every client draws the same
delays, so each episode has a partner (*paired replay*); other seeds draw others, which makes a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import pandas as pd

from reports.episodes import episodes_frame
from reports.frames import RunHistory
from reports.windows import windows_frame
from resilience.eventlog.vocabulary import Lane
from resilience.eventlog.writer import EventList
from resilience.experiment.costs import ModelCosts
from resilience.experiment.schedule import FaultWindow
from resilience.experiment.spec import Experiment
from resilience.lab.recording import Recording
from resilience.lab.run import conduct, opening_info
from resilience.lab.run_directory import RunStatus
from resilience.random_streams import uniform
from resilience.units import Seconds

from ..model.lane import ModelLane
from .calibration_file import Calibration, FittedParameter
from .stages import WorkCosts

_SPEED = "speed"
"""What the draw is keyed by that all work of processors has in common."""


def obstacle_to_replay(history: RunHistory) -> str | None:
    """Why the model lane cannot repeat this run, in words; ``None`` if it can."""
    obstacle = history.experiment.obstacle(Lane.MODEL)
    if obstacle is not None:
        return f"the model lane cannot carry out {obstacle.what} ({obstacle.key})"
    windows = windows_frame(history)
    invalid = windows[windows["invalid"].notna()]
    return None if invalid.empty else f"window {invalid['fault_id'].iloc[0]} is invalid: {invalid['invalid'].iloc[0]}"


def actual_windows(history: RunHistory, seed: int) -> tuple[FaultWindow, ...]:
    """The windows of a run as they really began and ended, on the links that ``seed`` gives."""
    links = _links_by_place(history.experiment, seed)
    struck = windows_frame(history).dropna(subset=["fault_at"])
    return tuple(
        FaultWindow(
            fault_id,
            history.experiment.faults[_index(fault_id)],
            place,
            links[_index(fault_id), place],
            float(begin),
            history.end if math.isnan(end) else float(end),
        )
        for fault_id, place, begin, end in struck[["fault_id", "place", "fault_at", "healed_at"]].itertuples(
            index=False
        )
    )


def _index(fault_id: str) -> int:
    return int(fault_id.partition(".")[0])


def _links_by_place(experiment: Experiment, seed: int) -> dict[tuple[int, str], tuple[str, ...]]:
    """The links on which each fault acts at each place: those of its first strike, of a Poisson process too."""
    single = tuple(msgspec.structs.replace(fault, mean_gap=None, until=None) for fault in experiment.faults)
    plan = msgspec.structs.replace(experiment, faults=single)
    return {(_index(window.fault_id), window.place): window.links for window in plan.windows(seed)}


def replay(history: RunHistory, seed: int, costs: ModelCosts) -> pd.DataFrame:
    """The episode frame of the run's timeline in the model lane, with these costs and the draws of this seed."""
    experiment, log = msgspec.structs.replace(history.experiment, costs=costs), EventList()
    recording = Recording(log)
    outcome = conduct(ModelLane(), experiment, seed, recording, windows=actual_windows(history, seed))
    info = msgspec.structs.replace(opening_info(Lane.MODEL, experiment, seed), status=outcome.status, cause=None)
    if outcome.status is not RunStatus.COMPLETED:
        info = msgspec.structs.replace(info, cause=outcome.cause)
    return episodes_frame(RunHistory(info, experiment, list(log), recording.observations, recording.stored))


def drawn_costs(calibration: Calibration, others: ModelCosts, replication: int, seed: int) -> ModelCosts:
    """The costs of one replication: each parameter drawn as it may be in another run of the same machine.

    Log-normal around its value, with its spread and the error of the value itself. All work of processors is drawn
    together: a machine that is slower in one run is slower at all of it. Not drawn: a default that was kept, whose
    spread is unknown; by how much the fit may have taken one cost's work for another's, since only their sum is
    known well; what no parameter is about.

    ``others``: as of ``Calibration.costs``.
    """
    values = {
        name: _drawn(each, uniform(seed, "calibration", replication, _SPEED if name in WorkCosts._fields else name))
        for name, each in calibration.parameters.items()
    }
    return calibration.costs(others, values)


def _drawn(parameter: FittedParameter, u: float) -> Seconds:
    variance = math.log1p(parameter.spread**2 * (1 + 1 / max(parameter.runs, 1)))
    normal = NormalDist().inv_cdf(min(max(u, 1e-12), 1 - 1e-12))
    return parameter.value * math.exp(math.sqrt(variance) * normal - variance / 2)


def replication_seeds(history: RunHistory, replications: int) -> Sequence[int]:
    """The seeds of the replications: none is the run's own."""
    return [history.info.seed + number for number in range(1, replications + 1)]
