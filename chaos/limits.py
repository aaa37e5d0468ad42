"""What a run does about the limits of this machine: refuses what cannot fit, and raises the limit on open files.

Children inherit that limit. What is needed and what is there is said by :mod:`chaos.doctor`.
"""

from __future__ import annotations

import os
from pathlib import Path

from resilience import open_files
from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment

from .doctor.browser import browser_findings
from .doctor.fit import fleet_findings, require_fit
from .doctor.machine import read_limits, usable_processors
from .doctor.needs import FleetNeeds, needs_of


def client_processes(workers: int | None) -> int:
    """How many processes of clients a run has: as many as given, else one for each processor that it may use."""
    return workers or usable_processors()


def planned_needs(experiment: Experiment, seed: int | None, workers: int | None) -> FleetNeeds:
    """What a run takes of a machine; ``seed`` and ``workers`` as a user gives them, or not."""
    return needs_of(experiment, experiment.seed if seed is None else seed, client_processes(workers))


def require_room(experiment: str, needs: FleetNeeds, runs: Path) -> None:
    """Raise HarnessError, with what to change, when this machine cannot carry a run that is written to ``runs``."""
    findings = [*fleet_findings(needs, read_limits(runs)), *browser_findings(needs, os.environ)]
    require_fit(findings, f"a run of {experiment}")


def files_needed(experiment: Experiment, seed: int) -> int:
    """The most open files that one process of the run may need: the server, or the largest link's proxy."""
    return max(needs_of(experiment, seed, 1).files.values())


def raise_open_files(needed: int, *, is_enough: bool = False) -> None:
    """Raise this process's limit to the hard one; raises HarnessError if even that is below ``needed``.

    Not where the user says that whatever there is ``is_enough``.
    """
    hard = open_files.open_files_hard_limit()
    if hard is not None and hard < needed and not is_enough:
        raise HarnessError(
            f"this run may need {needed} open files in one process, and the hard limit here is {hard}: "
            f"raise it (`ulimit -Hn {needed}` as root), or run fewer clients with --scale"
        )
    open_files.raise_open_files(needed)
