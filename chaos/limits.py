"""Compares the limit on open files with the plan before a run, and raises it as far as allowed. Children inherit it."""

from __future__ import annotations

from resilience import open_files
from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment

from .toxiproxy.doctor import FILES_PER_CLIENT_IN_PROXY, SPARE_FILES


def files_needed(experiment: Experiment) -> int:
    """The most open files that one process of the run may need: the server, or the largest cohort's proxy."""
    largest = max(cohort.clients for cohort in experiment.cohorts)
    return max(experiment.clients, FILES_PER_CLIENT_IN_PROXY * largest) + SPARE_FILES


def raise_open_files(needed: int) -> None:
    """Raise this process's limit to the hard one; raises HarnessError if even that is below ``needed``."""
    hard = open_files.open_files_hard_limit()
    if hard is not None and hard < needed:
        raise HarnessError(
            f"this run may need {needed} open files in one process, and the hard limit here is {hard}: "
            f"raise it (`ulimit -Hn {needed}` as root), or run fewer clients with --scale"
        )
    open_files.raise_open_files(needed)
