"""Run directories whose costs are known: made by the model lane itself."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from resilience.config import ClientConfig, QuizConfig
from resilience.experiment.costs import ModelCosts
from resilience.experiment.faults import AnyFault, BlackholeFault, CutFault, RefuseFault, ServerKillFault
from resilience.experiment.spec import Cohort, Experiment, Hypothesis
from resilience.lab.run import execute
from sim.calibration.calibration_file import Calibration, FittedParameter, Machine
from sim.calibration.observations import PARAMETERS
from sim.model import ModelLane

MACHINE_COSTS = ModelCosts(
    shared_processors=2,
    client_processes=2,
    latency=0.002,
    connect=0.001,
    client_loss=0.0006,
    client_dial=0.0018,
    client_message=0.0014,
    relay=0.0025,
    handshake=0.004,
    join=0.003,
    restore=0.0012,
    detach=0.0008,
    reply=0.0016,
    commit=0.006,
    commit_wait=0.009,
    message=0.0002,
    startup=0.9,
    timer=0.0015,
    injection=0.008,
    injection_call=0.02,
    healing=0.005,
    kill=0.012,
)
"""Those of a made machine; none is a default."""

FAULTS: tuple[AnyFault, ...] = (
    CutFault(at=7.0, cohorts=("all",), times=2, every=2.0),
    RefuseFault(at=12.0, duration=1.5, cohorts=("all",), times=2, every=4.0),
    BlackholeFault(at=21.0, duration=2.5, cohorts=("all",), times=2, every=5.0),
    ServerKillFault(at=32.0, duration=1.0, times=2, every=6.0),
)


def experiment(*faults: AnyFault, name: str = "made", clients: int = 20, duration: float = 50.0) -> Experiment:
    """Twenty clients in one cohort through every kind of fault that tells a cost; they join over two blocks."""
    ramp, steady = (1.0, 2.0) if faults else (6.9, 7.0)
    return Experiment(
        name,
        duration,
        (Cohort("all", clients),),
        ramp=ramp,
        quiz=QuizConfig(questions=9, lobby=2.0, question_time=3.0, reveal_time=0.5, leaderboard_time=0.5),
        client=ClientConfig(probe_after=1.0, probe_deadline=0.5),
        faults=faults or FAULTS,
        hypothesis=Hypothesis(within=steady),
    )


def make_run(directory: Path, seed: int, costs: ModelCosts = MACHINE_COSTS, plan: Experiment | None = None) -> Path:
    """The directory of one run with these costs."""
    execute(ModelLane(), replace(plan or experiment(), costs=costs), seed, directory)
    return directory


def calibration_of(costs: ModelCosts = MACHINE_COSTS, spread: float = 0.05) -> Calibration:
    """A calibration that says exactly this."""
    return Calibration(
        made_at="2026-01-01T00:00:00+00:00",
        versions={},
        machine=Machine(processor="made", processors=1, system="none"),
        runs=(),
        shared_processors=costs.shared_processors,
        client_processes=costs.client_processes,
        parameters={name: FittedParameter(value=getattr(costs, name), spread=spread, runs=3) for name in PARAMETERS},
    )
