"""Reads the runs that are to be fitted or compared, and refuses those that cannot be. Estimates nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reports.frames import RunHistory, load_history
from resilience.errors import EvidenceError, UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.experiment.drivers import FleetDriver
from resilience.experiment.targets import QuizTargetSpec
from resilience.lab.run_directory import RunStatus
from resilience.units import Seconds

from .calibration_file import CalibrationRun

WAITING_ROLES = ("server host", "proxy")
"""Processes whose lag in the laboratory's health is the time without a processor."""

MEASURED = (Lane.REAL, Lane.MODEL)
"""The lanes whose runs have costs; those of the model have known ones, which checks the fit."""


def read_runs(paths: Sequence[Path]) -> list[RunHistory]:
    """The histories of these run directories, each once.

    Raises :class:`~resilience.errors.UsageError` for what is no usable run: no run directory, another lane, another
    system under test, a run that was not carried out, the same run twice; :class:`~resilience.errors.EvidenceError` for
    one whose files are missing or contradict one another. Both name the directory.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path}: the same run as {seen[path.resolve()]}; name each run once")
        seen[path.resolve()] = path
    return [_read(path) for path in paths]


def _read(path: Path) -> RunHistory:
    history = load_history(path)
    lane, experiment = history.info.lane, history.experiment
    if lane not in MEASURED:
        raise UsageError(f"{path}: a run of the lane {lane}, which measures no machine; use runs of chaos run")
    is_fleet = all(isinstance(driver, FleetDriver) for driver in experiment.drivers_in_use.values())
    if not (isinstance(experiment.target, QuizTargetSpec) and is_fleet):
        raise UsageError(f"{path}: a run of another system; the model knows this program's own server and clients only")
    if history.info.status is not RunStatus.COMPLETED or history.info.cause is not None:
        cause = history.info.cause or history.info.status.value
        raise UsageError(f"{path}: not a run that was carried out: {cause}")
    if history.problems:
        raise EvidenceError(f"{path}: {history.problems[0]}")
    if history.info.evidence is None:
        raise EvidenceError(f"{path}: run.json lists no evidence, so nothing shows that the files are whole")
    return history


def describe(history: RunHistory) -> CalibrationRun:
    """What a calibration file says of a run."""
    info, path = history.info, history.path
    evidence = hashlib.sha256((path / "run.json").read_bytes()).hexdigest() if path else ""
    return CalibrationRun(
        experiment=info.experiment,
        experiment_digest=info.experiment_digest,
        seed=info.seed,
        lane=info.lane.value,
        started_at=info.started_at,
        evidence=evidence,
        lateness_s=round(history.lab_lag, 6),
        waited_s=round(waited(history), 6),
        clients=history.experiment.clients,
        herd=_most_within_a_second(history, LogEventKind.TRANSPORT_LOST),
        returns_per_s=float(_most_within_a_second(history, LogEventKind.SESSION_RESTORED)),
    )


def waited(history: RunHistory) -> Seconds:
    """For how long of a usual second the server or a proxy was ready to run and had no processor; 0 if unknown."""
    found = [each.lag_p50 or 0.0 for each in history.lab_health.processes if each.role in WAITING_ROLES]
    return max(found, default=0.0)


def _most_within_a_second(history: RunHistory, kind: LogEventKind) -> int:
    """How many of these events of clients the second has that has the most of them."""
    times = history.rows(kind, role=Role.CLIENT)["t"].to_numpy(dtype=np.float64)
    begun = np.searchsorted(times, times - 1.0, side="right")
    return int((np.arange(1, len(times) + 1) - begun).max(initial=0))
