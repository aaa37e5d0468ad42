"""Open files: raised as far as allowed and compared with the plan before a run starts. Children inherit them."""

from __future__ import annotations

import resource

from resilience.errors import HarnessError
from resilience.experiment.spec import Experiment

from .toxiproxy.doctor import FILES_PER_CLIENT_IN_PROXY, SPARE_FILES


def files_needed(experiment: Experiment) -> int:
    """How many open files the busiest process of the run may need: the server, or the largest cohort's proxy."""
    largest = max(cohort.clients for cohort in experiment.cohorts)
    return max(experiment.clients, FILES_PER_CLIENT_IN_PROXY * largest) + SPARE_FILES


def raise_open_files(needed: int) -> None:
    """Raise this process's limit to the hard one; HarnessError when even that is below ``needed``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise HarnessError(
            f"this run may need {needed} open files in one process, and the hard limit here is {hard}: "
            f"raise it (`ulimit -Hn {needed}` as root), or run fewer clients with --scale"
        )
    wanted = max(soft, needed) if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
