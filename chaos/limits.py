"""Compares the limit on open files with the plan before a run, and raises it as far as allowed. Children inherit it."""

from __future__ import annotations

from resilience import open_files
from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment

from .doctor.needs import needs_of


def files_needed(experiment: Experiment, seed: int) -> int:
    """The most open files that one process of the run may need: the server, or the largest link's proxy."""
    return max(needs_of(experiment, seed, 1).files.values())


def raise_open_files(needed: int) -> None:
    """Raise this process's limit to the hard one; raises HarnessError if even that is below ``needed``."""
    hard = open_files.open_files_hard_limit()
    if hard is not None and hard < needed:
        raise HarnessError(
            f"this run may need {needed} open files in one process, and the hard limit here is {hard}: "
            f"raise it (`ulimit -Hn {needed}` as root), or run fewer clients with --scale"
        )
    open_files.raise_open_files(needed)
