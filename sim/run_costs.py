"""What a large run of a simulated lane will take or lacks, said before it starts. Pure; starts and refuses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from resilience.eventlog.vocabulary import Lane
from resilience.experiment.spec import Experiment
from resilience.experiment.steady_state import limit_on_joins
from resilience.lab.repetitions import describe_duration
from resilience.units import Seconds

SAID_FROM_S: Seconds = 60.0
"""A run that takes less CPU time than this needs no announcement."""


class RunCost(NamedTuple):
    """What one client costs: seconds of CPU for each second of the run, megabytes of memory."""

    cpu_s: float
    memory_mb: float


COSTS: Mapping[Lane, RunCost] = {Lane.MODEL: RunCost(5e-5, 0.05), Lane.VIRTUAL: RunCost(1.5e-4, 0.2)}
"""Measured with the demo, 300 to 1,000 clients, on a 2-vCPU machine with CPython 3.11; a report costs as much again."""


def announcement(experiment: Experiment, lane: Lane) -> str | None:
    """How long a run will take and what is faster, in a line; None for a run that is soon over."""
    cost = COSTS.get(lane)
    cpu_s = 0.0 if cost is None else cost.cpu_s * experiment.clients * experiment.duration
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


def _faster(experiment: Experiment) -> str:
    """The lane for crowds, or why it cannot carry the experiment, and what else to set."""
    obstacle = experiment.obstacle(Lane.POPULATION)
    if obstacle is None:
        return "--lane population takes seconds"
    return (
        f"--lane population would take seconds but cannot carry out {obstacle.what} ({obstacle.key}); "
        "a smaller --scale or a shorter duration (--set duration=...) takes less"
    )
