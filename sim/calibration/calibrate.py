"""Makes a calibration of run directories: reads them, fits, and says what of it can be doubted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from reports.frames import RunHistory
from resilience.experiment.costs import ModelCosts
from resilience.units import Seconds

from .calibration_file import Calibration, FittedParameter
from .estimates import fit
from .machine import this_machine
from .observations import PARAMETERS
from .repeats import repeats_of
from .returns import laboratory_of
from .runs import describe, read_runs

LATE_S: Seconds = 0.1
"""A run whose clients' own loops ran later than this says much about what else the machine did."""

WIDE = 0.5
"""An interval whose half is more than this part of its value hardly says more than the order of magnitude."""


def defaults() -> dict[str, Seconds]:
    """Every parameter as the model has it without calibration, seconds."""
    costs = ModelCosts()
    return {name: getattr(costs, name) for name in PARAMETERS}


def calibrate(paths: Sequence[Path], note: str = "") -> Calibration:
    """The calibration of these run directories; errors as of :func:`sim.calibration.runs.read_runs`.

    The machine that it names is this one: calibrate where the runs were made.
    """
    histories, machine = read_runs(paths), this_machine()
    laboratories = [laboratory_of(history, machine.processors) for history in histories]
    return Calibration(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"quiz-resilience": version("quiz-resilience"), **_common_versions(histories)},
        machine=machine,
        shared_processors=max(each.shared_processors for each in laboratories),
        client_processes=max(each.client_processes for each in laboratories),
        runs=tuple(describe(history) for history in histories),
        parameters=fit(histories, laboratories, defaults()),
        repeats=repeats_of(histories),
        note=note,
    )


def _common_versions(histories: Sequence[RunHistory]) -> dict[str, str]:
    """The versions in which all runs agree."""
    first = dict(histories[0].info.versions)
    return {name: text for name, text in first.items() if all(h.info.versions.get(name) == text for h in histories)}


def doubts_about(calibration: Calibration) -> list[str]:
    """In words: what was not fitted, what is known badly, and runs that were late."""
    found = []
    for name, each in calibration.parameters.items():
        if not each.fitted:
            found.append(f"{name}: not fitted: {each.reason}")
        elif is_wide(each):
            found.append(f"{name}: the interval is wide: more runs would narrow it")
    for run in calibration.runs:
        if run.lateness_s > LATE_S:
            late = f"its clients ran up to {run.lateness_s:.2f} s late: the machine had other work"
            found.append(f"{run.experiment}, seed {run.seed}: {late}")
    return [*found, *_starved(calibration)]


def _starved(calibration: Calibration) -> list[str]:
    starved = [run for run in calibration.runs if run.is_starved]
    if not starved:
        return []
    worst = max(starved, key=lambda run: run.waited_s)
    waited = f"the server or a proxy waited {worst.waited_s * 1000:.0f} ms of a usual second for a processor"
    which = f"{len(starved)} of {len(calibration.runs)} runs are of a machine with other work"
    where = f"in {worst.experiment}, seed {worst.seed}, {waited}"
    return [f"{which}: {where}. Their costs hold for such a machine only; repeat them on a quiet one"]


def is_wide(parameter: FittedParameter) -> bool:
    """Whether the interval says hardly more than the order of magnitude."""
    if parameter.low is None or parameter.high is None:
        return False
    return parameter.high - parameter.low > 2 * WIDE * parameter.value
