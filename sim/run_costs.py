"""What a large run of a simulated lane will take or lacks, said before it starts. Pure; starts and refuses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.schedule import SERVER
from resilience.experiment.spec import Experiment
from resilience.experiment.steady_state import limit_on_joins
from resilience.lab.repetitions import describe_duration
from resilience.units import Seconds

SAID_FROM_S: Seconds = 60.0
"""A run that takes less CPU time than this needs no announcement."""


class RunCost(NamedTuple):
    """What one client costs.

    ``second_s``: seconds of CPU for each second of the run; ``connecting_s``: for its join, and for each return from a
    fault; ``memory_mb``: megabytes of memory.
    """

    second_s: float
    connecting_s: float
    memory_mb: float

    def cpu_s(self, experiment: Experiment) -> Seconds:
        """The CPU time of a run."""
        second = experiment.clients * experiment.duration * self.second_s
        return second + (experiment.clients + _returns(experiment)) * self.connecting_s


COSTS: Mapping[Lane, RunCost] = {
    Lane.MODEL: RunCost(3e-5, 1.1e-3, 0.045),
    Lane.VIRTUAL: RunCost(4.5e-5, 2e-3, 0.045),
}
"""Measured with the demo and with ``tests/benchmarks/lab/virtual_crowd.py``, 300 to 1,500 clients, as CPU time on two
busy cores with CPython 3.11: see "Crowds in the virtual lane" in ``docs/performance.md``. A report costs as much again.
"""


def announcement(experiment: Experiment, lane: Lane) -> str | None:
    """How long a run will take and what is faster, in a line; None for a run that is soon over."""
    cost = COSTS.get(lane)
    cpu_s = 0.0 if cost is None else cost.cpu_s(experiment)
    if cost is None or cpu_s < SAID_FROM_S:
        return None
    memory_gb = cost.memory_mb * experiment.clients / 1000
    return (
        f"{experiment.name}: {experiment.clients:,} clients for {experiment.duration:g} s take the lane {lane} about "
        f"{describe_duration(cpu_s)} of CPU time and {memory_gb:.1f} GB, and the report as long again; "
        f"{_faster(experiment)}"
    )


def warning(experiment: Experiment, lane: Lane) -> str | None:
    """Why too few clients will have joined for the first fault to be injected, and what to set; None if all may."""
    found = limit_on_joins(experiment, lane) if lane in COSTS else None
    return None if found is None else f"warning: {experiment.name} will not reach its steady state: {found}"


def _returns(experiment: Experiment) -> int:
    """How often clients return, all together: once after each fault window of their link, or of the server."""
    sizes = {link.name: len(link.indices) for link in experiment.links(experiment.seed)}
    struck = (window.links if window.place != SERVER else sizes for window in experiment.windows(experiment.seed))
    return sum(sizes[link] for links in struck for link in links)


def _faster(experiment: Experiment) -> str:
    """The lane for crowds, or why it cannot carry the experiment, and what else to set."""
    obstacle = experiment.obstacle(Lane.POPULATION)
    if obstacle is None:
        return "--lane population takes seconds"
    return (
        f"--lane population would take seconds but cannot carry out {obstacle.what} ({obstacle.key}); "
        "a smaller --scale or a shorter duration (--set duration=...) takes less"
    )
