"""A process that runs a crowd in the virtual lane and says what that took. ``python -m`` with clients and directory.

The demo's three cohorts and nine faults, spread over ten minutes of a quiz with a question every 35 seconds.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import msgspec

from resilience.experiment.loader import load
from resilience.experiment.spec import Experiment, Hypothesis
from resilience.lab.run import execute
from sim.virtual.lane import VirtualLane

DURATION_S = 600.0
RAMP_S = 40.0
"""At most 250 joins a second, half of what the server admits by default."""


class CrowdCost(msgspec.Struct, frozen=True):
    """``cpu_s`` and ``wall_s`` of the run without the imports; ``rss_mb``: resident memory at its peak, and before."""

    clients: int
    status: str
    cpu_s: float
    wall_s: float
    peak_rss_mb: float
    first_rss_mb: float


def crowd(clients: int) -> Experiment:
    """Ten minutes of so many clients."""
    demo = load("demo")
    each, rest = divmod(clients, len(demo.cohorts))
    cohorts = tuple(msgspec.structs.replace(cohort, clients=each + (i < rest)) for i, cohort in enumerate(demo.cohorts))
    faults = tuple(msgspec.structs.replace(fault, at=60.0 + 8.0 * (fault.at - 8.0)) for fault in demo.faults)
    quiz = msgspec.structs.replace(demo.quiz, questions=16, lobby=45.0, question_time=30.0)
    return msgspec.structs.replace(
        demo,
        name="crowd",
        duration=DURATION_S,
        ramp=RAMP_S,
        cohorts=cohorts,
        quiz=quiz,
        faults=faults,
        hypothesis=Hypothesis(joined=0.99, within=55.0),
    )


def cost_of(clients: int, run_dir: Path) -> CrowdCost:
    """Run it once, and leave its history in ``run_dir``."""
    experiment, first = crowd(clients), peak_rss_mb()
    cpu, wall = time.process_time(), time.monotonic()
    outcome = execute(VirtualLane(), experiment, experiment.seed, run_dir)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return CrowdCost(experiment.clients, outcome.status, cpu, wall, peak_rss_mb(), first)


def peak_rss_mb() -> float:
    """The most that this process has had in memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(cost_of(int(sys.argv[1]), Path(sys.argv[2]))).decode())
